"""A session's lock: who gets it, who gives up, and what becomes of a holder that is gone."""

from __future__ import annotations

import threading

import pytest

from runtimeuse_sync import CancelledException, InvocationTimeoutError, RuntimeUseError
from runtimeuse_sync._call.cancellation import Cancellation
from runtimeuse_sync._call.limits import Limits
from runtimeuse_sync._call.lock import SessionLock

from ..support import wait_until

NO_LIMITS = Limits(None, None, None)


def a_call() -> Cancellation:
    return Cancellation(None, 0.25)


class Waits(threading.Thread):
    """A call that waits for the lock in a thread of its own."""

    def __init__(self, lock: SessionLock, limits: Limits = NO_LIMITS) -> None:
        super().__init__()
        self.call = a_call()
        self.outcome: object = None
        self._args_ = lock, limits
        self.start()

    def run(self) -> None:
        lock, limits = self._args_
        try:
            lock.acquire(self.call, limits)
            self.outcome = "acquired"
        except Exception as error:  # noqa: BLE001 - whichever it is
            self.outcome = type(error)

    def waits(self, lock: SessionLock, count: int = 1) -> Waits:
        wait_until(lambda: len(lock._waiters) == count)
        return self


def test_it_is_given_to_the_one_that_has_waited_longest() -> None:
    lock, holder = SessionLock(), a_call()
    lock.acquire(holder, NO_LIMITS)
    first = Waits(lock).waits(lock)
    second = Waits(lock).waits(lock, 2)
    lock.release(holder)
    first.join()
    assert lock.is_held_by(first.call)
    assert second.is_alive()
    lock.release(first.call)
    second.join()
    assert lock.is_held_by(second.call)
    assert (first.outcome, second.outcome) == ("acquired", "acquired")


def test_only_its_holder_releases_it() -> None:
    lock, holder = SessionLock(), a_call()
    lock.acquire(holder, NO_LIMITS)
    lock.release(a_call())
    assert lock.is_held_by(holder)


def test_an_abort_ends_the_wait() -> None:
    lock, holder = SessionLock(), a_call()
    lock.acquire(holder, NO_LIMITS)
    waits = Waits(lock).waits(lock)
    waits.call.abort()
    waits.join()
    assert waits.outcome is CancelledException


def test_so_does_the_timeout() -> None:
    lock, holder = SessionLock(), a_call()
    lock.acquire(holder, NO_LIMITS)
    waits = Waits(lock, Limits(0.05, None, None))
    waits.join()
    assert waits.outcome is InvocationTimeoutError


def test_one_that_gives_up_as_it_is_woken_passes_the_lock_on() -> None:
    lock, holder = SessionLock(), a_call()
    lock.acquire(holder, NO_LIMITS)
    first = Waits(lock).waits(lock)
    second = Waits(lock).waits(lock, 2)
    # As if it had been cancelled at the very moment of the release.
    first.call.abort()
    lock.release(holder)
    first.join()
    if first.outcome == "acquired":
        lock.release(first.call)
    second.join(10)
    assert second.outcome == "acquired"


def test_a_holder_that_is_gone_holds_nothing() -> None:
    lock, holder = SessionLock(), a_call()
    lock.acquire(holder, NO_LIMITS)
    waits = Waits(lock).waits(lock)
    del holder
    waits.join(10)
    assert waits.outcome == "acquired"


def test_a_thread_does_not_wait_for_itself() -> None:
    lock, holder = SessionLock(), a_call()
    lock.acquire(holder, NO_LIMITS)
    with pytest.raises(RuntimeUseError, match="in the middle of a call of this very thread"):
        lock.acquire(a_call(), NO_LIMITS)
    lock.release(holder)
    lock.acquire(holder, NO_LIMITS)
