"""The clock of ``Tick`` messages, which a stream yields while its runtime is silent."""

from __future__ import annotations

import math
import time
from typing import Optional

from ..messages import Tick


class Ticker:
    """Tells when a stream's next tick is due: ``interval`` seconds after the last message or tick; None: never."""

    def __init__(self, interval: Optional[float]) -> None:
        self._interval = interval
        self._began = self._silent_since = time.monotonic()

    def remaining(self) -> float:
        """Seconds until the next tick."""
        if self._interval is None:
            return math.inf
        return max(0.0, self._silent_since + self._interval - time.monotonic())

    def heard(self) -> None:
        """Restart the interval: a message has come."""
        self._silent_since = time.monotonic()

    def due(self) -> list[Tick]:
        """The tick that is due, or none."""
        if self.remaining() > 0.0:
            return []
        self.heard()
        return [Tick(elapsed_seconds=self._silent_since - self._began)]
