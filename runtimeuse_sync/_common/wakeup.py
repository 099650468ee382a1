"""Wakes the connection thread out of its wait: closing a descriptor would not."""

from __future__ import annotations

import socket
import threading


class Waker:
    """A socket pair: one end in the selector, one to write a byte to.

    ``wake`` may be called from any thread, and from a signal handler; the rest belongs to the connection thread.
    A wake before ``open`` is lost: what it was for must be looked at after it.
    """

    _reader: socket.socket
    _writer: socket.socket

    def __init__(self) -> None:
        # Reentrant, since a signal handler may interrupt its holder. Guards the descriptor against being
        # closed, and its number reused, between the test and the write. ``clear`` does without, for it comes
        # at the very moment at which a waking thread still holds it.
        self._lock = threading.RLock()
        self._closed = True  # guarded by _lock

    def open(self) -> None:
        """Make the pair: on the connection thread, where no signal handler can lose a descriptor half-way."""
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._closed = False

    def fileno(self) -> int:
        return self._reader.fileno()

    def wake(self) -> None:
        with self._lock:
            if self._closed:
                return
            try:
                self._writer.send(b"\0")
            except OSError:  # full, which wakes just as well; or nobody is left to be woken
                pass

    def clear(self) -> None:
        """Forget the wake-ups so far. What they were for must be looked at after this, not before."""
        try:
            self._reader.recv(4096)
        except BlockingIOError:
            pass

    def close(self) -> None:
        with self._lock:
            if not self._closed:
                self._closed = True
                self._reader.close()
                self._writer.close()
