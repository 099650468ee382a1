"""An Event, a callable, ``abort()`` from any thread: one question, "cancelled?"."""

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
    """Whether one call has been cancelled, and how long the call may wait without asking.

    ``abort``, ``look`` and ``wake`` may be called from any thread; the rest belongs to the caller's.
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
        self._next_look = clock()
        self._requested = False  # shared: written by any thread, only ever to True
        self._on_abort: Callable[[], None] = _do_nothing
        # What else has an is_set, a subclass among them, may block or raise: that is for its own caller to bear.
        self._event = is_cancelled if type(is_cancelled) is threading.Event else None
        self._wake: Optional[Callable[[], None]] = None
        self._has_slept = False  # since ``end_wait``
        # When a busy caller has to look at clock and cancellation again. Shared: lowered by any thread.
        self.look_at = -math.inf

    # --- any thread ---------------------------------------------------------------------------------

    def abort(self) -> None:
        """Cancel, without waiting for the caller's thread to look."""
        self._requested = True
        self.look_at = -math.inf  # before anything is sent: the answer must find the caller looking
        self._on_abort()

    def look(self) -> None:
        """Look at the Event on behalf of the caller, who waits."""
        if self._event is not None and self._event.is_set():
            self._requested = True
            self.wake()

    def wake(self) -> None:
        """End the caller's wait: it is cancelled, or has to look from now on."""
        if self._wake is not None:
            self._wake()

    # --- cancelled? ---------------------------------------------------------------------------------

    def on_abort(self, act: Callable[[], None], wake: Optional[Callable[[], None]] = None) -> None:
        """Call ``act`` on the thread that calls ``abort``, at once if it has been called.

        ``wake`` ends a wait that ``begin_wait`` was called for, from any thread; without it the caller has to
        look by the clock.
        """
        self._on_abort, self._wake = act, wake
        if self._requested:
            act()

    @property
    def was_requested(self) -> bool:
        """What is known without asking anybody."""
        return self._requested

    def requested(self) -> bool:
        """Whether to cancel now. Asks the Event or callable, if its interval has passed."""
        if not self._requested and self._ask is not None and self._clock() >= self._next_look:
            self._requested = bool(self._ask())
            self._next_look = self._clock() + (self._interval if self.has_event else watch.interval(self._interval))
        return self._requested

    def check(self) -> None:
        """Raise ``CancelledException`` once it is requested."""
        if self.requested():
            raise CancelledException

    # --- how long to wait ---------------------------------------------------------------------------

    @property
    def has_event(self) -> bool:
        """Whether another thread may look on the caller's behalf."""
        return self._event is not None

    @property
    def asks(self) -> bool:
        """Whether there is somebody to ask whom only the caller's own thread may ask."""
        return self._ask is not None and self._event is None

    def pause(self, limit: float) -> float:
        """How long the caller may be busy or wait, in seconds, before it has to ask again."""
        if self._ask is None:
            return limit
        return max(0.0, min(limit, self._next_look - self._clock()))

    def begin_wait(self, limit: float) -> float:
        """The same, for a wait that ``wake`` ends: until ``end_wait``, others look meanwhile."""
        if _IS_WINDOWS and threading.current_thread() is threading.main_thread():
            limit = min(limit, POLL_INTERVAL)
        if self._wake is None:
            return self.pause(min(limit, POLL_INTERVAL))
        if not self._has_slept:
            # A conversation has short waits: who joins and leaves the watch at each message has it woken each time.
            self._has_slept = True
            return self.pause(min(limit, PULSE_INTERVAL))
        asleep = watch.join(self, self._clock())
        return min(limit, asleep) if self._event is not None else self.pause(min(limit, asleep))

    def end_wait(self) -> None:
        """The caller is busy from now on, and looks at nothing but its own."""
        if self._has_slept:
            self._has_slept = False
            watch.leave(self)


def _do_nothing() -> None:
    pass
