"""An Event, a callable, ``abort()`` from any thread: one question, "cancelled?"."""

from __future__ import annotations

import time
from typing import Any, Callable, Optional

# How often an Event is looked at. Reading one is cheap; a callable may be a database query.
EVENT_INTERVAL = 0.05


class Cancellation:
    """Whether one call has been cancelled.

    ``requested`` and ``pause`` belong to the caller's thread; ``request`` may be called from any.
    """

    def __init__(
        self,
        is_cancelled: Any,
        poll_interval: float,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        is_event = hasattr(is_cancelled, "is_set")
        self._ask: Optional[Callable[[], bool]] = is_cancelled.is_set if is_event else is_cancelled
        self._interval = EVENT_INTERVAL if is_event else poll_interval
        self._clock = clock
        self._next_look = clock()
        self._requested = False  # written by any thread, only ever to True
        self._on_request: Callable[[], None] = lambda: None

    def on_request(self, act: Callable[[], None]) -> None:
        """Call ``act`` on the thread that calls ``request``, at once if it has been called."""
        self._on_request = act
        if self._requested:
            act()

    def request(self) -> None:
        """Cancel, without waiting for the caller's thread to look."""
        self._requested = True
        self._on_request()

    @property
    def was_requested(self) -> bool:
        """What is known without asking anybody."""
        return self._requested

    def requested(self) -> bool:
        """Whether to cancel now. Asks the Event or callable, if its interval has passed."""
        if not self._requested and self._ask is not None and self._clock() >= self._next_look:
            self._requested = bool(self._ask())
            self._next_look = self._clock() + self._interval
        return self._requested

    def pause(self, limit: float) -> float:
        """How long the caller may wait, in seconds, before it has to ask again."""
        if self._ask is None:
            return limit
        return max(0.0, min(limit, self._next_look - self._clock()))
