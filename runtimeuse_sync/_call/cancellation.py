"""An Event, a callable, ``abort()`` from any thread: one question, "cancelled?"."""

from __future__ import annotations

import math
import os
import threading
import time
from typing import Any, Callable, Optional

# How often an Event is looked at. Reading one is cheap; a callable may be a database query.
EVENT_INTERVAL = 0.05


class Cancellation:
    """Whether one call has been cancelled.

    ``request`` may be called from any thread; the rest belongs to the caller's.
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
        # What else has an is_set, a subclass among them, may block or raise: that is for its own caller to bear.
        self._event = is_cancelled if type(is_cancelled) is threading.Event else None
        self._wake: Optional[Callable[[], None]] = None

    def on_request(self, act: Callable[[], None], wake: Optional[Callable[[], None]] = None) -> None:
        """Call ``act`` on the thread that calls ``request``, at once if it has been called.

        ``wake`` ends a wait that ``begin_wait`` was called for, from any thread; without it nobody else looks.
        """
        self._on_request, self._wake = act, wake
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

    def begin_wait(self, limit: float) -> float:
        """The same, for a wait that ``wake`` ends: until ``end_wait``, others may look meanwhile."""
        if self._event is None or self._wake is None:
            return self.pause(limit)
        return min(limit, _watch.join(self, self._clock()))

    def end_wait(self) -> None:
        """The caller is busy from now on, and looks at nothing but its own."""
        if self._event is not None:
            _watch.leave(self)

    def look(self) -> None:
        """Look on behalf of the caller, who waits."""
        if self._event is not None and self._event.is_set():
            self._requested = True
            self.wake()

    def wake(self) -> None:
        """End the caller's wait: it is cancelled, or has to look from now on."""
        if self._wake is not None:
            self._wake()


class _Watch:
    """The calls that wait, each with an Event. One of them looks at all the Events, and the others sleep on.

    A hundred calls that each woke up twenty times a second took an eighth of a core; mere waits, a twentieth.
    """

    def __init__(self) -> None:
        # Changed by one operation at a time, so unlocked: a lock could be held by another thread in a fork.
        self._waiting: dict[Cancellation, None] = {}
        self._looker: Optional[Cancellation] = None
        self._next_look = -math.inf  # whoever is the looker then

    def join(self, call: Cancellation, now: float) -> float:
        """``call`` waits; returns for how many seconds it may do so before it has to look for all."""
        self._waiting[call] = None
        if self._looker is None:
            self._looker = call
        if self._looker is not call:
            return math.inf
        if now >= self._next_look:
            self._next_look = now + EVENT_INTERVAL
            self._look()
        return self._next_look - now

    def _look(self) -> None:
        for call in list(self._waiting):
            call.look()

    def leave(self, call: Cancellation) -> None:
        """``call`` waits no more. If nobody looks now, the one that has waited longest wakes up and takes the place.

        Should that one be on its way out as well, it comes by here too.
        """
        self._waiting.pop(call, None)
        if self._looker is None or self._looker is call:
            self._looker = None
            # Only now: whoever joins meanwhile is either in this list or finds the place empty.
            for heir in list(self._waiting)[:1]:
                heir.wake()

    def forget(self) -> None:
        self._waiting.clear()
        self._looker = None
        self._next_look = -math.inf


_watch = _Watch()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_watch.forget)  # those who wait are in the parent
