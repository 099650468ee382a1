"""When to ping, and when a peer is overdue. No I/O."""

from __future__ import annotations

import math
import time
from typing import Callable, Optional

# Seconds: the longest pause. A selector counts milliseconds in an int, so that it cannot wait for ever; and a thread
# that has nothing to do should not wake up often.
_LONGEST_PAUSE = 3600.0


class Keepalive:
    """The clock of pings: one every ``interval`` seconds, a sign of life within ``timeout`` seconds.

    Anything that the peer sends is a sign of life. A peer that does not read for ``interval + timeout``
    seconds, so that not even a ping can be sent, is overdue as well.

    The clock alone does not tell that a peer is dead: after a pause of this process (a suspended laptop, SIGSTOP)
    the peer's answer may lie unread in the socket. Look at the socket after asking ``is_silent`` or ``is_stuck``.
    """

    def __init__(
        self, interval: Optional[float], timeout: Optional[float], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._interval = math.inf if interval is None else interval
        self._timeout = math.inf if timeout is None else timeout
        self._clock = clock
        self._due_at = clock() + self._interval
        self._pinged_at = math.inf  # of a ping without a sign of life since
        self._stalled_at = math.inf  # since when nothing could be written

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
        """Whether it is overdue that the peer reads."""
        return self._clock() >= self._stuck_at()

    def _stuck_at(self) -> float:
        return self._stalled_at + self._interval + self._timeout

    def silence(self) -> str:
        """What to say of a peer that is dead because it was silent."""
        return f"a ping was not answered within {self._timeout:g} s"

    def stall(self) -> str:
        """What to say of a peer that is dead because it was stuck."""
        return f"the peer has read nothing for {self._interval + self._timeout:g} s"

    def pause(self) -> float:
        """Seconds until there is something to do: an hour at the most."""
        due_at = self._due_at if self._stalled_at == math.inf else math.inf
        next_at = min(due_at, self._pinged_at + self._timeout, self._stuck_at())
        return max(0.0, min(_LONGEST_PAUSE, next_at - self._clock()))
