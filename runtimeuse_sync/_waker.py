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
        self._signalled = (
            False  # guarded by _lock: a byte is on its way, which spares a system call for each further wake
        )
        # Reentrant, since a signal handler may interrupt its holder. Guards the descriptor against being
        # closed, and its number reused, between the test and the write.
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
            if self._signalled or self._closed:
                return
            try:
                self._writer.send(b"\0")
            except OSError:  # full, which wakes just as well; or nobody is left to be woken
                return
            # Only now: a signal in between may cost a byte too many, but not all wake-ups to come.
            self._signalled = True

    def clear(self) -> None:
        """Forget the wake-ups so far. What they were for must be looked at after this, not before."""
        with self._lock:  # a wake in between would lose its byte, and with its mark left set all later ones
            try:
                self._reader.recv(64)
            except BlockingIOError:
                pass
            self._signalled = False

    def close(self) -> None:
        with self._lock:
            if not self._closed:
                self._closed = True
                self._reader.close()
                self._writer.close()
