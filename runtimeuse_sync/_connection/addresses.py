"""Connecting to the first address of a host that answers ("Happy Eyeballs", RFC 8305), on one thread.

If an address has not answered for a while, the next is tried as well. So an address whose packets are dropped (as with
broken IPv6) does not use up the time of the others, and a slow one is not given up.
"""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Collection, Sequence
from typing import Callable, Optional

from .._common.deadline import Deadline
from .._common.hosts import bracketed
from .failures import words

# As ``socket.getaddrinfo`` returns them: family, type, protocol, canonical name, socket address.
Address = tuple[int, int, int, str, tuple[object, ...]]
# A function that waits until one of the sockets is writable, or the deadline has passed; returns the writable ones.
Wait = Callable[[Collection[socket.socket], Deadline], Collection[socket.socket]]

# Seconds before the next address is tried too, as RFC 8305, section 8, recommends. Less if the time that is left,
# divided by the addresses, is less.
HEAD_START = 0.25
# The most addresses of one host that are tried: each may need a descriptor.
MOST_ADDRESSES = 16


class AddressRace:
    """One run over the addresses of a host.

    Attributes:
        outcomes (dict of str to str): the outcome for each address that was tried, in that order.
    """

    def __init__(self, addresses: Sequence[Address], wait: Wait, deadline: Deadline) -> None:
        self.outcomes: dict[str, str] = {}
        self._error: Optional[OSError] = None  # the latest
        self._next = deque(addresses[:MOST_ADDRESSES])
        self._running: dict[socket.socket, str] = {}
        self._wait = wait
        self._deadline = deadline

    def run(self) -> Optional[socket.socket]:
        """Return the connected socket, or None at the deadline; raises the last ``OSError`` if all have failed."""
        try:
            return self._run()
        finally:
            for sock in self._running:
                sock.close()

    def tried(self) -> str:
        """The addresses that were tried, as text; with their outcomes, if there are several."""
        if len(self.outcomes) == 1:
            return next(iter(self.outcomes))
        return ", ".join(f"{name} ({outcome})" for name, outcome in self.outcomes.items())

    def _run(self) -> Optional[socket.socket]:
        while self._next or self._running:
            if self._next:
                self._start(self._next.popleft())
            if not self._running:
                continue
            ready = self._wait(list(self._running), self._until())
            for sock in ready:
                if self._has_connected(sock):
                    return sock
            if not ready and self._deadline.expired:
                return None
        raise self._error or OSError("the host has no address")

    def _until(self) -> Deadline:
        """The time at which the next address is tried too; the overall deadline if there is none."""
        if not self._next:
            return self._deadline
        share = self._deadline.remaining() / (len(self._next) + 1)
        return self._deadline.earlier(Deadline(min(HEAD_START, share)))

    def _start(self, address: Address) -> None:
        family, kind, protocol, _, where = address
        name = f"{bracketed(str(where[0]))}:{where[1]}"
        self.outcomes[name] = "no answer"
        try:
            sock = socket.socket(family, kind, protocol)
        except OSError as error:
            self._note(name, error)
            return
        self._running[sock] = name
        self._begin_to_connect(sock, where)

    def _begin_to_connect(self, sock: socket.socket, where: tuple[object, ...]) -> None:
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.connect(where)
        except BlockingIOError:
            pass  # connecting has begun
        except OSError as error:
            self._drop(sock, error)

    def _has_connected(self, sock: socket.socket) -> bool:
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._drop(sock, OSError(code, os.strerror(code)))
            return False
        del self._running[sock]
        return True

    def _drop(self, sock: socket.socket, error: OSError) -> None:
        self._note(self._running.pop(sock), error)
        sock.close()

    def _note(self, name: str, error: OSError) -> None:
        self.outcomes[name] = words(error)
        self._error = error
