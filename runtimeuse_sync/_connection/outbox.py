"""The queue of frames to send, in order, until the socket takes them.

A peer must not be able to make it grow without limit. Only the newest of the peer's pings are answered. And while too
many bytes wait, the caller gets no more messages to answer: then the inbox fills, and reading stops when it is full.
"""

from __future__ import annotations

import ssl
from collections import deque
from selectors import EVENT_READ, EVENT_WRITE
from typing import Callable, Optional

from .._protocol.frames import Opcode, encode_close, encode_frame, payload_size
from .connecting import Socket
from .keepalive import Keepalive

# Bytes that may wait before the caller gets no more messages: far more than the answers to a peer that reads ever
# take, and little memory. What is being written does not count: a caller's own request may be larger than this, and
# messages must still reach the caller while it is sent.
OUTBOX_LIMIT = 2 * 1024 * 1024
# The most pings that are answered between two writes, the newest ones. An answer to the newest alone is allowed
# (RFC 6455, section 5.5.3), but conformance suites send ten and count the answers.
PINGS_ANSWERED = 16


class Room:
    """The count of bytes that wait in an outbox, and whether the caller waits for room in it.

    ``fill`` is called by the threads that send, ``is_lacking`` by the caller's, ``free`` by the connection thread.
    """

    def __init__(self) -> None:
        # Bytes. Each is written by one side only, so there is no lock. If two threads send at the same moment, one of
        # them may not be counted; that is a cancel_message, which is small and sent once.
        self._filled = 0
        self._freed = 0
        self._is_wanted = False

    def fill(self, size: int) -> None:
        self._filled += size

    def is_lacking(self) -> bool:
        """Whether the caller has to wait for room. If so, ``free`` returns True when there is room again."""
        self._is_wanted = self._is_full()
        # Checked again: the connection thread may have made room before it could see that room is wanted.
        return self._is_wanted and self._is_full()

    def free(self, size: int) -> bool:
        """Note that ``size`` bytes wait no longer; return whether a caller was waiting for the room."""
        self._freed += size
        if not self._is_wanted or self._is_full():
            return False
        self._is_wanted = False
        return True

    def _is_full(self) -> bool:
        return self._filled - self._freed > OUTBOX_LIMIT


class Outbox:
    """A queue of frames, and the part of it that is being written.

    ``put`` may be called by any thread, everything else by the connection thread only. ``on_room`` is called when there
    is room for a caller that waits for it, ``on_break`` when writing has failed for good.
    """

    def __init__(
        self, keepalive: Keepalive, room: Room, *, on_room: Callable[[], None], on_break: Callable[[], None]
    ) -> None:
        self.error: Optional[OSError] = None  # with which writing failed for good
        self.is_closed = False  # the Close frame is queued, and nothing may follow it
        self.largest = 0  # size of the largest payload so far, in bytes
        self._keepalive = keepalive
        self._room = room  # shared
        self._on_room = on_room
        self._on_break = on_break
        self._frames: deque[bytes] = deque()  # shared: any thread appends
        self._pongs: deque[bytes] = deque(maxlen=PINGS_ANSWERED)  # payloads of pings to answer
        self._last: list[bytes] = []  # after ``close``: the frames that are still to be written
        self._unsent = memoryview(b"")  # what is being written
        self._needs_read = False  # TLS has to read before it can write

    # --- filling ------------------------------------------------------------------------------------

    def put(self, frame: bytes) -> None:
        self._room.fill(len(frame))
        self._frames.append(frame)

    def ping(self) -> None:
        """Send a ping, and start the time limit for its answer."""
        self.put(encode_frame(Opcode.PING, b""))
        self._keepalive.pinged()

    def answer(self, ping: bytes) -> None:
        """Answer a ping, unless too many newer ones come before the next write."""
        if not self.is_closed:
            self._pongs.append(ping)

    def close(self, code: int) -> None:
        """Append a Close frame to the waiting frames; nothing is sent after it."""
        self._last = [*self._take(), encode_close(code)]
        self.is_closed = True

    # --- asking -------------------------------------------------------------------------------------

    def is_empty(self) -> bool:
        return not (self._unsent or self._last or (self._frames and not self.is_closed))

    def is_writing(self) -> bool:
        """Whether a write is only partly done."""
        return bool(self._unsent)

    def interest(self) -> int:
        """The event of the socket to wait for before writing more; 0 if no write is under way."""
        if not self._unsent:
            return 0
        return EVENT_READ if self._needs_read else EVENT_WRITE

    # --- writing ------------------------------------------------------------------------------------

    def flush(self, sock: Socket) -> None:
        """Write as much as the socket takes without blocking."""
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
        """Take the next data to write; return whether there is any. All frames are joined, to save system calls."""
        frames, self._last = self._last, []
        if not self.is_closed:
            frames = self._take()
        self._unsent = memoryview(frames[0] if len(frames) == 1 else b"".join(frames))
        return bool(frames)

    def _take(self) -> list[bytes]:
        """Take all waiting frames, the answers to pings first, since they keep the connection alive."""
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
