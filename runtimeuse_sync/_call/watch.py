"""The registry of the calls of this process that wait. One of them, the looker, polls for all the others.

A waiting call is woken by a message, the connection's end, an ``abort()`` or its deadline. Two things wake no thread:
an Event that is set, and an exception that another thread sets in a waiting one (as Streamlit and dramatiq do). They
have to be polled for. If each call did so, a thousand calls would cost a thousand times as much as one, so only the
looker wakes up periodically. It checks all Events, and wakes the calls whose Event is set. At each pulse it also wakes
the call that has slept longest, so that an exception set in it is raised. A single call is its own looker, and
raises one within a pulse interval; with many calls it takes longer, since the pulses of the process are limited.
"""

from __future__ import annotations

import math
import os
from typing import Optional, Protocol

from .waits import EVENT_INTERVAL, PULSE_INTERVAL

# The number of calls that the looker wakes at each pulse. With one, a hundred silent calls take 0.09 % of a core, and a
# call that waits among n is woken every n pulses.
PULSE_SIZE = 1
# The most calls of is_cancelled functions a second, by all waiting calls of the process. With more than fifty waiting
# calls that have one, each is called less often than the default interval says.
ASKS_PER_SECOND = 200.0


class Sleeper(Protocol):
    """The interface of a waiting call to the watch."""

    @property
    def has_event(self) -> bool:
        """Whether it has an Event that any thread may check."""

    @property
    def asks(self) -> bool:
        """Whether it has an ``is_cancelled`` function that it asks on its own thread."""

    def look(self) -> None:
        """Check the Event, and wake the call if it is set."""

    def wake(self) -> None:
        """End the call's wait."""


class Watch:
    """The waiting calls, and which of them is the looker."""

    def __init__(self) -> None:
        # In the order in which they began to wait, used as an ordered set. Each change is one atomic operation, so
        # there is no lock: at a fork, another thread could hold it.
        self._sleepers: dict[Sleeper, None] = {}
        self._with_event: dict[Sleeper, None] = {}
        self._asking: dict[Sleeper, None] = {}
        self._looker: Optional[Sleeper] = None
        self._next_look = -math.inf  # when the Events are to be checked, whichever call is the looker then
        self._next_pulse = math.inf

    def join(self, sleeper: Sleeper, now: float) -> float:
        """Register ``sleeper`` as waiting; return the seconds that it may wait: as the looker, until the next poll."""
        self._sleepers.pop(sleeper, None)
        self._sleepers[sleeper] = None  # at the end
        # A looker chosen when no call had an Event sleeps too long for a call with an Event, so replace it.
        if self._looker is None or (sleeper.has_event and not self._with_event):
            self._looker = sleeper
            self._next_pulse = min(self._next_pulse, now + PULSE_INTERVAL)
        if sleeper.has_event:
            self._with_event[sleeper] = None
        if sleeper.asks:
            self._asking[sleeper] = None
        return self._look_around(now) - now if self._looker is sleeper else math.inf

    def _look_around(self, now: float) -> float:
        """Check the Events and give the pulse, each if it is due; return the time when the next of them is."""
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
        """Remove ``sleeper``. If it was the looker, wake the call that has slept longest, to become the looker.

        If that call is about to leave as well, its own ``leave`` wakes the next one.
        """
        if sleeper not in self._sleepers:
            return
        self._sleepers.pop(sleeper, None)
        self._with_event.pop(sleeper, None)
        self._asking.pop(sleeper, None)
        if self._looker is None or self._looker is sleeper:
            self._looker = None
            # After the line above: a call that joins in between is in this list, or becomes the looker itself.
            for heir in list(self._sleepers)[:1]:
                heir.wake()

    def interval(self, shortest: float) -> float:
        """Seconds between two calls of one ``is_cancelled`` function: longer if many calls have one."""
        return max(shortest, len(self._asking) / ASKS_PER_SECOND)

    def forget(self) -> None:
        """Remove all calls: in a forked child, their threads do not exist."""
        self._sleepers.clear()
        self._with_event.clear()
        self._asking.clear()
        self._looker = None
        self._next_look, self._next_pulse = -math.inf, math.inf


watch = Watch()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=watch.forget)
