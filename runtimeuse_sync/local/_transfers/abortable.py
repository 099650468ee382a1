"""Connections of ``urllib.request`` that another thread can end at any moment, also while they are being made."""

from __future__ import annotations

import errno
import os
import selectors
import socket
import threading
import urllib.request
from contextlib import suppress
from http.client import HTTPResponse
from typing import Any, Optional

_UNDER_WAY = (0, errno.EINPROGRESS, errno.EWOULDBLOCK)


class Sockets:
    """Makes the sockets of one transfer, one after the other, and shuts down the one that there is.

    A blocked read or write of a socket ends when the socket is shut down. For that, a duplicate is kept: TLS takes
    the descriptor away from the socket that was made here.
    """

    def __init__(self) -> None:
        # Guards what follows.
        self._lock = threading.Lock()
        self._current: Optional[socket.socket] = None
        self._aborted = False

    def abort(self) -> None:
        """Shut down the current socket, and make no other. Any thread may call it, at any time."""
        with self._lock:
            self._aborted = True
            if self._current:
                with suppress(OSError):
                    self._current.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of the duplicate."""
        with self._lock:
            if self._current:
                self._current.close()
                self._current = None

    def connect(self, address: tuple[str, int], timeout: float, _: Any = None) -> socket.socket:
        """As ``socket.create_connection``, but abortable."""
        failure = OSError(errno.EADDRNOTAVAIL, "No address")
        for family, kind, protocol, _, target in socket.getaddrinfo(*address, type=socket.SOCK_STREAM):
            try:
                return self._connected(socket.socket(family, kind, protocol), target, timeout)
            except OSError as error:
                failure = error
        raise failure

    def _connected(self, new: socket.socket, target: Any, timeout: float) -> socket.socket:
        try:
            new.setblocking(False)
            _raise_if(new.connect_ex(target), but_not=_UNDER_WAY)
            # After connecting has begun: before, a socket cannot be shut down.
            self._keep(new)
            if not _is_writable(new, timeout):
                raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
            _raise_if(new.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
            new.settimeout(timeout)
        except BaseException:
            new.close()
            raise
        return new

    def _keep(self, new: socket.socket) -> None:
        self.close()
        with self._lock:
            if self._aborted:
                raise ConnectionAbortedError(errno.ECONNABORTED, os.strerror(errno.ECONNABORTED))
            self._current = new.dup()


def _raise_if(code: int, *, but_not: tuple[int, ...] = (0,)) -> None:
    if code not in but_not:
        raise OSError(code, os.strerror(code))


def _is_writable(one: socket.socket, timeout: float) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(one, selectors.EVENT_WRITE)
        return bool(selector.select(timeout))


class _Abortable(urllib.request.AbstractHTTPHandler):
    """Has its connections made by ``Sockets``."""

    def __init__(self, sockets: Sockets) -> None:
        super().__init__()
        self._sockets = sockets

    def do_open(self, http_class: Any, req: urllib.request.Request, **options: Any) -> HTTPResponse:
        def make(host: str, **more: Any) -> Any:
            connection = http_class(host, **more)
            # The place that http.client has for this since Python 2.7, though its manual does not mention it.
            connection._create_connection = self._sockets.connect
            return connection

        return super().do_open(make, req, **options)


class HTTPHandler(_Abortable, urllib.request.HTTPHandler):
    """Opens http URLs."""


class HTTPSHandler(_Abortable, urllib.request.HTTPSHandler):
    """Opens https URLs."""
