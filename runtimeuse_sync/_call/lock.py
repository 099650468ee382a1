"""The lock of a session, by which one call at a time uses the connection."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from typing import Optional

from .._common.waiter import Waiter
from ..exceptions import RuntimeUseError
from .cancellation import Cancellation
from .limits import Limits


class SessionLock:
    """A lock that is held by one call, and released when that call is garbage-collected.

    It differs from ``threading.Lock`` in three ways: waiting for it ends at an ``abort()`` or a timeout; a call that
    was kept by a signal handler's exception from releasing it does not hold it for ever; and a call made inside a
    callback of the same session raises, where it would deadlock.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()  # held while the next two change
        self._holder: Optional[weakref.ref[Cancellation]] = None  # weak: a call that no longer exists holds no lock
        self._thread: Optional[int] = None  # the holder's
        self._waiters: deque[Waiter] = deque()  # the longest waiting first

    def acquire(self, call: Cancellation, limits: Limits) -> None:
        """Wait for the lock; raises ``CancelledException`` or ``InvocationTimeoutError`` if that comes first."""
        if not self._try_to_acquire(call):
            self._wait_for_it(call, limits)

    def _wait_for_it(self, call: Cancellation, limits: Limits) -> None:
        waiter = Waiter()
        self._waiters.append(waiter)
        try:
            call.on_abort(waiter.wake, waiter.wake)
            while not self._try_to_acquire(call):
                waiter.wait(call.begin_wait(limits.until_start))
                call.check()
                limits.check()
        finally:
            self._waiters.remove(waiter)
            call.end_wait()
            if not self.is_held_by(call):  # it may have been woken although it gives up: pass the wake-up on
                self._wake_next()

    def _try_to_acquire(self, call: Cancellation) -> bool:
        with self._guard:
            if self._holder is not None and self._holder() is not None:
                self._check_thread()
                return False
            self._thread = threading.get_ident()
            self._holder = weakref.ref(call, self._forget)
            return True

    def _check_thread(self) -> None:
        if self._thread == threading.get_ident():
            raise RuntimeUseError(
                "this session is in the middle of a call of this very thread (a callback, or a stream that "
                "is still open), and serves one at a time; open another session"
            )

    def _forget(self, _: object) -> None:
        """Called when the holder was garbage-collected without having released the lock."""
        self._wake_next()

    def is_held_by(self, call: Cancellation) -> bool:
        return self._holder is not None and self._holder() is call

    def release(self, call: Cancellation) -> None:
        if self.is_held_by(call):
            self._holder = None
            self._wake_next()

    def _wake_next(self) -> None:
        # A copy, since other threads change the queue.
        for waiter in list(self._waiters)[:1]:
            waiter.wake()
