"""A deadline on the monotonic clock. It is made once and passed on, so that several steps share one time limit."""

from __future__ import annotations

import math
import time
from typing import Callable, Optional


class Deadline:
    """A point in time, ``timeout`` seconds from now; with None, one that never comes.

    >>> Deadline(None).remaining()
    inf
    >>> Deadline(60).expired
    False
    """

    __slots__ = ("_at", "_clock", "timeout")

    def __init__(self, timeout: Optional[float], *, clock: Callable[[], float] = time.monotonic) -> None:
        self.timeout = timeout
        self._clock = clock
        self._at = math.inf if timeout is None else clock() + timeout

    def remaining(self) -> float:
        """Seconds left: never negative, ``inf`` without a limit."""
        return max(0.0, self._at - self._clock())

    @property
    def expired(self) -> bool:
        return self._clock() >= self._at

    def earlier(self, other: Deadline) -> Deadline:
        """The earlier of the two; this one if they are equal."""
        return other if other._at < self._at else self
