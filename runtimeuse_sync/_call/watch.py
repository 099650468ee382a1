"""The calls of this process that wait: one of them looks around for all the others.

A waiting call is woken by a message, an end, an ``abort()`` or its deadline. Two things wake nobody: an Event that is
set, and an exception that another thread sets in a waiting one (as Streamlit and dramatiq do). They have to be looked
for by the clock. Were each call to do so, a thousand calls would cost a thousand times as much as one; so one of
those that wait, the looker, wakes up for all. It looks at all Events, and wakes those whose Event is set. And it gives
a pulse: it wakes the few that have slept longest, so that they notice an exception. A lone call is its own looker and
notices one within a pulse interval; among many it takes longer, for the pulses of the whole process are bounded.
"""

from __future__ import annotations

import math
import os
from typing import Optional, Protocol

from .waits import EVENT_INTERVAL, PULSE_INTERVAL

# How many calls the looker wakes in a pulse.
PULSE_SIZE = 2
# How often all is_cancelled functions of the process are asked by waiting calls, a second. From fifty waiting calls
# on that have one, each is asked less often than the default interval would have it.
ASKS_PER_SECOND = 200.0


class Sleeper(Protocol):
    """A call that waits, as the watch sees it."""

    @property
    def has_event(self) -> bool:
        """Whether there is an Event to look at."""

    @property
    def asks(self) -> bool:
        """Whether it has somebody to ask on its own thread."""

    def look(self) -> None:
        """Look at the Event, and wake the call if it is set."""

    def wake(self) -> None:
        """End the call's wait."""


class Watch:
    """Who waits, and who of them is the looker."""

    def __init__(self) -> None:
        # Ordered by who was woken last. Changed by one operation at a time, so unlocked: a lock could be held by
        # another thread in a fork.
        self._sleepers: dict[Sleeper, None] = {}
        self._with_event: dict[Sleeper, None] = {}
        self._asking: dict[Sleeper, None] = {}
        self._looker: Optional[Sleeper] = None
        self._next_look = -math.inf  # at the Events, whoever is the looker then
        self._next_pulse = math.inf

    def join(self, sleeper: Sleeper, now: float) -> float:
        """``sleeper`` waits; returns for how many seconds it may do so before it has to look around for all."""
        self._sleepers.pop(sleeper, None)
        self._sleepers[sleeper] = None  # at the end
        # The looker of calls without an Event sleeps too long for one that has an Event.
        if self._looker is None or (sleeper.has_event and not self._with_event):
            self._looker = sleeper
            self._next_pulse = min(self._next_pulse, now + PULSE_INTERVAL)
        if sleeper.has_event:
            self._with_event[sleeper] = None
        if sleeper.asks:
            self._asking[sleeper] = None
        return self._look_around(now) - now if self._looker is sleeper else math.inf

    def _look_around(self, now: float) -> float:
        """What is due; returns when something will be."""
        if self._with_event and now >= self._next_look:
            self._next_look = now + EVENT_INTERVAL
            for sleeper in list(self._with_event):
                sleeper.look()
        if now >= self._next_pulse:
            self._next_pulse = now + PULSE_INTERVAL
            for sleeper in list(self._sleepers)[:PULSE_SIZE]:
                if sleeper is not self._looker:
                    sleeper.wake()
        return min(self._next_look, self._next_pulse) if self._with_event else self._next_pulse

    def leave(self, sleeper: Sleeper) -> None:
        """``sleeper`` waits no more. If it was the looker, the one that has slept longest is woken to take its place.

        Should that one be on its way out as well, it comes by here too.
        """
        if sleeper not in self._sleepers:
            return
        self._sleepers.pop(sleeper, None)
        self._with_event.pop(sleeper, None)
        self._asking.pop(sleeper, None)
        if self._looker is None or self._looker is sleeper:
            self._looker = None
            # Only now: whoever joins meanwhile is either in this list or finds the place empty.
            for heir in list(self._sleepers)[:1]:
                heir.wake()

    def interval(self, shortest: float) -> float:
        """Seconds between two questions of a call to its function: longer, where many calls ask."""
        return max(shortest, len(self._asking) / ASKS_PER_SECOND)

    def forget(self) -> None:
        """In a forked child: those who wait are in the parent."""
        self._sleepers.clear()
        self._with_event.clear()
        self._asking.clear()
        self._looker = None
        self._next_look, self._next_pulse = -math.inf, math.inf


watch = Watch()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=watch.forget)
