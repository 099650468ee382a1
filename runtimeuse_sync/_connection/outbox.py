"""What is to be written: frames wait here, in order, until the socket takes them.

What comes in must not make this grow without end: of the peer's pings only the newest are answered, and while too many
frames wait, ``is_full`` tells the connection thread to stop reading, so that the caller has nothing to answer.
"""

from __future__ import annotations

import ssl
from collections import deque
from selectors import EVENT_READ, EVENT_WRITE
from typing import Callable, Optional

from .._protocol.frames import Opcode, encode_close, encode_frame, payload_size
from .connecting import Socket
from .keepalive import Keepalive

# Bytes that may wait behind what is being written before the thread stops reading. Answers to artifact requests are
# below 10 KiB each, so that a peer which reads them at all never notices; and two such heaps are little memory. What
# is being written does not count: a caller's own request may be larger, and must not keep the peer's words unread.
OUTBOX_LIMIT = 2 * 1024 * 1024
# How many pings are answered, the newest, when more than that have come since the last write. The answer to a ping
# stands for those to all before it (RFC 6455, 5.5.3), so that one would do; test suites send ten and count.
PINGS_ANSWERED = 16


class Outbox:
    """A queue of frames, and the part of it that is being written.

    ``put`` may be called by any thread; all else is used by the connection thread only.
    """

    def __init__(self, keepalive: Keepalive, *, on_break: Callable[[], None]) -> None:
        self.error: Optional[OSError] = None  # what a write raised: the peer takes nothing more
        self.is_closed = False  # the Close frame is in it, and nothing may follow
        self.largest = 0  # bytes of the largest payload so far
        self._keepalive = keepalive
        self._on_break = on_break
        self._new: deque[bytes] = deque()  # shared: any thread appends
        self._waiting: list[bytes] = []
        self._waiting_size = 0  # bytes
        self._pongs: deque[bytes] = deque(maxlen=PINGS_ANSWERED)  # the answers to the newest pings
        self._unsent = memoryview(b"")  # what is being written
        self._needs_read = False  # TLS has to read before it can write

    # --- filling ------------------------------------------------------------------------------------

    def put(self, frame: bytes) -> None:
        self._new.append(frame)

    def ping(self) -> None:
        """Send a ping, and wait for its answer from now on."""
        self.put(encode_frame(Opcode.PING, b""))
        self._keepalive.pinged()

    def answer(self, ping: bytes) -> None:
        """Answer a ping, unless too many come before the next write."""
        if not self.is_closed:
            self._pongs.append(encode_frame(Opcode.PONG, ping))

    def close(self, code: int) -> None:
        """Put a Close frame behind all that waits. Nothing follows it."""
        self._collect()
        self.is_closed = True
        self._waiting.append(encode_close(code))

    def _collect(self) -> None:
        """Take over what other threads have put. What they put after the Close frame is left where it is."""
        while self._new and not self.is_closed:
            frame = self._new.popleft()
            self._waiting.append(frame)
            self._waiting_size += len(frame)
            self.largest = max(self.largest, payload_size(frame))

    # --- asking -------------------------------------------------------------------------------------

    def is_empty(self) -> bool:
        self._collect()
        return not (self._unsent or self._waiting)

    def is_writing(self) -> bool:
        """Whether the socket has not taken all that it was given."""
        return bool(self._unsent)

    def is_full(self) -> bool:
        self._collect()
        return self._waiting_size > OUTBOX_LIMIT

    def interest(self) -> int:
        """What has to happen to the socket before more can be written; 0 without anything to write."""
        if not self._unsent:
            return 0
        return EVENT_READ if self._needs_read else EVENT_WRITE

    # --- writing ------------------------------------------------------------------------------------

    def flush(self, sock: Socket) -> None:
        """Write as much as the socket takes without waiting."""
        try:
            while self._next():
                self._unsent = self._unsent[sock.send(self._unsent) :]
                self._keepalive.wrote()
        except (BlockingIOError, ssl.SSLWantWriteError):
            self._stall(needs_read=False)
        except ssl.SSLWantReadError:
            self._stall(needs_read=True)
        except OSError as error:
            self._break(error)

    def _next(self) -> bool:
        """Whether there is something to write. All that waits becomes one piece, for a write has its price."""
        if not self._unsent:
            self._collect()
            frames = [*self._pongs, *self._waiting]
            self._unsent = memoryview(frames[0] if len(frames) == 1 else b"".join(frames))
            self._forget_waiting()
        return bool(self._unsent)

    def _forget_waiting(self) -> None:
        self._waiting, self._waiting_size = [], 0
        self._pongs.clear()

    def _stall(self, *, needs_read: bool) -> None:
        self._needs_read = needs_read
        self._keepalive.stalled()

    def _break(self, error: OSError) -> None:
        """The peer takes nothing more."""
        self.error = error
        self.is_closed = True
        self._forget_waiting()
        self._unsent = memoryview(b"")
        self._new.clear()
        self._on_break()
