"""The queue of bytes to be written to one client, and its limits. No I/O, no lock."""

from __future__ import annotations

from collections import deque
from itertools import accumulate, islice, takewhile

# Bytes in the queue from which on a thread that sends a message waits: enough to keep a fast client busy, and little
# enough that what is still to come when a client cancels is read in a moment.
_ROOM = 1024 * 1024

# Bytes of replies to the client (pongs, errors), which are added without waiting. A client that leaves so many
# of them unread is not listened to until it has read some.
_MOST_REPLIES = 1024 * 1024

# Bytes added to the size of each chunk: a pong of two bytes takes more memory than that.
_OVERHEAD = 256

# Bytes for one write.
_BATCH = 64 * 1024


class Outgoing:
    """A queue of bytes: messages, for which there is room or not, and replies, which are added in any case."""

    def __init__(self) -> None:
        self._chunks: deque[tuple[memoryview, bool]] = deque()
        self._size = 0
        self._replies = 0

    def __bool__(self) -> bool:
        return bool(self._chunks)

    @property
    def has_room(self) -> bool:
        """Whether a message may be added."""
        return self._size < _ROOM

    @property
    def has_room_for_replies(self) -> bool:
        """Whether more may be read that calls for a reply."""
        return self._replies < _MOST_REPLIES

    def add(self, data: bytes, *, is_reply: bool) -> None:
        """Append ``data``."""
        self._chunks.append((memoryview(data), is_reply))
        self._count(len(data) + _OVERHEAD, is_reply)

    def head(self) -> bytes:
        """The bytes to write next, with one call."""
        sizes = accumulate(len(data) for data, _ in self._chunks)
        whole = sum(1 for _ in takewhile(lambda size: size <= _BATCH, sizes))
        if whole == 0:
            return bytes(self._chunks[0][0][:_BATCH])
        return b"".join(data for data, _ in islice(self._chunks, whole))

    def remove(self, count: int) -> None:
        """Drop the first ``count`` bytes: they are written."""
        while count:
            data, is_reply = self._chunks.popleft()
            if count < len(data):
                self._chunks.appendleft((data[count:], is_reply))
                self._count(-count, is_reply)
                return
            self._count(-len(data) - _OVERHEAD, is_reply)
            count -= len(data)

    def _count(self, size: int, is_reply: bool) -> None:
        self._size += size
        self._replies += is_reply * size
