"""Waiting for a connection: for its socket, or for a wake-up."""

from __future__ import annotations

import selectors
import ssl
from selectors import EVENT_READ
from typing import Optional

from .._common.wakeup import Waker
from .connecting import Selector, Socket


class Registration:
    """A socket in a selector, which returns ``data`` with its events."""

    def __init__(self, selector: selectors.BaseSelector, sock: Socket, data: object = None) -> None:
        self._selector = selector
        self._sock = sock
        self._data = data
        self._interest = 0  # the events that it is registered for

    def expect(self, interest: int) -> None:
        """Register the socket for the events ``interest``."""
        # A selector refuses an empty set of events, so a socket that is neither read nor written is unregistered.
        if interest == self._interest:
            return
        if not interest:
            self._selector.unregister(self._sock)
        elif not self._interest:
            self._selector.register(self._sock, interest, self._data)
        else:
            self._selector.modify(self._sock, interest, self._data)
        self._interest = interest


class Watch:
    """A selector over the socket and the waker of a connection that has a thread of its own."""

    def __init__(self, selector: selectors.BaseSelector, sock: Socket, waker: Waker) -> None:
        self._selector = selector
        self._sock = sock
        self._waker = waker
        self._registration = Registration(selector, sock)
        selector.register(waker, EVENT_READ)

    def look(self, interest: int, patience: Optional[float]) -> int:
        """Wait until the socket has one of the events ``interest``, or the waker is used.

        Waits ``patience`` seconds at most; None: no limit. Returns the events that the socket has, or 0.
        """
        self._registration.expect(interest)
        found = decrypted(self._sock, interest)
        for key, events in self._selector.select(0.0 if found else patience):
            if key.fileobj is self._waker:
                self._waker.clear()
            else:
                found |= events
        return found


def look_at(sock: Socket, interest: int) -> int:
    """The events of ``interest`` that ``sock`` has now."""
    found = decrypted(sock, interest)
    with Selector() as selector:
        Registration(selector, sock).expect(interest)
        for _, events in selector.select(0.0):
            found |= events
    return found


def decrypted(sock: Socket, interest: int) -> int:
    """EVENT_READ if it is of interest and TLS has decrypted bytes, which a selector does not see."""
    has_any = interest & EVENT_READ and isinstance(sock, ssl.SSLSocket) and sock.pending() > 0
    return EVENT_READ if has_any else 0
