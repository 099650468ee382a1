"""The reading and writing of an open connection, a turn at a time; between two turns it waits, wherever that is.

A turn acts on what the wait found, and says what the next wait is for. So the same code serves a connection that has a
thread of its own (``worker``), and one of many that share a thread (``shared``).
"""

from __future__ import annotations

from selectors import EVENT_READ, EVENT_WRITE
from typing import Optional

from .connecting import Socket, Stream
from .ending import Ending
from .inbox import Inbox
from .keepalive import Keepalive
from .outbox import Outbox
from .reader import Reader
from .watch import look_at


class Traffic:
    """An open connection. Used by the connection thread only.

    Attributes:
        sock: its socket.
        interest: the events of the socket to wait for.
        patience: seconds until it has something to do by the clock; None: never.
    """

    def __init__(
        self, stream: Stream, *, ending: Ending, inbox: Inbox, outbox: Outbox, reader: Reader, keepalive: Keepalive
    ) -> None:
        self.sock: Socket = stream.sock
        self.interest = 0
        self.patience: Optional[float] = None
        self._early_data = stream.early_data
        self._ending = ending
        self._inbox = inbox
        self._outbox = outbox
        self._reader = reader
        self._keepalive = keepalive
        self._reads = True

    # --- turns --------------------------------------------------------------------------------------

    def begin(self) -> bool:
        """The first turn, before any wait; returns as ``turn``."""
        self._keepalive.heard()
        self._reader.feed(self._early_data)
        return self._goes_on()

    def turn(self, found: int) -> bool:
        """Act on the events ``found`` by a wait for ``interest``; return whether the connection goes on."""
        if self._reads and found & EVENT_READ:
            self._reader.read(self.sock)
        if not found or not self.patience:
            # Before the next write: the system may accept a little more data although the peer does not read.
            self.keep_alive()
        return self._goes_on()

    def _goes_on(self) -> bool:
        """Write, and set what the next wait is for; return False if there is none."""
        self.write()
        has_read, self._reads = self._reads, self._may_read()
        if self.is_over():
            return False
        if self._reads and not has_read:
            self._keepalive.heard()  # reading resumes: answers of the peer may be unread
        self.interest, self.patience = self._wanted(), self.pause()
        return True

    def _wanted(self) -> int:
        return (EVENT_READ if self._reads else 0) | (self._outbox.interest() & EVENT_WRITE)

    def write(self) -> None:
        if self._ending.is_leaving and not self._outbox.is_closed:
            self._outbox.close(self._ending.close_code())
        self._outbox.flush(self.sock)

    def _may_read(self) -> bool:
        """Whether to read: not while the inbox is full, unless closing, when messages are discarded anyway."""
        return self._ending.is_leaving or not self._inbox.is_full()

    def is_over(self) -> bool:
        if self._ending.is_leaving:
            return self._ending.is_over(has_said_all=self._outbox.is_closed and self._outbox.is_empty())
        if self._ending.listen_by is None or not self._reads:
            return False
        # The socket is checked after the clock: if this process was suspended, data may have come in time.
        return self._ending.listen_by.expired and not look_at(self.sock, EVENT_READ)

    def pause(self) -> Optional[float]:
        """Seconds until there is something to do by the clock; None: never."""
        if self._ending.is_leaving:
            return self._ending.remaining()
        if self._ending.listen_by is not None:
            return self._ending.listen_by.remaining() if self._reads else None
        return self._keepalive.pause()

    # --- keepalive ----------------------------------------------------------------------------------

    def keep_alive(self) -> None:
        """Send a ping that is due; give up a peer that has not answered one, or not read, in time."""
        if self._ending.is_leaving or self._outbox.is_closed:
            return
        if not self._reads:
            self._keepalive.heard()  # the answer to a ping may be in the data that is not being read
        if self._keepalive.is_silent() or self._keepalive.is_stuck():
            self._judge()
        elif self._keepalive.is_due() and not self._outbox.is_writing():
            self._outbox.ping()

    def _judge(self) -> None:
        """Give up a peer that has not answered or read in time.

        The socket is checked after the clock: if this process was suspended, the peer may have done so in time.
        """
        is_silent, is_stuck = self._keepalive.is_silent(), self._keepalive.is_stuck()
        found = look_at(self.sock, self._wanted())
        if is_silent and not found & EVENT_READ:
            self._ending.give_up(self._keepalive.silence())
        elif is_stuck and not found & self._outbox.interest():
            self._ending.give_up(self._keepalive.stall())
