"""The WebSocket server: takes connections in, and leaves none of their threads or sockets behind."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from websockets.sync.server import Server, ServerConnection, serve

from ._admission import Admission

# Seconds for the closing handshakes at the end, and again for what is cut off after them.
_CLOSE_TIMEOUT = 2.0
_OPEN_TIMEOUT = 10.0

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
        self._lock = threading.Lock()
        # Every connection since its first byte, with its thread; those that ended are swept out on occasion.
        self._connections: list[tuple[ServerConnection, threading.Thread]] = []
        self._socket = _listen(host, port)
        self.port: int = self._socket.getsockname()[1]
        self._server = self._serve(admission, max_message_size, on_connection)
        self._thread = threading.Thread(target=self._server.serve_forever, name="runtimeuse-accept", daemon=True)
        self._thread.start()

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

    def close(self) -> None:
        """Stop listening; close each connection with code 1001, or cut it off. Takes some seconds at most."""
        # Some versions of websockets wait in shutdown() until every connection has ended, without a bound.
        stopping = threading.Thread(target=self._server.shutdown, name="runtimeuse-shutdown", daemon=True)
        stopping.start()
        self._thread.join(_CLOSE_TIMEOUT)
        with self._lock:
            connections = list(self._connections)
        closing = [threading.Thread(target=c.close, args=(_GOING_AWAY,), daemon=True) for c, _ in connections]
        for thread in closing:
            thread.start()
        threads = [thread for _, thread in connections]
        _join([*threads, *closing], _CLOSE_TIMEOUT)
        for connection, thread in connections:
            if thread.is_alive():
                _cut(connection)
        _join([*threads, *closing, stopping], _CLOSE_TIMEOUT)
        self._close_pipe()

    def _close_pipe(self) -> None:
        # websockets 15 leaves the pipe open that wakes its accept loop.
        for name in ("shutdown_watcher", "shutdown_notifier"):
            end = getattr(self._server, name, None)
            if isinstance(end, int):
                delattr(self._server, name)
                os.close(end)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=128)


def _cut(connection: ServerConnection) -> None:
    with suppress(OSError):
        connection.socket.shutdown(socket.SHUT_RDWR)


def _join(threads: list[threading.Thread], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
