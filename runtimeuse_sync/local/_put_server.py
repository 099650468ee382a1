"""An HTTP server on loopback that takes PUTs, and leaves no thread and no connection behind."""

from __future__ import annotations

import selectors
import socket
import socketserver
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, BinaryIO, Optional, cast

from .._common.deadline import Deadline

# Bytes of one read.
_CHUNK = 256 * 1024

# Seconds for a thread whose socket is shut down.
_CLOSE_TIMEOUT = 2.0

# Seconds that a client may take for the next piece of its request.
_STALLED = 30.0

# Seconds for which the body of a refused upload is read. A client that is still sending when the connection ends
# may never see the answer.
_LINGER = 10.0

# Connections at once, each of which has a thread. A runtime makes one for each file that it sends at the moment.
_MOST_CONNECTIONS = 250
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

# Seconds between two tries to accept a connection while there is no descriptor for it.
_RETRY = 0.05


# Takes the URL's path, the body and its Content-Length; returns the status to answer with.
Receive = Callable[[str, BinaryIO, Optional[str]], HTTPStatus]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _STALLED

    def do_PUT(self) -> None:
        server = self.server
        assert isinstance(server, PutServer)
        status = server.receive(self.path.lstrip("/"), cast("BinaryIO", self.rfile), self._length())
        # What is left of a refused body must not be read as the next request.
        self.close_connection = status is not HTTPStatus.OK
        self.send_response(status)
        self.send_header("Content-Length", "0")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.close_connection:
            self._linger()

    def _length(self) -> Optional[str]:
        """The body's Content-Length; None if there is none to rely on: a transfer coding counts before it."""
        lengths = set(self.headers.get_all("Content-Length", ()))
        return lengths.pop() if len(lengths) == 1 and "Transfer-Encoding" not in self.headers else None

    def _linger(self) -> None:
        """Read on until the client has closed its end: it may read the answer only when it has sent all."""
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_WR)
        end = Deadline(_LINGER)
        while not end.expired and self.rfile.read1(_CHUNK):
            pass

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Do nothing: the log line would hold the URL, which is a secret."""


class PutServer(ThreadingHTTPServer):
    """Knows its connections, to leave none behind."""

    daemon_threads = True
    # The listen backlog. With the default of 5, a sixth client waits a second for its next attempt.
    request_queue_size = 128
    # Seconds that handle_request() waits: the selector of the accepting thread has waited already.
    timeout = 0

    def __init__(self, receive: Receive) -> None:
        self.receive = receive
        self._open: dict[socket.socket, threading.Thread] = {}
        super().__init__(("127.0.0.1", 0), _Handler)
        self._wake, self._waker = socket.socketpair()
        self._thread = threading.Thread(target=self._accept, name="runtimeuse-receiver", daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        """The loop of the server, as ``serve_forever``, but stopped by a wake-up: that one polls for it."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.socket, selectors.EVENT_READ)
            selector.register(self._wake, selectors.EVENT_READ)
            while not any(key.fileobj is self._wake for key, _ in selector.select()):
                self.handle_request()

    def get_request(self) -> tuple[socket.socket, Any]:
        try:
            return super().get_request()
        except OSError:
            # Out of descriptors: the connection stays queued, so the selector would report it again and again.
            time.sleep(_RETRY)
            raise

    def server_bind(self) -> None:
        # HTTPServer's method looks up the host's name, which may take seconds.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", self.socket.getsockname()[1]

    def verify_request(self, request: Any, client_address: Any) -> bool:
        has_room = len(self._open) < _MOST_CONNECTIONS
        if not has_room:
            with suppress(OSError):
                request.send(_FULL)  # which the empty buffer of a new connection takes
        return has_room

    def process_request(self, request: Any, client_address: Any) -> None:
        thread = threading.Thread(
            target=self.process_request_thread,
            args=(request, client_address),
            name="runtimeuse-receiving",
            daemon=True,
        )
        self._open[request] = thread
        thread.start()

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        self._open.pop(request, None)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Do nothing: a client that disconnects is not an error here."""

    def stop(self) -> None:
        """Stop, and cut off what is under way."""
        self._waker.send(b"x")
        self._thread.join(_CLOSE_TIMEOUT)
        self.server_close()
        for end in (self._wake, self._waker):
            end.close()
        for request, thread in tuple(self._open.items()):
            with suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)
            thread.join(_CLOSE_TIMEOUT)
