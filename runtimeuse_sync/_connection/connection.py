"""The caller's side of a connection; the connection thread's side is in ``worker``."""

from __future__ import annotations

import threading
import warnings
import weakref
from collections.abc import Collection
from typing import Any, Callable, Optional

from .._common.deadline import Deadline
from .._protocol.frames import Opcode, Payload, encode_frame
from ..exceptions import ConnectionFailedError
from .connecting import Dialer
from .inbox import Batch
from .settings import ConnectionSettings
from .thread import BEGIN_LIMIT, ConnectionThread, why_not_started
from .worker import Worker, not_started

# Seconds, after the connect deadline, for the thread to report the outcome. If the process was suspended beyond the
# deadline, the answers may have arrived in time and only have to be read.
_GRACE = 0.5
# Seconds to wait for the thread's end: in all, if it may be in a host look-up, which nothing can interrupt; otherwise
# in addition to the thread's own time for the Close handshake.
_JOIN_GRACE = 0.2


class WebSocketConnection:
    """One connection to a runtime. Implements ``transports.Connection``."""

    def __init__(
        self,
        dialer: Dialer,
        settings: ConnectionSettings,
        *,
        encode: Callable[[Any], bytes],
        decode: Callable[[Payload], Any],
    ) -> None:
        self._encode = encode
        self._decode = decode
        self._dialer = dialer
        self._settings = settings
        self._worker: Optional[Worker] = None
        self._thread: Optional[ConnectionThread] = None
        self._start_token = threading.Lock()  # never released: whoever acquires it starts the thread
        self._finalizer: Optional[weakref.finalize[Any, Any]] = None
        self._deadline = Deadline(None)  # for the connection to be open
        self._begin_deadline = Deadline(None)  # for the thread to begin to run

    @property
    def was_opened(self) -> bool:
        return self._worker is not None and self._worker.is_open

    @property
    def is_open(self) -> bool:
        warnings.warn("is_open is deprecated: write was_opened", DeprecationWarning, stacklevel=2)
        return self.was_opened

    def open(self, timeout: Optional[float]) -> None:
        """Prepare to connect. The first ``send`` or ``receive`` starts it; ``receive`` raises if it fails."""
        limits = [limit for limit in (timeout, self._settings.connect_timeout) if limit is not None]
        self._deadline = Deadline(min(limits, default=None))
        self._worker = worker = Worker(self._dialer, self._settings, self._decode, self._deadline)
        # A safety net: a connection that is garbage-collected without ``close`` is closed as well.
        self._finalizer = weakref.finalize(self, worker.abandon)
        self._finalizer.atexit = False  # type: ignore[misc, unused-ignore] # a property to older type checkers

    def _start(self, worker: Worker) -> None:
        """Start the thread, once. Late, when the caller only has to wait, since both threads share the GIL."""
        if not self._start_token.acquire(blocking=False):
            return
        self._begin_deadline = self._deadline.earlier(Deadline(BEGIN_LIMIT))
        try:
            self._thread = thread = ConnectionThread(worker.run)
            thread.start()
        except (RuntimeError, KeyError, MemoryError) as error:
            if error.__context__ is not None:  # a signal handler raised within Thread.start(), which then raised this
                raise error.__context__ from None
            raise not_started(self._dialer, why_not_started(error)) from error

    def send(self, message: Any) -> None:
        worker = self._worker
        if worker is None:
            return
        worker.send(encode_frame(Opcode.TEXT, self._encode(message)))
        if self._thread is None:
            self._start(worker)

    def receive(self, timeout: float) -> Batch:
        worker = self._worker
        assert worker is not None
        if self._thread is None:
            self._start(worker)
        if worker.is_open:
            return worker.inbox.get(timeout)
        deadline = self._deadline if worker.has_begun else self._begin_deadline
        if deadline.expired:
            return self._receive_late(worker, deadline)
        return worker.inbox.get(min(timeout, deadline.remaining()))

    def _receive_late(self, worker: Worker, deadline: Deadline) -> Batch:
        """Handle a passed deadline: if the thread still does not report (not begun, or in a host look-up), raise."""
        batch = worker.inbox.get(_GRACE)
        if batch or worker.is_open:
            return batch
        why = "probably in the host look-up" if worker.has_begun else "and the connection's thread has not begun to run"
        raise ConnectionFailedError(
            f"cannot connect to {self._dialer.endpoint}: timed out after {deadline.timeout:.3g} s, {why}",
            reason="timed out",
        )

    def close_after(self, classes: Collection[type]) -> None:
        """Let the connection thread begin the Close handshake itself, after a message of one of ``classes``.

        This saves two of the seven thread switches of a call, a tenth of its time.
        """
        if self._worker is not None:
            self._worker.ending.last_classes = classes

    def wake_when_open(self) -> None:
        """Make the ``receive`` that waits return when the connection has come about, with nothing."""
        if self._worker is not None:
            self._worker.wakes_when_open = True

    def wake(self) -> None:
        if self._worker is not None:
            self._worker.inbox.wake()

    def close(self, timeout: float) -> None:
        """Send the waiting frames, and do the Close handshake; after ``timeout`` seconds, close without it."""
        worker, thread = self._worker, self._thread
        if worker is None:
            return
        worker.close(timeout)
        if thread is not None:
            deadline = Deadline(timeout + _JOIN_GRACE if worker.has_dialed else _JOIN_GRACE)
            thread.join_by(deadline)
            worker.join_by(deadline)
        # Not needed any more. It would run when this object is freed, and a Ctrl-C during a finalizer is lost.
        if self._finalizer is not None:
            self._finalizer.detach()
