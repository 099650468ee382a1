"""A wake-up for a thread that waits in a selector: closing a descriptor in another thread would not end its wait."""

from __future__ import annotations

import os
import socket
import threading
from typing import Any, Protocol

# For type checkers: ``os.eventfd`` is not on every system, nor in Python 3.9.
_os: Any = os


class _Signal(Protocol):
    """Descriptors that become readable by ``set``, and stay so until ``clear``. None of these calls blocks."""

    def fileno(self) -> int: ...
    def set(self) -> None: ...
    def clear(self) -> None: ...
    def close(self) -> None: ...


class EventFd:
    """A counter of the kernel's: one descriptor. Linux, since Python 3.10."""

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
    """Two sockets, one to write a byte to and one to read it from: two descriptors, and every system has it."""

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

    ``wake`` may be called from any thread, and from a signal handler. The other methods are for the thread that
    waits. Before ``open`` and after ``close``, ``wake`` does nothing: whoever opens it looks for itself at what
    happened before.

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
        # It keeps the descriptor from being closed, and its number from being reused, between the test and the
        # write in ``wake``. Reentrant, since a signal handler may interrupt the thread that holds it. ``clear``
        # does not take it: the thread that has just been woken would wait for the thread that woke it.
        self._lock = threading.RLock()
        self._is_open = False  # guarded by _lock

    def open(self) -> None:
        """Take the descriptors: in the waiting thread, where no signal handler can interrupt and lose them."""
        self._signal = _new_signal()
        self._is_open = True

    def fileno(self) -> int:
        return self._signal.fileno()

    def wake(self) -> None:
        with self._lock:
            if not self._is_open:
                return
            try:
                self._signal.set()
            except OSError:  # full, which wakes just as well; or nobody is left to be woken
                pass

    def clear(self) -> None:
        """Forget the wake-ups so far. Look at what they were for after this, not before."""
        try:
            self._signal.clear()
        except BlockingIOError:
            pass

    def close(self) -> None:
        with self._lock:
            if self._is_open:
                self._is_open = False
                self._signal.close()
