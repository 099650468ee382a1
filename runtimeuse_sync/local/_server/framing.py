"""The WebSocket protocol state of one connection: takes bytes, returns messages and bytes to send. No I/O, no clock."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Optional, Union

from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from .admission import Admission

GOING_AWAY = 1001
_INVALID_DATA = 1007
_INTERNAL_ERROR = 1011

# A logger without a parent, so that nothing is logged: at DEBUG, websockets logs headers and payloads.
_no_log = logging.Logger("runtimeuse_sync.local.websockets", logging.CRITICAL + 1)

# A received message: str for a text message, bytes for a binary one.
Received = Union[str, bytes]


class Framing:
    """One connection's handshake, frames and close.

    After each call, ``to_send`` has what is to be written. Not safe for use by several threads at once.
    """

    def __init__(self, admission: Admission, max_message_size: int) -> None:
        self._admission = admission
        self._protocol = ServerProtocol(max_size=max_message_size, logger=_no_log)
        # The fragments so far of a message, and whether it is text.
        self._fragments = bytearray()
        self._is_text = True

    @property
    def is_open(self) -> bool:
        """Whether messages may be sent: from the handshake to the first Close frame, whoever sends it."""
        return self._protocol.state is State.OPEN and not self._protocol.eof_sent

    @property
    def is_ending(self) -> bool:
        """Whether nothing is left but to close the socket: the connection is closing, closed, or was refused."""
        return self._protocol.eof_sent or self._protocol.state in (State.CLOSING, State.CLOSED)

    @property
    def is_over(self) -> bool:
        """Whether the client has closed its side as well."""
        return self._protocol.state is State.CLOSED

    # --- in ------------------------------------------------------------------------------------------

    def receive(self, data: bytes) -> list[Received]:
        """Add received data, ``b""`` for the end of the stream; return the messages that it completes."""
        return [message for piece in self._pieces(data) for message in self._taken(piece)]

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        """``data``, line by line until the request is answered: a client may send more before it has the answer."""
        lines = iter(data.splitlines(keepends=True))
        while self._protocol.state is State.CONNECTING and not self._protocol.eof_sent:
            line = next(lines, None)
            if line is None:
                break
            yield line
        rest = b"".join(lines)
        if rest or not data:
            yield rest

    def _taken(self, piece: bytes) -> Iterator[Received]:
        if self.is_over:
            return
        if piece:
            self._protocol.receive_data(piece)
        else:
            self._protocol.receive_eof()
        for event in self._protocol.events_received():
            yield from self._messages(event)

    def _messages(self, event: object) -> Iterator[Received]:
        if isinstance(event, Request):
            self._answer(event)
        elif isinstance(event, Frame) and event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            message = self._completed(event)
            if message is not None:
                yield message

    def _answer(self, request: Request) -> None:
        refusal = self._admission.refusal(self._protocol, request)
        self._protocol.send_response(refusal or self._protocol.accept(request))

    def _completed(self, frame: Frame) -> Optional[Received]:
        if frame.opcode is not Opcode.CONT:
            self._is_text = frame.opcode is Opcode.TEXT
        self._fragments += frame.data
        if not frame.fin:
            return None
        message, self._fragments = bytes(self._fragments), bytearray()
        return self._text(message) if self._is_text else message

    def _text(self, message: bytes) -> Optional[str]:
        try:
            return message.decode()
        except UnicodeDecodeError:
            self._protocol.fail(_INVALID_DATA, "text that is not UTF-8")
            return None

    # --- out -----------------------------------------------------------------------------------------

    def send(self, payload: bytes) -> None:
        """Send a text message; only while ``is_open``."""
        self._protocol.send_text(payload)

    def close(self, code: Optional[int]) -> None:
        """Begin the closing handshake; None for an empty Close frame. Before the handshake, the end alone."""
        if self.is_open:
            self._protocol.send_close(code)

    def fail(self) -> None:
        """Close because of an error on this side."""
        if self.is_open:
            self._protocol.fail(_INTERNAL_ERROR)

    def to_send(self) -> list[bytes]:
        """The chunks to write now; ``b""`` means that the writing side is to be shut down."""
        return self._protocol.data_to_send()
