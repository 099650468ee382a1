"""The timing of pings, and of the answers to them. No I/O."""

from __future__ import annotations

import math
import time
from typing import Callable, Optional

# Seconds. The longest wait: a selector counts milliseconds in an int, so its wait must be finite; but an idle thread
# should not wake up often.
_LONGEST_PAUSE = 3600.0


class Keepalive:
    """The clock of pings: one every ``interval`` seconds, to be answered within ``timeout`` seconds.

    Anything that the peer sends counts as an answer. A peer that does not read for ``interval + timeout`` seconds, so
    that not even a ping can be sent, counts as lost as well.

    The clock alone does not prove that a peer is lost: after a suspension of this process (a closed laptop, SIGSTOP)
    the answer may be unread in the socket. So check the socket after ``is_silent`` or ``is_stuck`` returned True.
    """

    def __init__(
        self, interval: Optional[float], timeout: Optional[float], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._interval = math.inf if interval is None else interval
        self._timeout = math.inf if timeout is None else timeout
        self._clock = clock
        self._due_at = clock() + self._interval
        self._pinged_at = math.inf  # time of the first ping that is not answered yet
        self._stalled_at = math.inf  # time since which nothing could be written

    def heard(self) -> None:
        self._pinged_at = math.inf

    def wrote(self) -> None:
        self._stalled_at = math.inf

    def stalled(self) -> None:
        self._stalled_at = min(self._stalled_at, self._clock())

    def pinged(self) -> None:
        now = self._clock()
        self._pinged_at = min(self._pinged_at, now)
        self._due_at = now + self._interval

    def is_due(self) -> bool:
        """Whether to send a ping."""
        return self._clock() >= self._due_at

    def is_silent(self) -> bool:
        """Whether a ping's answer is overdue."""
        return self._clock() >= self._pinged_at + self._timeout

    def is_stuck(self) -> bool:
        """Whether the peer has not read for too long."""
        return self._clock() >= self._stuck_at()

    def _stuck_at(self) -> float:
        return self._stalled_at + self._interval + self._timeout

    def silence(self) -> str:
        """The reason for the error, if ``is_silent``."""
        return f"a ping was not answered within {self._timeout:g} s"

    def stall(self) -> str:
        """The reason for the error, if ``is_stuck``."""
        return f"the peer has read nothing for {self._interval + self._timeout:g} s"

    def pause(self) -> float:
        """Seconds until the next ping or time limit is due: an hour at most."""
        due_at = self._due_at if self._stalled_at == math.inf else math.inf
        next_at = min(due_at, self._pinged_at + self._timeout, self._stuck_at())
        return max(0.0, min(_LONGEST_PAUSE, next_at - self._clock()))
