"""Connects to one of a host's addresses: to the first that answers.

RFC 8305's idea: an address that has not answered for a while is joined by the next, so that one which swallows packets
(as IPv6 addresses may) does not use up the time of the others, and one that is slow is not given up. All on one thread.
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

# As ``socket.getaddrinfo`` returns them: family, type, protocol, canonical name, and where.
Address = tuple[int, int, int, str, tuple[object, ...]]
# Waits until one of the sockets can be written to, or the deadline has passed; returns those that can.
Wait = Callable[[Collection[socket.socket], Deadline], Collection[socket.socket]]

# Seconds that an address has for itself before the next one is tried too: RFC 8305, section 8, recommends them. Less
# if that would leave the last ones without their part of the time that is left.
HEAD_START = 0.25
# Addresses of one host that are tried: each may hold a descriptor.
MOST_ADDRESSES = 16


class AddressRace:
    """One run over the addresses of a host.

    Attributes:
        outcomes (dict of str to str): what has become of each address that was tried, in that order.
    """

    def __init__(self, addresses: Sequence[Address], wait: Wait, deadline: Deadline) -> None:
        self.outcomes: dict[str, str] = {}
        self._error: Optional[OSError] = None  # the last
        self._next = deque(addresses[:MOST_ADDRESSES])
        self._running: dict[socket.socket, str] = {}
        self._wait = wait
        self._deadline = deadline

    def run(self) -> Optional[socket.socket]:
        """The socket that is connected, or None if none is in time; raises the last ``OSError`` if all have failed."""
        try:
            return self._run()
        finally:
            for sock in self._running:
                sock.close()

    def tried(self) -> str:
        """The addresses that were tried; what became of each, if they are several."""
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
        """When the next one starts, if nothing happens before."""
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
            pass  # it is on its way
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
