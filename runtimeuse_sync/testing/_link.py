"""The socket and the WebSocket state of one connection, used by the loop's thread."""

from __future__ import annotations

import logging
import selectors
import socket
import ssl
import struct
import sys
from typing import Callable, Optional, Protocol, cast

import attrs
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from ._loop import Disconnected, Loop
from ._mailbox import Mailbox, Received

# Bytes of a message: real runtimes take as many.
_MAX_MESSAGE = 100 * 1024 * 1024
_CHUNK = 256 * 1024

# websockets logs frames with their payload, if its logger is enabled. This one has no parent, and logs nothing.
_SILENT = logging.Logger("silent", logging.CRITICAL + 1)

# The value of SO_LINGER (a struct linger, on for 0 seconds) with which close() sends a RST.
_NO_LINGER = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)

_WANTS: tuple[type[OSError], ...] = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


@attrs.frozen
class Answer:
    """The answer to a handshake: accept it, or refuse it with a status.

    Attributes:
        status (int or None): the HTTP status to refuse it with. Default None: it is accepted.
        begin: called once it is accepted.
    """

    status: Optional[int] = None
    begin: Callable[[], object] = lambda: None


class Host(Protocol):
    """The interface that answers handshakes and receives a connection's events, on the loop's thread only."""

    def answer(self, link: Link, request: Request) -> Answer:
        """The client asks for a WebSocket."""

    def on_message(self, message: Received) -> None:
        """The client has sent a message."""

    def on_closed(self, link: Link) -> None:
        """The socket is closed."""

    def on_failure(self, error: BaseException) -> None:
        """An unexpected exception (a bug) in the server itself."""


class Link:
    """The socket and the protocol state of one connection. Only the loop's thread calls its methods.

    Attributes:
        mailbox (Mailbox): what comes in goes there.
        closed (bool): the socket is closed.
        deaf (bool): what comes in is thrown away, pings included.
    """

    def __init__(self, loop: Loop, sock: socket.socket, host: Host) -> None:
        self.mailbox = Mailbox(host.on_message)
        self.closed = False
        self.deaf = False
        self._loop = loop
        self._sock = sock
        self._host = host
        self._protocol = ServerProtocol(max_size=_MAX_MESSAGE, logger=_SILENT)
        self._outbox = bytearray()
        self._fragments: list[bytes] = []
        self._shaking_hands = isinstance(sock, ssl.SSLSocket)
        self._half_close = False  # wanted, once all is written
        self._half_closed = False

    def on_ready(self, events: int) -> None:
        try:
            if self._shaking_hands:
                self._shake_hands()
            elif events & selectors.EVENT_READ:
                self._read()
            if not self._shaking_hands:
                self._flush()
        except OSError as error:
            self.close(f"the connection broke ({type(error).__name__})")
        except Exception as error:  # noqa: BLE001 - a safety net: the loop must outlive a fault of one link
            self._host.on_failure(error)
            self.close("the server failed")

    def _shake_hands(self) -> None:
        try:
            cast("ssl.SSLSocket", self._sock).do_handshake()
        except ssl.SSLWantReadError:
            self._loop.watch(self._sock, self.on_ready)
        except ssl.SSLWantWriteError:
            self._loop.watch(self._sock, self.on_ready, writing=True)
        else:
            self._shaking_hands = False
            self._read()

    def _read(self) -> None:
        # Read until nothing is left: bytes that TLS has decrypted already do not make the socket readable.
        while not self.closed:
            try:
                data = self._sock.recv(_CHUNK)
            except _WANTS:
                return
            if not data:
                self.close("dropped the connection")
            elif not self.deaf:
                self._feed(data)

    def _feed(self, data: bytes) -> None:
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Request):
                self._answer_handshake(event)
            elif isinstance(event, Frame):
                self._on_frame(event)
        if self._protocol.parser_exc:
            self.mailbox.put_fault("broke the WebSocket protocol", self._protocol.parser_exc)
        self._emit()

    def _answer_handshake(self, request: Request) -> None:
        answer = self._host.answer(self, request)
        if answer.status is None:
            self._protocol.send_response(self._protocol.accept(request))
        else:
            self._protocol.send_response(self._protocol.reject(answer.status, "Refused by the test.\n"))
        self._emit()
        # accept() refuses a request that is no valid upgrade.
        if self._protocol.state is State.OPEN:
            answer.begin()

    def _on_frame(self, frame: Frame) -> None:
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            self._fragments.append(bytes(frame.data))
            if frame.fin:
                payload, self._fragments = b"".join(self._fragments), []
                self.mailbox.put_payload(payload)
        elif frame.opcode is Opcode.PONG:
            self.mailbox.put_pong(bytes(frame.data))
        elif frame.opcode is Opcode.CLOSE:
            code = struct.unpack("!H", frame.data[:2])[0] if frame.data else 1005
            self.mailbox.mark_leaving(f"closed the WebSocket with code {code}")

    def speak(self, say: Callable[[ServerProtocol], None]) -> None:
        """Send what ``say`` tells the protocol to."""
        if self.closed or self._protocol.state is not State.OPEN:
            raise Disconnected("the client has left")
        say(self._protocol)
        self._emit()
        self._try_to_flush()

    def write(self, data: bytes) -> None:
        """Send ``data`` below the WebSocket framing."""
        if self.closed or self._half_close:
            raise Disconnected("the client has left")
        self._outbox += data
        self._try_to_flush()

    def hang_up(self) -> None:
        """Shut down the writing side of the TCP connection, once all is written."""
        self._half_close = True
        self._try_to_flush()

    def reset(self) -> None:
        if not self.closed:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            self.close("was reset")

    def close(self, how: str) -> None:
        if self.closed:
            return
        self.closed = True
        self._loop.forget(self._sock)
        self._sock.close()
        self._host.on_closed(self)
        self.mailbox.mark_closed(how)

    def _emit(self) -> None:
        data = self._protocol.data_to_send()
        self._outbox += b"".join(data)
        self._half_close = self._half_close or b"" in data

    def _try_to_flush(self) -> None:
        try:
            self._flush()
        except OSError as error:
            self.close(f"the connection broke ({type(error).__name__})")

    def _flush(self) -> None:
        if self.closed:
            return
        try:
            while self._outbox:
                del self._outbox[: self._sock.send(self._outbox[:_CHUNK])]
        except _WANTS:
            pass
        if self._half_close and not self._outbox and not self._half_closed:
            self._half_closed = self.deaf = True
            self._sock.shutdown(socket.SHUT_WR)
        self._loop.watch(self._sock, self.on_ready, writing=bool(self._outbox))
        self.mailbox.mark_flushed(not self._outbox)
