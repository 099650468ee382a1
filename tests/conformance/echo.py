"""What the Autobahn suite asks of a client: to send back every message that it gets."""

from __future__ import annotations

from typing import Any

import attrs

from runtimeuse_sync import ConnectionLostError, ProtocolError
from runtimeuse_sync._common.deadline import Deadline
from runtimeuse_sync._connection.connecting import Dialer
from runtimeuse_sync._connection.connection import WebSocketConnection
from runtimeuse_sync._connection.endpoint import parse_url
from runtimeuse_sync._connection.reader import Reader
from runtimeuse_sync._connection.worker import ConnectionSettings
from runtimeuse_sync._protocol.frames import Opcode, encode_frame

# Messages of 16 MiB come.
SETTINGS = ConnectionSettings(connect_timeout=10.0, ping_interval=None, ping_timeout=None, max_message_size=1 << 25)
# Seconds without a message after which a case hangs.
PATIENCE = 30.0


@attrs.frozen
class Message:
    opcode: Opcode
    payload: bytes


class EchoReader(Reader):
    """What the connection thread reads with, but binary messages are welcome."""

    def decode_binary(self, payload: bytes) -> Any:
        return self._decode(Message(Opcode.BINARY, payload))  # type: ignore[arg-type]


class EchoConnection(WebSocketConnection):
    """A connection that answers with what comes; needs ``EchoReader`` in the place of its base.

    ``at_once`` answers while a message is being decoded, on the connection thread; otherwise the caller does,
    as callers do: too late for a message that comes in one chunk with something that ends the connection.
    """

    def __init__(self, url: str, *, at_once: bool) -> None:
        dialer = Dialer(endpoint=parse_url(url), headers=[], proxy=None, ssl_context=None)
        super().__init__(dialer, SETTINGS, encode=lambda message: message.payload, decode=self._take)
        self._at_once = at_once

    def _take(self, received: Any) -> Message:
        message = received if isinstance(received, Message) else _text(received)
        if self._at_once:
            self.send(message)
        return message

    def send(self, message: Message) -> None:
        assert self._worker is not None
        self._worker.send(encode_frame(message.opcode, message.payload))

    def converse(self) -> list[Message]:
        """Answer until the connection ends; return what came."""
        heard: list[Message] = []
        self.open(None)
        try:
            while True:
                batch = self._next_batch()
                heard += batch
                for message in () if self._at_once else batch:
                    self.send(message)
        except (ConnectionLostError, ProtocolError):
            return heard
        finally:
            self.close(1.0)

    def _next_batch(self) -> Any:
        deadline = Deadline(PATIENCE)
        while not (batch := self.receive(deadline.remaining())):
            assert not deadline.expired, f"nothing came for {PATIENCE:g} s"
        return batch


def _text(payload: bytes) -> Message:
    """A text message, its UTF-8 checked where the library has it checked: by whoever parses it."""
    try:
        payload.decode()
    except UnicodeDecodeError:
        raise ProtocolError("invalid UTF-8", close_code=1007) from None
    return Message(Opcode.TEXT, payload)
