"""The connection thread: it alone connects, reads, decodes, writes, pings and closes.

Since one thread uses the socket, TLS needs no lock, and pings are answered whatever the caller does or fails to do.

=============  ======================================================
``connecting`` opening the WebSocket
``outbox``     the frames to send, and the writing
``reader``     the reading and decoding
``keepalive``  the timing of pings and of the answers to them
``ending``     the state of the connection's end
``traffic``    the turns of an open connection, over all these
``watch``      the wait for the socket or a wake-up, between two turns
``worker``     the thread's start and end, and the loop of waits and turns
``crowd``      which connections have a thread of their own
``shared``     the thread that gives all others their turns
=============  ======================================================
"""

from __future__ import annotations

import logging
from typing import Any, Callable, Optional

from .._common.deadline import Deadline
from .._common.wakeup import Waker
from .._protocol.frames import Payload
from ..exceptions import ConnectionFailedError, RuntimeUseError
from .connecting import AbandonedError, Dialer, Selector, Stream
from .crowd import crowd
from .ending import CLOSED, Ending
from .failures import system_failure, words
from .inbox import Inbox
from .keepalive import Keepalive
from .outbox import Outbox, Room
from .reader import BACKLOG_LIMIT, Reader
from .settings import ConnectionSettings
from .shared import Stay
from .traffic import Traffic
from .watch import Watch

logger = logging.getLogger(__name__)


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
        self._traffic: Optional[Traffic] = None  # None before the connection is open
        self._stay: Optional[Stay] = None  # shared: with the thread that many share; the caller waits for its end

    # --- any thread ---------------------------------------------------------------------------------

    def send(self, frame: bytes) -> None:
        self._outbox.put(frame)
        self.waker.wake()

    def close(self, timeout: float) -> None:
        self.ending.close_by = Deadline(timeout)
        self.waker.wake()

    def abandon(self) -> None:
        self.close(0.0)

    # --- the thread ---------------------------------------------------------------------------------

    def run(self) -> None:
        """Open the connection, then serve it here, or leave it to the thread that many share."""
        reason: Optional[str] = "the connection thread ended"  # for SystemExit, or a killed greenlet
        try:
            self.has_begun = True
            self.waker.open()
            if self.ending.close_by is not None:  # closed before the waker was open to be woken
                raise AbandonedError
            stream = self._dialer.dial(self.waker, lambda: self.ending.close_by is None, self._connect_deadline)
            self.has_dialed = True
            reason = None if self._serve(stream) else CLOSED
        except AbandonedError:
            self.ending.lose("closed before it was open")
        except Exception as error:  # noqa: BLE001 - the caller must hear of it, whatever it is
            self.fail(error)
        finally:
            self.has_dialed = True
            if reason is not None:
                self.close_down(reason)

    def _serve(self, stream: Stream) -> bool:
        """Serve the connection to its end; or return True: it was left to the thread that is shared."""
        logger.debug("connected to %s", self._dialer.endpoint)
        self._traffic = Traffic(
            stream,
            ending=self.ending,
            inbox=self.inbox,
            outbox=self._outbox,
            reader=self._reader,
            keepalive=self._keepalive,
        )
        self.is_open = True
        # A caller that has sent nothing waits for this; one that has waits for an answer, unless it has observers.
        if self.wakes_when_open or self._outbox.is_empty():
            self.inbox.wake()
        if not self.turn(None):
            return False
        with crowd.own_thread() as has_own:
            if not has_own:
                self._stay = crowd.take(self)
            if self._stay is None:
                self._serve_alone(self._traffic)
        return self._stay is not None

    def _serve_alone(self, traffic: Traffic) -> None:
        with Selector() as selector:
            watch = Watch(selector, traffic.sock, self.waker)
            while self.turn(watch.look(traffic.interest, traffic.patience)):
                pass

    @property
    def traffic(self) -> Traffic:
        """The open connection."""
        assert self._traffic is not None
        return self._traffic

    def turn(self, found: Optional[int]) -> bool:
        """The first turn, with None; later ones with the events found. Returns False at the connection's end."""
        traffic = self.traffic
        try:
            return traffic.begin() if found is None else traffic.turn(found)
        except Exception as error:  # noqa: BLE001 - the caller must hear of it, whatever it is
            self.fail(error)
            return False

    # --- the end ------------------------------------------------------------------------------------

    def close_down(self, reason: str) -> None:
        """Close the socket and the waker. A caller that was not told why the connection ended is told ``reason``."""
        try:
            if self._traffic is not None:
                self._traffic.sock.close()
        except Exception as error:  # noqa: BLE001 - the same
            self.fail(error)
        finally:
            broken = self._outbox.error
            self.ending.lose(words(broken) if broken else reason, broken)
            self.waker.close()
        if self.is_open:
            outcome = getattr(self.ending.error, "code", type(self.ending.error).__name__)
            logger.debug("connection to %s ended (%s)", self._dialer.endpoint, outcome)

    def fail(self, error: Exception) -> None:
        """End receiving because of ``error``, whatever raised it."""
        name = type(error).__name__
        if isinstance(error, RuntimeUseError):
            self.ending.finish(error)
        elif self.is_open:
            self.ending.lose(words(error) if isinstance(error, OSError) else f"{name} in the connection thread", error)
        else:
            failure = not_started(self._dialer, name)
            if isinstance(error, OSError):
                failure = system_failure(self._dialer.endpoint, error)
            failure.__cause__ = error
            self.ending.finish(failure)

    def join_by(self, deadline: Deadline) -> None:
        """Wait for the end of a connection that was left to the shared thread; for the caller's thread."""
        if self._stay is not None:
            self._stay.join_by(deadline)


def not_started(dialer: Dialer, reason: str) -> ConnectionFailedError:
    return ConnectionFailedError(f"cannot connect to {dialer.endpoint}: {reason}", reason=reason)
