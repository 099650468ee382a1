"""The reading side: bytes from the socket become messages in the inbox; handles pings, Close frames and errors."""

from __future__ import annotations

import ssl
from typing import Any, Callable, Optional

from .._common.close_codes import explain
from .._common.words import harmless
from .._protocol.frames import Binary, Close, Event, FrameDecoder, Payload, Ping
from .._protocol.nesting import occurrences
from ..exceptions import ConnectionLostError, ProtocolError, RuntimeUseError
from ..messages import (
    ArtifactUploadRequestMessageInterface,
    AssistantMessageInterface,
    CommandOutputMessageInterface,
    HeartbeatMessageInterface,
)
from .connecting import Socket
from .ending import Ending
from .inbox import Inbox
from .keepalive import Keepalive
from .outbox import Outbox

# Bytes of one read. From 128 KiB on, malloc maps and unmaps each buffer, and the page faults cost more than the reads.
READ_SIZE = 64 * 1024
# Bytes, at most, of one batch. Not less, since after each batch both threads compete for the GIL.
BATCH_SIZE = 256 * 1024
# Bytes that may wait for the caller before the thread stops reading: the size on the wire and the overhead of the
# objects. Enough for a caller that is slow at times; a hundred slow calls at once take 800 MB.
BACKLOG_LIMIT = 8 * 1024 * 1024
# For the inbox's count of bytes: what a message takes in memory beyond its size on the wire, and what each value in it
# takes, such as "{}".
MESSAGE_OVERHEAD = 200
VALUE_OVERHEAD = 64
# Values are counted up to this number, which fills the inbox.
_MOST_VALUES = BACKLOG_LIMIT // VALUE_OVERHEAD + 1
# The most frequent messages, which hold a few strings only: their values are not counted.
_FLAT = frozenset({CommandOutputMessageInterface, HeartbeatMessageInterface, ArtifactUploadRequestMessageInterface})
# Bytes. Values are counted in messages between these sizes: a longer one fills the inbox by itself.
_SHORT, _LONG = 200, BACKLOG_LIMIT
# The exceptions of a non-blocking read when there is nothing to read.
_NOTHING_YET = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Reader:
    """Reads from the socket, decodes, and fills the inbox. Used by the connection thread only."""

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
        self._uncounted = 0  # bytes to count with the next batch put into the inbox

    # --- bytes --------------------------------------------------------------------------------------

    def read(self, sock: Socket) -> None:
        """Read what is there, a batch at most."""
        is_end = self._read_payload(sock) if self._decoder.missing > READ_SIZE else self._read_batch(sock)
        if is_end:
            self._ending.give_up("the connection ended without a Close frame")

    def feed(self, data: bytes) -> None:
        """Process data that was read together with the answer to the upgrade."""
        if data:
            self.take(self._decoder.feed(data), len(data))

    def _read_payload(self, sock: Socket) -> bool:
        """Read into the buffer of a large payload: to join its chunks would take as long as to parse it."""
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
        finally:  # even after a broken TLS record: what came before it counts
            if any(chunks):
                self.take([event for chunk in chunks for event in self._decoder.feed(chunk)], sum(map(len, chunks)))

    # --- messages -----------------------------------------------------------------------------------

    def take(self, events: list[Event], size: int) -> None:
        """Process ``events``, decoded from the last ``size`` bytes."""
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
        """Decode messages and answer pings; return the error with which receiving ends, if it does."""
        append, decode = batch.append, self._decode
        is_wanted = not self._ending.is_leaving
        for event in events:
            if type(event) is bytes or type(event) is bytearray:
                if is_wanted:
                    message = decode(event)
                    append(message)
                    if _SHORT < len(event) < _LONG and type(message) not in _FLAT:
                        self._uncounted += VALUE_OVERHEAD * _values_in(message, event)
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


def _values_in(message: Any, payload: Payload) -> int:
    """The number of values in a message, or an upper bound: commas and brackets within strings count as well."""
    if type(message) is AssistantMessageInterface:  # frequent, and its texts may be long
        return len(message.text_blocks)
    return occurrences(payload, b",{[", _MOST_VALUES)


def _receive_into(chunks: list[bytes], sock: Socket) -> bool:
    """Read what is there into ``chunks``, up to a batch; return whether the connection has ended."""
    size = 0
    try:
        while size < BATCH_SIZE:
            chunk = sock.recv(READ_SIZE)
            chunks.append(chunk)
            size += len(chunk)
            if not chunk:
                return True
            if len(chunk) < READ_SIZE and not isinstance(sock, ssl.SSLSocket):  # a TLS read returns one record
                break
    except _NOTHING_YET:
        pass
    return False
