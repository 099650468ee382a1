"""The socket and the WebSocket of one connection: what the loop does for a peer."""

from __future__ import annotations

import logging
import selectors
import socket
import ssl
import struct
import sys
from typing import TYPE_CHECKING, Callable, Optional, cast

from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from ..exceptions import ProtocolError
from ._loop import Disconnected, Loop
from ._peer import Peer

if TYPE_CHECKING:
    from ._server import ScriptedRuntime

# Real runtimes take messages up to this size.
_MAX_MESSAGE = 100 * 1024 * 1024
_CHUNK = 256 * 1024

# websockets logs frames, payload and all, where its logger is enabled: this one belongs to no hierarchy.
_SILENT = logging.Logger("silent", logging.CRITICAL + 1)

# A struct linger: what close() then sends is a RST.
_NO_LINGER = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)

_WANTS: tuple[type[OSError], ...] = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Link:
    """The socket and the protocol state of one connection. Only the loop's thread calls its methods."""

    def __init__(self, loop: Loop, sock: socket.socket, runtime: ScriptedRuntime) -> None:
        self._loop = loop
        self._sock = sock
        self._runtime = runtime
        self._peer: Optional[Peer] = None
        self._protocol = ServerProtocol(max_size=_MAX_MESSAGE, logger=_SILENT)
        self._outbox = bytearray()
        self._fragments: list[bytes] = []
        self._shaking_hands = isinstance(sock, ssl.SSLSocket)
        self._half_close = False  # wanted, once all is written
        self._half_closed = False
        self.closed = False
        # What comes in is thrown away: after our half of the end, and for a client that is to meet a dead host.
        self.deaf = False

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
            self._runtime._fail(error)
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
        # Until nothing is left: what TLS has decrypted already would not wake the selector.
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
        if self._peer and self._protocol.parser_exc:
            self._peer._take(ProtocolError(f"broke the WebSocket protocol: {self._protocol.parser_exc}"))
            self._peer._on_leaving("broke the WebSocket protocol")
        self._emit()

    def _answer_handshake(self, request: Request) -> None:
        self._peer = Peer(self._runtime, self._loop, self, request)
        step = self._runtime._admit(self._peer)
        if isinstance(step, int):
            self._protocol.send_response(self._protocol.reject(step, "Refused by the test.\n"))
        else:
            self._protocol.send_response(self._protocol.accept(request))
        self._emit()
        if not isinstance(step, int) and self._protocol.state is State.OPEN:
            self._runtime._play(self._peer, step)

    def _on_frame(self, frame: Frame) -> None:
        assert self._peer is not None
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            self._fragments.append(bytes(frame.data))
            if frame.fin:
                payload, self._fragments = b"".join(self._fragments), []
                self._peer._on_payload(payload)
        elif frame.opcode is Opcode.PONG:
            self._peer._on_pong(bytes(frame.data))
        elif frame.opcode is Opcode.CLOSE:
            code = struct.unpack("!H", frame.data[:2])[0] if frame.data else 1005
            self._peer._on_leaving(f"closed the WebSocket with code {code}")

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
        """End our direction of the TCP stream, once all is written."""
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
        self._runtime._links.discard(self)
        if self._peer:
            self._peer._on_closed(how)

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
        if self._peer:
            self._peer._on_flushed(not self._outbox)
