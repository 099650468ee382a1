"""The cancellation state of one call: set by its Event, its ``is_cancelled`` function or ``abort()``."""

from __future__ import annotations

import math
import os
import threading
import time
from typing import Any, Callable, Optional

from ..exceptions import CancelledException
from .waits import EVENT_INTERVAL, POLL_INTERVAL, PULSE_INTERVAL
from .watch import watch

_IS_WINDOWS = os.name == "nt"


class Cancellation:
    """Whether one call has been cancelled, and how long the call may wait before it has to check again.

    ``abort``, ``look`` and ``wake`` may be called from any thread; everything else by the caller's thread only.
    """

    def __init__(
        self,
        is_cancelled: Any,
        poll_interval: float,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        has_is_set = hasattr(is_cancelled, "is_set")
        self._ask: Optional[Callable[[], bool]] = is_cancelled.is_set if has_is_set else is_cancelled
        self._interval = EVENT_INTERVAL if has_is_set else poll_interval
        self._clock = clock
        self._process = os.getpid()
        self._next_look = clock()
        self._requested = False  # shared: written by any thread, only ever to True
        self._on_abort: Callable[[], None] = _do_nothing
        # Other threads check this Event too, so it is a plain Event only: the ``is_set`` of a subclass or of another
        # class may block or raise, so only the thread of its own call asks it.
        self._event = is_cancelled if type(is_cancelled) is threading.Event else None
        self._wake: Optional[Callable[[], None]] = None
        self._has_slept = False  # whether ``begin_wait`` was called since the last ``end_wait``
        # When a busy caller has to check the clock and the cancellation again. Shared: lowered by any thread.
        self.look_at = -math.inf

    # --- any thread ---------------------------------------------------------------------------------

    def abort(self) -> None:
        """Cancel at once, without waiting for the caller's thread to notice; in a forked child, do nothing."""
        if self._process != os.getpid():
            return  # the call is the parent's: the child has neither its thread nor its connection's
        self._requested = True
        self.look_at = -math.inf  # before cancel_message is sent: its answer must find the caller aware of it
        self._on_abort()

    def look(self) -> None:
        """Check the Event for a caller that waits, and wake it if the Event is set."""
        if self._event is not None and self._event.is_set():
            self._requested = True
            self.wake()

    def wake(self) -> None:
        """End the caller's wait: it is cancelled, or has to check its Event itself from now on."""
        if self._wake is not None:
            self._wake()

    # --- cancelled? ---------------------------------------------------------------------------------

    def on_abort(self, act: Callable[[], None], wake: Optional[Callable[[], None]] = None) -> None:
        """Register ``act``, which ``abort`` calls on its own thread; if ``abort`` has been called, call it now.

        ``wake`` ends the wait that follows a ``begin_wait``, from any thread; without it, the caller has to poll.
        """
        self._on_abort, self._wake = act, wake
        if self._requested:
            act()

    @property
    def was_requested(self) -> bool:
        """Whether a cancellation is known already; asks neither Event nor function."""
        return self._requested

    def requested(self) -> bool:
        """Whether the call is cancelled. Asks the Event or function, if its polling interval has passed."""
        if not self._requested and self._ask is not None and self._clock() >= self._next_look:
            self._requested = bool(self._ask())
            self._next_look = self._clock() + (self._interval if self.has_event else watch.interval(self._interval))
        return self._requested

    def check(self) -> None:
        """Raise ``CancelledException`` if the call is cancelled."""
        if self.requested():
            raise CancelledException

    def stop_asking(self) -> None:
        """Ask neither Event nor function from now on: the call is being cancelled, whatever they say."""
        self.end_wait()
        self._ask = self._event = None

    # --- how long to wait ---------------------------------------------------------------------------

    @property
    def has_event(self) -> bool:
        """Whether there is a plain Event, which another thread may check for the caller."""
        return self._event is not None

    @property
    def asks(self) -> bool:
        """Whether there is a function, or an Event of another class, which only the caller's thread may ask."""
        return self._ask is not None and self._event is None

    def pause(self, limit: float) -> float:
        """Seconds, ``limit`` at most, until the caller has to ask again, busy or waiting."""
        if self._ask is None:
            return limit
        return max(0.0, min(limit, self._next_look - self._clock()))

    def begin_wait(self, limit: float) -> float:
        """Seconds that the caller may wait; until ``end_wait``, other threads may check its Event and wake it."""
        if _IS_WINDOWS and threading.current_thread() is threading.main_thread():
            limit = min(limit, POLL_INTERVAL)
        if self._wake is None:
            return self.pause(min(limit, POLL_INTERVAL))
        if not self._has_slept:
            # The first, short wait is made without the watch: a call that joined and left it at each message would
            # have it wake a thread each time.
            self._has_slept = True
            return self.pause(min(limit, PULSE_INTERVAL))
        asleep = watch.join(self, self._clock())
        return min(limit, asleep) if self._event is not None else self.pause(min(limit, asleep))

    def end_wait(self) -> None:
        """The caller waits no longer: leave the watch."""
        if self._has_slept:
            self._has_slept = False
            watch.leave(self)


def _do_nothing() -> None:
    pass
