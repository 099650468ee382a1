"""The connection thread: it alone connects, reads, decodes, writes, pings and closes.

Since one thread uses the socket, TLS needs no lock, and pings are answered whatever the caller does or fails to do.

=============  ======================================================
``connecting`` opening the WebSocket
``outbox``     the frames to send, and the writing
``reader``     the reading and decoding
``keepalive``  the timing of pings and of the answers to them
``ending``     the state of the connection's end
``watch``      the wait for the socket or a wake-up
``worker``     the thread's start and end, and the loop over all these
=============  ======================================================
"""

from __future__ import annotations

import logging
from selectors import EVENT_READ, EVENT_WRITE
from typing import Any, Callable, Optional

from .._common.deadline import Deadline
from .._common.wakeup import Waker
from .._protocol.frames import Payload
from ..exceptions import ConnectionFailedError, RuntimeUseError
from .connecting import AbandonedError, Dialer, Selector, Socket, Stream
from .ending import Ending
from .failures import system_failure, words
from .inbox import Inbox
from .keepalive import Keepalive
from .outbox import Outbox, Room
from .reader import Reader
from .settings import ConnectionSettings
from .watch import Watch

logger = logging.getLogger(__name__)

# Bytes that may wait for the caller before the thread stops reading: the size on the wire and the overhead of the
# objects. Enough for a caller that is slow at times; a hundred slow calls at once take 800 MB.
BACKLOG_LIMIT = 8 * 1024 * 1024


