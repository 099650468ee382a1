"""What comes in: bytes off the socket become messages in the inbox; pings, Close frames and faults are dealt with."""

from __future__ import annotations

import ssl
from typing import Any, Callable, Optional

from .._common.close_codes import explain
from .._common.words import harmless
from .._protocol.frames import Binary, Close, Event, FrameDecoder, Payload, Ping
from ..exceptions import ConnectionLostError, ProtocolError, RuntimeUseError
from ..messages import (
    ArtifactUploadRequestMessageInterface,
    CommandOutputMessageInterface,
    HeartbeatMessageInterface,
)
from .connecting import Socket
from .ending import Ending
from .inbox import Inbox
from .keepalive import Keepalive
from .outbox import Outbox

# Beyond 128 KiB malloc takes each buffer from the kernel, and gives it back: page faults cost more than the reads.
READ_SIZE = 64 * 1024
# How much to read, at most, before the caller hears of it: between two batches both threads want the interpreter.
BATCH_SIZE = 256 * 1024
# Bytes that an object takes beyond those on the wire, in the inbox's account; and a value in it, such as "{}".
MESSAGE_OVERHEAD = 200
VALUE_OVERHEAD = 64
# Messages that hold a few strings, and are most of all: their values are not worth counting.
_FLAT = frozenset({CommandOutputMessageInterface, HeartbeatMessageInterface, ArtifactUploadRequestMessageInterface})
# So are those of a message of less than so many bytes.
_SHORT = 200
# What a read without anything to read raises.
_NOTHING_YET = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Reader:
    """Reads the socket when told to. Used by the connection thread only."""

    def __init__(
        self,
        max_message_size: Optional[int],
        decode: Callable[[Payload], Any],
        *,
        inbox: Inbox,
        outbox: Outbox,
        keepalive: Keepalive,
        ending: Ending,
    ) -> None:
        self._decoder = FrameDecoder(max_message_size)
        self._decode = decode
        self._inbox = inbox
        self._outbox = outbox
        self._keepalive = keepalive
        self._ending = ending
        self._uncounted = 0  # bytes of what is not in the inbox yet, in its account

    # --- bytes --------------------------------------------------------------------------------------

    def read(self, sock: Socket) -> None:
        """Take a batch of what is there."""
        is_end = self._read_payload(sock) if self._decoder.missing > READ_SIZE else self._read_batch(sock)
        if is_end:
            self._ending.give_up("the connection ended without a Close frame")

    def feed(self, data: bytes) -> None:
        """Take what was read together with the answer to the upgrade."""
        if data:
            self.take(self._decoder.feed(data), len(data))

    def _read_payload(self, sock: Socket) -> bool:
        """The rest of a large payload, straight into its place: to gather and copy it costs as much as to parse it."""
        try:
            size = sock.recv_into(self._decoder.room())
        except _NOTHING_YET:
            return False
        if size:
            self.take(self._decoder.fill(size), size)
        return not size

    def _read_batch(self, sock: Socket) -> bool:
        chunks: list[bytes] = []
        try:
            return _receive_into(chunks, sock)
        finally:  # what came before a broken TLS record counts
            if any(chunks):
                self.take([event for chunk in chunks for event in self._decoder.feed(chunk)], sum(map(len, chunks)))

    # --- messages -----------------------------------------------------------------------------------

    def take(self, events: list[Event], size: int) -> None:
        """Deal with ``events``, which ``size`` bytes have completed."""
        self._keepalive.heard()
        batch: list[Any] = []
        end: Optional[RuntimeUseError] = None
        try:
            end = self._decode_into(batch, events)
        except ProtocolError as error:
            end = error
        self._uncounted += size
        if batch:
            if type(batch[-1]) in self._ending.last_classes:
                self._ending.complete()
            self._inbox.put(batch, self._uncounted + MESSAGE_OVERHEAD * len(batch))
            self._uncounted = 0
        if end is not None:
            self._ending.finish(end)

    def _decode_into(self, batch: list[Any], events: list[Event]) -> Optional[RuntimeUseError]:
        """Decode messages, answer pings, and return why nothing more will come, if that is so."""
        append, decode = batch.append, self._decode
        is_wanted = not self._ending.is_leaving
        for event in events:
            if type(event) is bytes or type(event) is bytearray:
                if is_wanted:
                    message = decode(event)
                    append(message)
                    if len(event) > _SHORT and type(message) not in _FLAT:
                        self._uncounted += VALUE_OVERHEAD * _values_in(event)
            elif isinstance(event, Ping):
                self._outbox.answer(event.payload)
            elif isinstance(event, Close):
                self._ending.peer_closed = True
                return self._lost(event)
            elif isinstance(event, Binary):
                append(self.decode_binary(event.payload))
        return self._decoder.error

    def decode_binary(self, payload: bytes) -> Any:
        raise ProtocolError("a binary message; the protocol has text messages only", close_code=1003)

    def _lost(self, close: Close) -> ConnectionLostError:
        reason = harmless(close.reason)
        text = explain(close.code, reason, largest_sent=self._outbox.largest)
        return ConnectionLostError(f"connection lost before the result: {text}", code=close.code, reason=reason)


def _values_in(payload: Payload) -> int:
    """How many values are in a text of JSON, at most: what tells them apart stands in strings as well."""
    return payload.count(b",") + payload.count(b"{") + payload.count(b"[")


def _receive_into(chunks: list[bytes], sock: Socket) -> bool:
    """Append what is there, up to a batch; True at the end."""
    size = 0
    try:
        while size < BATCH_SIZE:
            chunk = sock.recv(READ_SIZE)
            chunks.append(chunk)
            size += len(chunk)
            if not chunk:
                return True
            if len(chunk) < READ_SIZE and not isinstance(sock, ssl.SSLSocket):  # TLS gives one record a call
                break
    except _NOTHING_YET:
        pass
    return False
