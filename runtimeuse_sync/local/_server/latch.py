"""An event that is set once, and can be waited for on the main thread, where signal handlers run."""

from __future__ import annotations

import selectors
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ..._common.wakeup import Waker
from .connection import Selector


class Latch:
    """Like a ``threading.Event``, but a signal may interrupt ``wait`` at any moment, and its handler call ``set``.

    An Event cannot do that: an interrupted wait may leave its lock taken, and it ends at once only if the signal
    comes after the wait has begun.
    """

    def __init__(self) -> None:
        self._is_set = False
        # Reentrant, since a signal handler may interrupt its holder. Guards the set of the waiting threads' wakers.
        self._lock = threading.RLock()
        self._waiting: set[Waker] = set()

    def is_set(self) -> bool:
        """Whether ``set`` was called."""
        return self._is_set

    def set(self) -> None:
        """Set it, and wake all that wait."""
        self._is_set = True
        with self._lock:
            waiting = tuple(self._waiting)
        for waker in waiting:
            waker.wake()

    def wait(self) -> None:
        """Wait for it. Exceptions of signal handlers, such as ``KeyboardInterrupt``, end the wait at once."""
        with self._waker() as waker, _signal_socket() as signals, Selector() as selector:
            selector.register(waker, selectors.EVENT_READ)
            selector.register(signals, selectors.EVENT_READ)
            while not self._is_set:
                selector.select()
                with suppress(BlockingIOError):
                    signals.recv(4096)

    @contextmanager
    def _waker(self) -> Iterator[Waker]:
        waker = Waker()
        try:
            waker.open()
            with self._lock:
                self._waiting.add(waker)
            yield waker
        finally:
            with self._lock:
                self._waiting.discard(waker)
            waker.close()


@contextmanager
def _signal_socket() -> Iterator[socket.socket]:
    """A socket that is readable when a signal has come: its handler runs before the next wait, not after it."""
    reader, writer = socket.socketpair()
    with reader, writer:
        reader.setblocking(False)
        writer.setblocking(False)
        if threading.current_thread() is not threading.main_thread():
            yield reader  # no signal comes here
            return
        old = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        try:
            yield reader
        finally:
            signal.set_wakeup_fd(old)
