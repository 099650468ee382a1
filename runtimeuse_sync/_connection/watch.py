"""Waiting for a connection: for its socket, or for a wake-up."""

from __future__ import annotations

import selectors
import ssl
from selectors import EVENT_READ
from typing import Optional

from .._common.wakeup import Waker
from .connecting import Selector, Socket


class Watch:
    """A selector over the socket and the waker of a connection that has a thread of its own."""

    def __init__(self, selector: selectors.BaseSelector, sock: Socket, waker: Waker) -> None:
        self._selector = selector
        self._sock = sock
        self._waker = waker
        self._interest = 0  # the events that the socket is registered for
        selector.register(waker, EVENT_READ)

    def look(self, interest: int, patience: Optional[float]) -> int:
        """Wait until the socket has one of the events ``interest``, or the waker is used.

        Waits ``patience`` seconds at most; None: no limit. Returns the events that the socket has, or 0.
        """
        self._register(interest)
        found = EVENT_READ if interest & EVENT_READ and has_decrypted(self._sock) else 0
        for key, events in self._selector.select(0.0 if found else patience):
            if key.fileobj is self._waker:
                self._waker.clear()
            else:
                found |= events
        return found

    def _register(self, interest: int) -> None:
        # A selector refuses an empty set of events, so a socket that is neither read nor written is unregistered.
        if interest == self._interest:
            return
        if not interest:
            self._selector.unregister(self._sock)
        elif not self._interest:
            self._selector.register(self._sock, interest)
        else:
            self._selector.modify(self._sock, interest)
        self._interest = interest


def look_at(sock: Socket, interest: int) -> int:
    """The events of ``interest`` that ``sock`` has now."""
    found = EVENT_READ if interest & EVENT_READ and has_decrypted(sock) else 0
    if interest and not found:
        with Selector() as selector:
            selector.register(sock, interest)
            found = sum(events for _, events in selector.select(0.0))
    return found


def has_decrypted(sock: Socket) -> bool:
    """Whether TLS has decrypted bytes that were not read yet. A selector does not see them."""
    return isinstance(sock, ssl.SSLSocket) and sock.pending() > 0
