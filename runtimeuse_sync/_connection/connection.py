"""The caller's side of a connection; ``worker`` is the connection thread's."""

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
from .thread import ConnectionThread, why_not_started
from .worker import Worker, not_started

# Seconds, after the connect deadline, for the thread to look at what has come and to say how it ended. If the process
# stood still beyond the deadline, the thread may have all that it needs.
_GRACE = 0.5
# Seconds for the connection thread to begin, if there is no limit for connecting: one that has not by then has died
# before it could, however busy the machine is.
_BEGIN_LIMIT = 60.0
# Seconds, at the end, for a thread that may be in a host look-up, which cannot be cut short; and beyond the time that
# the thread itself has for its goodbye.
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
        self._start_token = threading.Lock()  # taken by whoever starts the thread
        self._finalizer: Optional[weakref.finalize[Any, Any]] = None
        self._deadline = Deadline(None)  # to be open
        self._begin_deadline = Deadline(None)  # for the thread to begin

    @property
    def was_opened(self) -> bool:
        return self._worker is not None and self._worker.is_open

    @property
    def is_open(self) -> bool:
        warnings.warn("is_open is deprecated: write was_opened", DeprecationWarning, stacklevel=2)
        return self.was_opened

    def open(self, timeout: Optional[float]) -> None:
        """Begin to connect with the first ``send`` or ``receive``, which tells how it went."""
        limits = [limit for limit in (timeout, self._settings.connect_timeout) if limit is not None]
        self._deadline = Deadline(min(limits, default=None))
        self._worker = worker = Worker(self._dialer, self._settings, self._decode, self._deadline)
        # A safety net: a connection that was forgotten, or lost to a signal between two lines, ends as well.
        self._finalizer = weakref.finalize(self, worker.abandon)
        self._finalizer.atexit = False  # type: ignore[misc, unused-ignore] # a property to older type checkers

    def _start(self, worker: Worker) -> None:
        """Start the thread, once, when the caller has nothing left to do but to wait: they share one interpreter."""
        if not self._start_token.acquire(blocking=False):
            return
        self._begin_deadline = self._deadline.earlier(Deadline(_BEGIN_LIMIT))
        try:
            self._thread = thread = ConnectionThread(worker.run)
            thread.start()
        except (RuntimeError, KeyError, MemoryError) as error:
            if error.__context__ is not None:  # a signal handler's exception, which Thread.start() trips over
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
        """The thread should have given up by now. If it has not begun, or a host look-up holds it, go without it."""
        batch = worker.inbox.get(_GRACE)
        if batch or worker.is_open:
            return batch
        why = "probably in the host look-up" if worker.has_begun else "and the connection's thread has not begun to run"
        raise ConnectionFailedError(
            f"cannot connect to {self._dialer.endpoint}: timed out after {deadline.timeout:.3g} s, {why}",
            reason="timed out",
        )

    def close_after(self, classes: Collection[type]) -> None:
        """Begin the goodbye, without waiting to be told, once the last that has come is of one of ``classes``.

        Waiting costs two changes of threads, of the seven that a call takes: a tenth of its time.
        """
        if self._worker is not None:
            self._worker.ending.last_classes = classes

    def wake(self) -> None:
        if self._worker is not None:
            self._worker.inbox.wake()

    def close(self, timeout: float) -> None:
        """Send what is waiting, shake hands on the end, and go; after ``timeout`` seconds, go."""
        worker, thread = self._worker, self._thread
        if worker is None:
            return
        worker.close(timeout)
        if thread is not None:
            thread.join_by(Deadline(timeout + _JOIN_GRACE if worker.has_dialed else _JOIN_GRACE))
        # Left in place, it would run at each call's end, and swallow a Ctrl-C that lands in it.
        if self._finalizer is not None:
            self._finalizer.detach()
