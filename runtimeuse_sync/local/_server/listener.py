"""The WebSocket server: takes connections in, and leaves none of their threads or sockets behind."""

from __future__ import annotations

import logging
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Union

from websockets.protocol import State
from websockets.sync.server import Server, ServerConnection, serve

from .admission import Admission

# Seconds for the closing handshakes at the end, and again for what is cut off after them.
_CLOSE_TIMEOUT = 2.0
_OPEN_TIMEOUT = 10.0

_RETRY = 0.05

_GOING_AWAY = 1001

# In no hierarchy: at DEBUG, websockets logs headers and payloads.
_no_log = logging.Logger("runtimeuse_sync.local.websockets", logging.CRITICAL + 1)


class Listener:
    """Listens from its making on; serves each connection on a thread of its own."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        admission: Admission,
        max_message_size: int,
        on_connection: Callable[[ServerConnection], None],
    ) -> None:
        # Guards the two that follow.
        self._lock = threading.Lock()
        self._closing = False
        # Every connection since its first byte, with its thread; those that ended are swept out on occasion.
        self._connections: list[tuple[ServerConnection, threading.Thread]] = []
        self._socket = _listen(host, port)
        self.port: int = self._socket.getsockname()[1]
        self._server = self._serve(admission, max_message_size, on_connection)
        self._wake, self._waker = socket.socketpair()
        self._thread = threading.Thread(target=self._accept, name="runtimeuse-accept", daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        """What ``Server.serve_forever`` does, less what it leaves open: an epoll descriptor, until some collection."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ)
            selector.register(self._wake, selectors.EVENT_READ)
            while not any(key.fileobj is self._wake for key, _ in selector.select()):
                try:
                    client, address = self._socket.accept()
                except OSError:
                    # Gone again, or we are out of descriptors: then others have to end first.
                    time.sleep(_RETRY)
                    continue
                client.setblocking(True)
                self._start(client, address)

    def _start(self, client: socket.socket, address: Any) -> None:
        threading.Thread(
            target=self._server.handler, args=(client, address), name="runtimeuse-connection", daemon=True
        ).start()

    def _serve(
        self, admission: Admission, max_message_size: int, on_connection: Callable[[ServerConnection], None]
    ) -> Server:
        listener = self

        class Tracked(ServerConnection):
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, **kwargs)
                listener._track(self)

        return serve(
            on_connection,
            sock=self._socket,
            process_request=admission,
            create_connection=Tracked,
            compression=None,
            max_size=max_message_size,
            ping_interval=None,
            open_timeout=_OPEN_TIMEOUT,
            close_timeout=_CLOSE_TIMEOUT,
            logger=_no_log,
        )

    def _track(self, connection: ServerConnection) -> None:
        with self._lock:
            self._connections = [(c, thread) for c, thread in self._connections if thread.is_alive()]
            self._connections.append((connection, threading.current_thread()))
            is_late = self._closing
        if is_late:
            _cut(connection)

    def close(self) -> None:
        """Once: stop listening; close each connection with code 1001, or cut it off. Takes some seconds at most."""
        self._stop_accepting()
        with self._lock:
            self._closing = True
            connections = list(self._connections)
        # Each on a thread: a closing handshake waits for its peer.
        closing = [threading.Thread(target=_end, args=(c,), daemon=True) for c, _ in connections]
        for thread in closing:
            thread.start()
        threads = [*closing, *(thread for _, thread in connections)]
        _join(threads, _CLOSE_TIMEOUT)
        for connection, thread in connections:
            if thread.is_alive():
                _cut(connection)
        _join(threads, _CLOSE_TIMEOUT)

    def _stop_accepting(self) -> None:
        with suppress(OSError):
            self._waker.send(b"x")
        self._thread.join(_CLOSE_TIMEOUT)
        # The two last belong to the accept loop of websockets: a pipe in 15 and 16, sockets in 17.
        for end in (self._socket, self._wake, self._waker):
            end.close()
        # Those of websockets' accept loop, which did not run: a pipe in 15 and 16, sockets in 17.
        for name in ("shutdown_watcher", "shutdown_notifier"):
            _close(getattr(self._server, name, None))


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=128)
    listener.setblocking(False)
    return listener


def _close(end: Union[socket.socket, int, None]) -> None:
    if isinstance(end, socket.socket):
        end.close()
    elif end is not None:
        os.close(end)


def _end(connection: ServerConnection) -> None:
    if connection.protocol.state is State.CONNECTING:
        _cut(connection)
    else:
        connection.close(_GOING_AWAY)


def _cut(connection: ServerConnection) -> None:
    with suppress(OSError):
        connection.socket.shutdown(socket.SHUT_RDWR)


def _join(threads: list[threading.Thread], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
