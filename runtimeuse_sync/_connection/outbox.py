"""What is to be written: frames wait here, in order, until the socket takes them.

What comes in must not make this grow without end. Of the peer's pings only the newest are answered. And while too many
frames wait, the caller gets no more messages to answer: then the inbox fills, and reading stops when it is full.
"""

from __future__ import annotations

import ssl
from collections import deque
from selectors import EVENT_READ, EVENT_WRITE
from typing import Callable, Optional

from .._protocol.frames import Opcode, encode_close, encode_frame, payload_size
from .connecting import Socket
from .keepalive import Keepalive

# Bytes that may wait behind what is being written before the caller gets no more messages: far more than answers to a
# peer that reads ever take, and little memory. What is being written does not count, for a caller's own request may be
# larger, and must not keep the peer's words from the caller.
OUTBOX_LIMIT = 2 * 1024 * 1024
# How many pings are answered, the newest, when more than that have come since the last write. The answer to a ping
# stands for those to all before it (RFC 6455, 5.5.3), so that one would do; test suites send ten and count.
PINGS_ANSWERED = 16


class Room:
    """How much room there is in an outbox, and whether the caller waits for it.

    ``fill`` belongs to the threads that send, ``is_lacking`` to the caller's, ``free`` to the connection thread.
    """

    def __init__(self) -> None:
        # Bytes. Each is written by one side alone, so without a lock. If two threads send at the same moment, one of
        # them may not be counted: a cancel_message, which is small and comes once.
        self._filled = 0
        self._freed = 0
        self._is_wanted = False

    def fill(self, size: int) -> None:
        self._filled += size

    def is_lacking(self) -> bool:
        """Whether the caller has to wait. If so, ``free`` says when there is room again."""
        self._is_wanted = self._is_full()
        # Asked again, for the connection thread may have made room before it could see the wish.
        return self._is_wanted and self._is_full()

    def free(self, size: int) -> bool:
        """Whether this makes room for a caller that waits for it."""
        self._freed += size
        if not self._is_wanted or self._is_full():
            return False
        self._is_wanted = False
        return True

    def _is_full(self) -> bool:
        return self._filled - self._freed > OUTBOX_LIMIT


class Outbox:
    """A queue of frames, and the part of it that is being written.

    ``put`` may be called by any thread; all else is used by the connection thread only. ``on_room`` is called when a
    caller that waits for room has it, ``on_break`` when the peer takes nothing more.
    """

    def __init__(
        self, keepalive: Keepalive, room: Room, *, on_room: Callable[[], None], on_break: Callable[[], None]
    ) -> None:
        self.error: Optional[OSError] = None  # what a write raised: the peer takes nothing more
        self.is_closed = False  # the Close frame is in it, and nothing may follow
        self.largest = 0  # bytes of the largest payload so far
        self._keepalive = keepalive
        self._room = room  # shared
        self._on_room = on_room
        self._on_break = on_break
        self._frames: deque[bytes] = deque()  # shared: any thread appends
        self._pongs: deque[bytes] = deque(maxlen=PINGS_ANSWERED)  # payloads of the newest pings without an answer
        self._last: list[bytes] = []  # the frames that are left to write when it is closed
        self._unsent = memoryview(b"")  # what is being written
        self._needs_read = False  # TLS has to read before it can write

    # --- filling ------------------------------------------------------------------------------------

    def put(self, frame: bytes) -> None:
        self._room.fill(len(frame))
        self._frames.append(frame)

    def ping(self) -> None:
        """Send a ping, and wait for its answer from now on."""
        self.put(encode_frame(Opcode.PING, b""))
        self._keepalive.pinged()

    def answer(self, ping: bytes) -> None:
        """Answer a ping, unless too many come before the next write."""
        if not self.is_closed:
            self._pongs.append(ping)

    def close(self, code: int) -> None:
        """Put a Close frame behind all that waits. Nothing follows it."""
        self._last = [*self._take(), encode_close(code)]
        self.is_closed = True

    # --- asking -------------------------------------------------------------------------------------

    def is_empty(self) -> bool:
        return not (self._unsent or self._last or (self._frames and not self.is_closed))

    def is_writing(self) -> bool:
        """Whether the socket has not taken all that it was given."""
        return bool(self._unsent)

    def interest(self) -> int:
        """What has to happen to the socket before more can be written; 0 without anything to write."""
        if not self._unsent:
            return 0
        return EVENT_READ if self._needs_read else EVENT_WRITE

    # --- writing ------------------------------------------------------------------------------------

    def flush(self, sock: Socket) -> None:
        """Write as much as the socket takes without waiting."""
        try:
            while self._unsent or self._next():
                self._unsent = self._unsent[sock.send(self._unsent) :]
                self._keepalive.wrote()
        except (BlockingIOError, ssl.SSLWantWriteError):
            self._stall(needs_read=False)
        except ssl.SSLWantReadError:
            self._stall(needs_read=True)
        except OSError as error:
            self._break(error)

    def _next(self) -> bool:
        """Whether there is more to write. All that waits becomes one piece, for a write has its price."""
        frames, self._last = self._last, []
        if not self.is_closed:
            frames = self._take()
        self._unsent = memoryview(frames[0] if len(frames) == 1 else b"".join(frames))
        return bool(frames)

    def _take(self) -> list[bytes]:
        """All that waits, the answers to pings first: they keep the connection alive."""
        frames = [encode_frame(Opcode.PONG, payload) for payload in self._pongs]
        self._pongs.clear()
        size = 0
        while self._frames:
            frames.append(self._frames.popleft())
            size += len(frames[-1])
            self.largest = max(self.largest, payload_size(frames[-1]))
        if self._room.free(size):
            self._on_room()
        return frames

    def _stall(self, *, needs_read: bool) -> None:
        self._needs_read = needs_read
        self._keepalive.stalled()

    def _break(self, error: OSError) -> None:
        self._take()
        self._last = []
        self._unsent = memoryview(b"")
        self.error = error
        self.is_closed = True
        self._on_break()
