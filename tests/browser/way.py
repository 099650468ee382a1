"""A way to the application that can be cut."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from typing import Any

# Seconds that its thread may take to end.
PATIENCE = 30


class Way:
    """A TCP proxy to the application, whose connections can be cut and held off."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._wakeup, self._waker = socket.socketpair()
        self._lock = threading.Lock()
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._is_cut = False
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._wakeup, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._carry)
        self._thread.start()

    def cut(self) -> None:
        """End all connections, and every new one at once."""
        self._say(b"c")

    def mend(self) -> None:
        self._say(b"m")

    def close(self) -> None:
        self._say(b"e")
        self._thread.join(PATIENCE)
        for end in (self._listener, self._wakeup, self._waker):
            end.close()
        self._selector.close()

    def _say(self, word: bytes) -> None:
        self._waker.send(word)

    def _carry(self) -> None:
        while True:
            for key, _ in self._selector.select():
                end: Any = key.fileobj
                if end is self._wakeup:
                    word = self._wakeup.recv(1)
                    self._is_cut = word != b"m"
                    if self._is_cut:
                        self._drop_all()
                    if word == b"e":
                        return
                elif end is self._listener:
                    self._accept()
                elif end in self._pairs:
                    self._pass_on(end)

    def _accept(self) -> None:
        browser, _ = self._listener.accept()
        if self._is_cut:
            browser.close()
            return
        server = socket.create_connection(self._target)
        for one, other in ((browser, server), (server, browser)):
            self._pairs[one] = other
            self._selector.register(one, selectors.EVENT_READ)

    def _pass_on(self, end: socket.socket) -> None:
        data = b""
        with contextlib.suppress(OSError):
            data = end.recv(65536)
        try:
            if data:
                self._pairs[end].sendall(data)
                return
        except OSError:
            pass
        self._drop(end)

    def _drop(self, end: socket.socket) -> None:
        for one in (end, self._pairs[end]):
            del self._pairs[one]
            self._selector.unregister(one)
            one.close()

    def _drop_all(self) -> None:
        while self._pairs:
            self._drop(next(iter(self._pairs)))
