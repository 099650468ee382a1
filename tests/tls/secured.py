"""TLS on the server's side, with the records in the test's hands."""

from __future__ import annotations

import socket
import ssl
from typing import Any, Callable


class Secured:
    """What ``RawPeer`` takes for a socket: TLS over ``sock``.

    ``records`` encrypts without sending, so that a test can send half a record, or a wrong one.
    """

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        self.sock = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._step(self._tls.do_handshake)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sock, name)

    def records(self, data: bytes) -> bytes:
        self._tls.write(data)
        return self._outgoing.read()

    def sendall(self, data: bytes) -> None:
        self.sock.sendall(self.records(data))

    def recv(self, size: int) -> bytes:
        try:
            return self._step(lambda: self._tls.read(size))
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            return b""

    def _step(self, step: Callable[[], Any]) -> Any:
        """Take a step of TLS that may need what the client still has to send."""
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                self._flush()
                data = self.sock.recv(65536)
                self._incoming.write(data) if data else self._incoming.write_eof()
            finally:
                self._flush()

    def _flush(self) -> None:
        data = self._outgoing.read()
        if data:
            self.sock.sendall(data)
