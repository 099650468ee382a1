"""Refusal of connections that a runtime cannot serve: it answers in HTTP, and closes them."""

from __future__ import annotations

import selectors
import socket
import time
from contextlib import suppress
from typing import Optional

_ANSWER = (
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\n"
    b"Content-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s"
)

# Seconds in which a client may ask and read the answer; and how many may do so at once, so that the oldest has to go.
_LINGER = 2.0
_MOST = 32


class Refusals:
    """The sockets of refused clients, kept open until each has sent its request and read the answer.

    An answer before the request confuses some clients, and to close at once could take the answer from them.
    Used on the thread of the selector, and never waits.
    """

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        # In the order of their deadlines.
        self._deadlines: dict[socket.socket, float] = {}
        # The answers that were not sent yet.
        self._answers: dict[socket.socket, bytes] = {}

    def add(self, client: socket.socket, reason: str) -> None:
        """Refuse ``client``."""
        client.setblocking(False)
        self._selector.register(client, selectors.EVENT_READ)
        self._deadlines[client] = time.monotonic() + _LINGER
        self._answers[client] = _ANSWER % (len(reason), reason.encode())
        if len(self._deadlines) > _MOST:
            self._drop(next(iter(self._deadlines)))

    def look(self, ready: socket.socket) -> None:
        """Read what ``ready``, one of the refused, says; drop it if that was all."""
        try:
            is_there = bool(ready.recv(64 * 1024))
        except BlockingIOError:
            return
        except OSError:
            is_there = False
        if is_there:
            self._answer(ready)
        else:
            self._drop(ready)

    def _answer(self, client: socket.socket) -> None:
        answer = self._answers.pop(client, None)
        if answer:
            with suppress(OSError):
                client.send(answer)
                client.shutdown(socket.SHUT_WR)

    def __contains__(self, client: object) -> bool:
        return client in self._deadlines

    def patience(self) -> Optional[float]:
        """Drop those whose time is up; the seconds that the next one has, None if there is none."""
        now = time.monotonic()
        for client, deadline in tuple(self._deadlines.items()):
            if deadline > now:
                return deadline - now
            self._drop(client)
        return None

    def close(self) -> None:
        """Drop all."""
        for client in tuple(self._deadlines):
            self._drop(client)

    def _drop(self, client: socket.socket) -> None:
        self._answer(client)
        del self._deadlines[client]
        self._selector.unregister(client)
        client.close()
