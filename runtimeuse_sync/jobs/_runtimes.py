"""The runtimes of a map: which has the least to do, and which are set aside."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from typing import Optional

import attrs

from .. import Client, ConnectionFailedError

# Seconds that a runtime is set aside which fails to connect, doubled each time, and jittered, so that many who have
# lost the same runtime do not come back at once.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
# The most seconds that a server may ask for instead (Retry-After).
_LONGEST_RETRY_AFTER = 600.0


@attrs.define(eq=False)
class Runtime:
    """One runtime.

    Attributes:
        client (Client): how to reach it.
        running (int): how many prompts it has.
        began_at (float): when it last got one.
        failures (int): how often it has failed to connect since it last did.
        set_aside_at, free_at (float): when it was set aside, and until when.
    """

    client: Client
    running: int = 0
    began_at: float = -math.inf
    failures: int = 0
    set_aside_at: float = -math.inf
    free_at: float = -math.inf

    def connected(self) -> None:
        """Note a successful connection: failures before it no longer count."""
        self.failures, self.free_at = 0, -math.inf

    def failed(self, error: ConnectionFailedError, began: float, now: float) -> None:
        """An attempt to connect, made at ``began``, has failed. Those made at once count once."""
        if began < self.set_aside_at:
            return
        longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**self.failures)
        asked_for = min(error.retry_after or 0.0, _LONGEST_RETRY_AFTER)
        self.failures = min(self.failures + 1, 30)
        self.set_aside_at, self.free_at = now, now + max(asked_for, random.uniform(longest / 2, longest))


class Runtimes:
    """All runtimes of a map."""

    def __init__(self, clients: Iterable[Client]) -> None:
        self._all = [Runtime(client) for client in clients]

    def free(self, now: float) -> Optional[Runtime]:
        """The runtime with the fewest prompts, the longest unused first; None if all are set aside.

        So one that was set aside is tried again once its time is over, however little there is to do.
        """
        free = (runtime for runtime in self._all if runtime.free_at <= now)
        return min(free, key=lambda runtime: (runtime.running, runtime.began_at), default=None)

    @property
    def next_free_at(self) -> float:
        """The time when the first of them may be used again."""
        return min(runtime.free_at for runtime in self._all)

    def may_try_again(self, error: ConnectionFailedError) -> bool:
        """Whether another attempt may succeed where one has failed."""
        return error.may_pass or len(self._all) > 1
