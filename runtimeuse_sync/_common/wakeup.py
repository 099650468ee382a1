"""A way to wake a thread that waits in a selector. Closing the descriptor it waits for would not wake it."""

from __future__ import annotations

import os
import socket
import threading
from typing import Any, Callable, Optional, Protocol

# Typed as Any for type checkers: not every system has ``os.eventfd``, nor has Python 3.9.
_os: Any = os


class _Signal(Protocol):
    """A descriptor that becomes readable by ``set``, and stays so until ``clear``. No method blocks."""

    def fileno(self) -> int: ...
    def set(self) -> None: ...
    def clear(self) -> None: ...
    def close(self) -> None: ...


class EventFd:
    """A signal by an eventfd, which takes one descriptor. Linux, Python 3.10 and later."""

    def __init__(self) -> None:
        self._fd: int = _os.eventfd(0, _os.EFD_CLOEXEC | _os.EFD_NONBLOCK)

    def fileno(self) -> int:
        return self._fd

    def set(self) -> None:
        _os.eventfd_write(self._fd, 1)

    def clear(self) -> None:
        _os.eventfd_read(self._fd)

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        os.close(fd)


class SocketPair:
    """A signal by a byte sent through a socket pair, which takes two descriptors. Available on every system."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)

    def fileno(self) -> int:
        return self._reader.fileno()

    def set(self) -> None:
        self._writer.send(b"\0")

    def clear(self) -> None:
        self._reader.recv(4096)

    def close(self) -> None:
        self._reader.close()
        self._writer.close()


def _new_signal() -> _Signal:
    return EventFd() if hasattr(os, "eventfd") else SocketPair()


class Waker:
    """Makes a selector return: register it for reading, and call ``wake``.

    ``wake`` may be called from any thread, and from a signal handler; the other methods only by the waiting thread.
    Before ``open`` and after ``close``, ``wake`` does nothing, so after ``open`` check what may have happened before.
    Nor does it in a forked child, whose copy of the lock may be held for ever, by a thread that only the parent has.

    >>> import selectors
    >>> waker = Waker()
    >>> waker.open()
    >>> with selectors.DefaultSelector() as selector:
    ...     _ = selector.register(waker, selectors.EVENT_READ)
    ...     waker.wake()
    ...     [key.fileobj is waker for key, _ in selector.select()]
    [True]
    >>> waker.clear()
    >>> waker.close()
    """

    _signal: _Signal

    def __init__(self) -> None:
        # Prevents that the descriptor is closed, and its number reused, between the test and the write in ``wake``.
        # Reentrant, since a signal handler may interrupt the thread that holds it. ``clear`` does not take it: the
        # thread that has just been woken would wait for the thread that woke it.
        self._lock = threading.RLock()
        self._is_open = False  # guarded by _lock
        self._instead: Optional[Callable[[], None]] = None  # guarded by _lock
        self._process = os.getpid()

    def open(self) -> None:
        """Open the descriptors. The waiting thread does so, since no signal handler can interrupt it and leak them."""
        self._signal = _new_signal()
        self._is_open = True

    def fileno(self) -> int:
        return self._signal.fileno()

    def wake(self) -> None:
        if self._process != os.getpid():
            return
        with self._lock:
            if self._instead is not None:
                self._instead()
            elif self._is_open:
                try:
                    self._signal.set()
                except OSError:  # full, so the selector returns anyway; or the other end is closed
                    pass

    def clear(self) -> None:
        """Reset the signal. Check for the reasons of the wake-ups after this, not before, so that none is missed."""
        try:
            self._signal.clear()
        except BlockingIOError:
            pass

    def replace(self, wake: Callable[[], None]) -> None:
        """Close the descriptors, and call ``wake`` from now on; what was woken before is lost."""
        with self._lock:
            self.close()
            self._instead = wake

    def close(self) -> None:
        with self._lock:
            self._instead = None
            if self._is_open:
                self._is_open = False
                self._signal.close()