class Worker:
    """The code and state of the connection thread. Unless marked shared, attributes are used by that thread only."""

    def __init__(
        self, dialer: Dialer, settings: ConnectionSettings, decode: Callable[[Payload], Any], deadline: Deadline
    ) -> None:
        self.is_open = False  # shared: read by the caller
        self.has_begun = False  # shared: read by the caller
        self.has_dialed = False  # shared: read by the caller
        self.wakes_when_open = False  # shared: set by the caller
        self.waker = Waker()  # shared: wakes this thread
        room = Room()
        self.inbox = Inbox(BACKLOG_LIMIT, self.waker.wake, is_held=room.is_lacking)  # shared: wakes the caller
        self.ending = Ending(self.inbox)  # shared in part: see its class
        self._dialer = dialer
        self._connect_deadline = deadline
        self._keepalive = Keepalive(settings.ping_interval, settings.ping_timeout)
        # Shared in part: see its class.
        self._outbox = Outbox(self._keepalive, room, on_room=self.inbox.notify, on_break=self.ending.listen)
        self._reader = Reader(
            settings.max_message_size,
            decode,
            inbox=self.inbox,
            outbox=self._outbox,
            keepalive=self._keepalive,
            ending=self.ending,
        )

    # --- any thread ---------------------------------------------------------------------------------

    def send(self, frame: bytes) -> None:
        self._outbox.put(frame)
        self.waker.wake()

    def close(self, timeout: float) -> None:
        self.ending.close_by = Deadline(timeout)
        self.waker.wake()

    def abandon(self) -> None:
        self.close(0.0)

    # --- start and end of the thread ----------------------------------------------------------------

    def run(self) -> None:
        try:
            self.has_begun = True
            self.waker.open()
            if self.ending.close_by is not None:  # closed before the waker was open to be woken
                raise AbandonedError
            stream = self._dialer.dial(self.waker, lambda: self.ending.close_by is None, self._connect_deadline)
            self.has_dialed = True
            self._serve(stream)
        except RuntimeUseError as error:
            self.ending.finish(error)
        except AbandonedError:
            self.ending.lose("closed before it was open")
        except Exception as error:  # noqa: BLE001 - the caller must hear of it, whatever it is
            self._fail(error)
        finally:
            self.has_dialed = True
            self.waker.close()
            # A safety net, after SystemExit or a killed greenlet, so that no caller waits for ever.
            self.ending.lose("the connection thread ended")

    def _serve(self, stream: Stream) -> None:
        logger.debug("connected to %s", self._dialer.endpoint)
        self._keepalive.heard()
        self.is_open = True
        # A caller that has sent nothing waits for this; one that has waits for an answer, unless it has observers.
        if self.wakes_when_open or self._outbox.is_empty():
            self.inbox.wake()
        try:
            with Selector() as selector:
                self._loop(stream, Watch(selector, stream.sock, self.waker))
        except OSError as error:
            self.ending.lose(words(error), error)
        finally:
            stream.sock.close()
        broken = self._outbox.error
        self.ending.lose(words(broken) if broken else "closed on this side", broken)
        outcome = getattr(self.ending.error, "code", type(self.ending.error).__name__)
        logger.debug("connection to %s ended (%s)", self._dialer.endpoint, outcome)

    def _fail(self, error: Exception) -> None:
        name = words(error) if isinstance(error, OSError) else type(error).__name__
        if self.is_open:
            self.ending.lose(f"{name} in the connection thread", error)
        else:
            failure = not_started(self._dialer, name)
            if isinstance(error, OSError):
                failure = system_failure(self._dialer.endpoint, error)
            failure.__cause__ = error
            self.ending.finish(failure)

    # --- the loop -----------------------------------------------------------------------------------

    def _loop(self, stream: Stream, watch: Watch) -> None:
        self._reader.feed(stream.early_data)
        has_read = True
        while True:
            self._write(stream.sock)
            reads = self._reads()
            if self._is_over(watch, reads):
                return
            if reads and not has_read:
                self._keepalive.heard()  # reading resumes: answers of the peer may be unread
            has_read = reads
            patience = self._patience(reads)
            found = watch.look(self._interest(reads), patience)
            if reads and found & EVENT_READ:
                self._reader.read(stream.sock)
            if not found or not patience:
                # Before the next write: the system may accept a little more data although the peer does not read.
                self._keep_alive(watch, reads)

    def _write(self, sock: Socket) -> None:
        if self.ending.is_leaving and not self._outbox.is_closed:
            self._outbox.close(self.ending.close_code())
        self._outbox.flush(sock)

    def _reads(self) -> bool:
        """Whether to read: not while the inbox is full, unless closing, when messages are discarded anyway."""
        return self.ending.is_leaving or not self.inbox.is_full()

    def _interest(self, reads: bool) -> int:
        return (EVENT_READ if reads else 0) | (self._outbox.interest() & EVENT_WRITE)

    def _is_over(self, watch: Watch, reads: bool) -> bool:
        if self.ending.is_leaving:
            return self.ending.is_over(has_said_all=self._outbox.is_closed and self._outbox.is_empty())
        if self.ending.listen_by is None or not reads:
            return False
        # The socket is checked after the clock: if this process was suspended, data may have come in time.
        return self.ending.listen_by.expired and not watch.look(EVENT_READ, 0.0)

    def _patience(self, reads: bool) -> Optional[float]:
        """Seconds until the loop has something to do by the clock; None: never."""
        if self.ending.is_leaving:
            return self.ending.remaining()
        if self.ending.listen_by is not None:
            return self.ending.listen_by.remaining() if reads else None
        return self._keepalive.pause()

    # --- keepalive ----------------------------------------------------------------------------------

    def _keep_alive(self, watch: Watch, reads: bool) -> None:
        if self.ending.is_leaving or self._outbox.is_closed:
            return
        if not reads:
            self._keepalive.heard()  # the answer to a ping may be in the data that is not being read
        if self._keepalive.is_silent() or self._keepalive.is_stuck():
            self._judge(watch, reads)
        elif self._keepalive.is_due() and not self._outbox.is_writing():
            self._outbox.ping()

    def _judge(self, watch: Watch, reads: bool) -> None:
        """Give up a peer that has not answered or read in time.

        The socket is checked after the clock: if this process was suspended, the peer may have done so in time.
        """
        is_silent, is_stuck = self._keepalive.is_silent(), self._keepalive.is_stuck()
        found = watch.look(self._interest(reads), 0.0)
        if is_silent and not found & EVENT_READ:
            self.ending.give_up(self._keepalive.silence())
        elif is_stuck and not found & self._outbox.interest():
            self.ending.give_up(self._keepalive.stall())


def not_started(dialer: Dialer, reason: str) -> ConnectionFailedError:
    return ConnectionFailedError(f"cannot connect to {dialer.endpoint}: {reason}", reason=reason)
