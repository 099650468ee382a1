"""The thread that many connections share.

The thread that opened a connection leaves it here, and ends. The connection then has its place in this thread's
selector, and gets a turn whenever its wait is over.
"""

from __future__ import annotations

import math
import selectors
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from functools import partial
from heapq import heapify, heappop, heappush
from itertools import count
from selectors import EVENT_READ
from typing import Optional, Protocol

from .._common.deadline import Deadline
from .._common.wakeup import Waker
from .ending import CLOSED
from .thread import BEGIN_LIMIT, ConnectionThread
from .traffic import Traffic
from .watch import Registration, decrypted

# The number of timers of connections that are gone, beside as many as there are connections, before they are removed.
_STALE = 100


class Member(Protocol):
    """The interface of an open connection to the thread that serves it."""

    waker: Waker

    @property
    def traffic(self) -> Traffic:
        """Its wishes for the next wait."""

    def turn(self, found: int) -> bool:
        """Act on the events found; return False at the end."""

    def fail(self, error: Exception) -> None:
        """Take note of an error that ends it."""

    def close_down(self, reason: str) -> None:
        """Close all that it has."""


class Stay:
    """The time of one connection in the shared thread, for a caller that waits for its end."""

    def __init__(self, thread: SharedThread) -> None:
        self._thread = thread
        self._is_over = threading.Event()

    def end(self) -> None:
        self._is_over.set()

    def join_by(self, deadline: Deadline) -> None:
        """Wait until the connection is closed; and for the thread's end, if this was its last one."""
        self._is_over.wait(min(deadline.remaining(), threading.TIMEOUT_MAX))
        if self._thread.is_over:
            self._thread.join_by(deadline)


class Place:
    """One connection in the shared thread. Used by that thread only."""

    def __init__(self, number: int, member: Member, stay: Stay, registration: Registration) -> None:
        self.number = number
        self.member = member
        self.stay = stay
        self.registration = registration
        self.due_at = math.inf  # the time of its entry among the timers


class SharedThread:
    """A thread that serves connections until it has none left. ``add`` may be called from any thread."""

    def __init__(self) -> None:
        self.is_over = False  # guarded by _lock; never reset
        self._lock = threading.Lock()
        self._arrivals: deque[Place] = deque()  # guarded by _lock
        self._numbers = count()
        self._woken: deque[int] = deque()  # numbers of places; any thread appends
        # Used by the thread only.
        self._places: dict[int, Place] = {}
        # A heap of times and numbers of places. Entries that no longer count are skipped, and keep no connection alive.
        self._timers: list[tuple[float, int]] = []
        with ExitStack() as undo:
            self._selector = undo.enter_context(selectors.DefaultSelector())
            self._waker = Waker()
            self._waker.open()
            undo.callback(self._waker.close)
            self._selector.register(self._waker, EVENT_READ)
            self._resources = undo.pop_all()
        self._thread = ConnectionThread(self._run)

    def start(self) -> bool:
        """Start the thread; return False if it died before it began. Raises what ``Thread.start`` does."""
        try:
            self._thread.start()
        except BaseException:
            self._resources.close()
            raise
        if self._thread.has_begun_by(Deadline(BEGIN_LIMIT)):
            return True
        with self._lock:
            self.is_over = True
            self._arrivals.clear()
        self._resources.close()
        return False

    def join_by(self, deadline: Deadline) -> None:
        self._thread.join_by(deadline)

    def add(self, member: Member) -> Optional[Stay]:
        """Serve ``member`` from now on; None if the thread is about to end."""
        number = next(self._numbers)
        place = Place(number, member, Stay(self), Registration(self._selector, member.traffic.sock, number))
        with self._lock:
            if self.is_over:
                return None
            self._arrivals.append(place)
        self._waker.wake()
        return place.stay

    # --- the thread ---------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self.is_over:
                self._give_turns(self._wait())
        except Exception as error:  # noqa: BLE001 - the callers must hear of it, whatever it is
            for place in self._places.values():
                place.member.fail(error)
        finally:
            self._end()

    def _wait(self) -> dict[Place, int]:
        """Wait until connections have something to do; return them, with the events of their sockets."""
        patience = max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None
        selected = self._selector.select(patience)
        ready = {self._places[key.data]: events for key, events in selected if key.data is not None}
        if len(ready) < len(selected):
            self._waker.clear()
            self._collect(ready)
        for place in self._due():
            ready.setdefault(place, 0)
        return ready

    def _collect(self, ready: dict[Place, int]) -> None:
        """Add those that have arrived, and those whose wakers were used."""
        with self._lock:
            arrivals, self._arrivals = self._arrivals, deque()
            self._places.update((place.number, place) for place in arrivals)
        for place in arrivals:
            # Before its turn, in which it sees whatever it was woken for until now.
            place.member.waker.replace(partial(self._wake_up, place.number))
            ready[place] = 0
        while self._woken:
            woken = self._places.get(self._woken.popleft())
            if woken is not None:
                ready.setdefault(woken, 0)

    def _wake_up(self, number: int) -> None:
        self._woken.append(number)
        self._waker.wake()

    def _due(self) -> Iterator[Place]:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            at, number = heappop(self._timers)
            place = self._places.get(number)
            if place is not None and at == place.due_at:
                place.due_at = math.inf
                yield place

    def _give_turns(self, ready: dict[Place, int]) -> None:
        for place, found in ready.items():
            self._give_turn(place, found)

    def _give_turn(self, place: Place, found: int) -> None:
        member, goes_on = place.member, False
        try:
            goes_on = member.turn(found | decrypted(member.traffic.sock, member.traffic.interest))
            if goes_on:
                self._prepare(place)
        except Exception as error:  # noqa: BLE001 - of one connection, not of all
            goes_on = False
            member.fail(error)
        if not goes_on:
            self._drop(place)

    def _prepare(self, place: Place) -> None:
        """Register what the connection waits for next."""
        traffic = place.member.traffic
        place.registration.expect(traffic.interest)
        patience = 0.0 if decrypted(traffic.sock, traffic.interest) else traffic.patience
        at = math.inf if patience is None else time.monotonic() + patience
        # An entry that comes too early does no harm: its turn finds nothing to do, and makes a new one.
        if at < place.due_at:
            place.due_at = at
            heappush(self._timers, (at, place.number))
            if len(self._timers) > _STALE + 2 * len(self._places):
                self._remove_stale_timers()

    def _remove_stale_timers(self) -> None:
        places = self._places.values()
        self._timers = [(place.due_at, place.number) for place in places if place.due_at < math.inf]
        heapify(self._timers)

    # --- ends ---------------------------------------------------------------------------------------

    def _drop(self, place: Place) -> None:
        """Close a connection that has ended, and end the thread if it was the last."""
        del self._places[place.number]
        with suppress(KeyError, ValueError):  # not registered, since that is what failed
            place.registration.expect(0)
        with self._lock:
            self.is_over = not self._places and not self._arrivals
        _close(place, CLOSED)

    def _end(self) -> None:
        """Close what is left, if the thread was killed, and what it has itself."""
        with self._lock:
            self.is_over = True
            left = [*self._places.values(), *self._arrivals]
            self._places.clear()
            self._arrivals.clear()
        for place in left:
            _close(place, "the connection thread ended")
        self._resources.close()


def _close(place: Place, reason: str) -> None:
    try:
        place.member.close_down(reason)
    finally:
        place.stay.end()
