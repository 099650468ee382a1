"""When to ping, and when to call a peer dead. No I/O."""

from __future__ import annotations

import math
import time
from typing import Callable, Optional


class Keepalive:
    """The clockwork of pings: one every ``interval`` seconds, a sign of life within ``timeout`` seconds.

    Anything that the peer sends is a sign of life. A peer that does not read for ``interval + timeout``
    seconds, so that not even a ping can be sent, is dead as well.
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
        return self._clock() >= self._due_at

    def _dead_at(self) -> float:
        return min(self._pinged_at + self._timeout, self._stalled_at + self._interval + self._timeout)

    def is_dead(self) -> bool:
        return self._clock() >= self._dead_at()

    def verdict(self) -> str:
        """What to say of a dead peer."""
        if self._pinged_at < math.inf:
            return f"a ping was not answered within {self._timeout:g} s"
        return f"the peer has read nothing for {self._interval + self._timeout:g} s"

    def pause(self) -> float:
        """Seconds until there is something to do; a minute at the most."""
        due_at = self._due_at if self._stalled_at == math.inf else math.inf
        return max(0.0, min(60.0, min(due_at, self._dead_at()) - self._clock()))
