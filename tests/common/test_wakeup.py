"""A wait in a selector, and what ends it."""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from runtimeuse_sync._common import wakeup
from runtimeuse_sync._common.wakeup import EventFd, SocketPair, Waker

HAS_EVENTFD = hasattr(os, "eventfd")
# Seconds that nothing here should take.
LONG = 30.0


def opened_waker() -> Waker:
    waker = Waker()
    waker.open()
    return waker


@pytest.fixture(
    params=[pytest.param(EventFd, marks=pytest.mark.skipif(not HAS_EVENTFD, reason="no eventfd here")), SocketPair],
    autouse=True,
)
def of_each_kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wakeup, "_new_signal", request.param)


@pytest.fixture
def waker(of_each_kind: None) -> Iterator[Waker]:
    waker = opened_waker()
    yield waker
    waker.close()


def is_awake(waker: Waker, timeout: float = 0.0) -> bool:
    """Whether a selector would return."""
    return bool(select.select([waker], [], [], timeout)[0])


def test_it_is_not_awake_by_itself(waker: Waker) -> None:
    assert is_awake(waker) is False


def test_a_wake_wakes_until_it_is_cleared(waker: Waker) -> None:
    waker.wake()
    assert is_awake(waker)
    assert is_awake(waker)
    waker.clear()
    assert not is_awake(waker)


def test_it_wakes_again_and_again(waker: Waker) -> None:
    for _ in range(3):
        waker.wake()
        assert is_awake(waker)
        waker.clear()
        assert not is_awake(waker)


def test_many_wakes_are_one(waker: Waker) -> None:
    # More than the buffer of a socket takes: each further one would block, or fail.
    for _ in range(100_000):
        waker.wake()
    waker.clear()
    assert not is_awake(waker)


def test_there_may_be_nothing_to_clear(waker: Waker) -> None:
    waker.clear()
    waker.wake()
    assert is_awake(waker)


class WakesMeanwhile:
    """A signal with a wake from another thread on either side of each ``clear``."""

    def __init__(self, waker: Waker) -> None:
        self._waker = waker
        self._signal = waker._signal

    def clear(self) -> None:
        self._waker.wake()
        self._signal.clear()
        self._waker.wake()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._signal, name)


def test_a_wake_in_the_midst_of_clearing_does_not_swallow_those_to_come(waker: Waker) -> None:
    signal, waker._signal = waker._signal, WakesMeanwhile(waker)
    waker.wake()
    waker.clear()
    waker._signal = signal
    waker.wake()
    assert is_awake(waker)


def test_it_wakes_a_wait_in_another_thread(waker: Waker) -> None:
    woken: list[bool] = []
    waits = threading.Thread(target=lambda: woken.append(is_awake(waker, LONG)), daemon=True)
    waits.start()
    waker.wake()
    waits.join(LONG)
    assert woken == [True]


def test_no_wake_is_lost_between_threads(waker: Waker) -> None:
    rounds = 2000
    acknowledged = threading.Semaphore(0)

    def sleep_and_wake() -> None:
        for _ in range(rounds):
            if not is_awake(waker, LONG):
                return
            waker.clear()
            acknowledged.release()

    sleeper = threading.Thread(target=sleep_and_wake, daemon=True)
    sleeper.start()
    for _ in range(rounds):
        waker.wake()
        assert acknowledged.acquire(timeout=LONG)
    sleeper.join(LONG)


def test_after_its_end_it_wakes_nobody_and_does_not_mind() -> None:
    waker = opened_waker()
    waker.close()
    waker.wake()
    assert waker.fileno() == -1
    waker.close()


def test_after_its_end_it_writes_to_no_descriptor_that_took_its_number() -> None:
    waker = opened_waker()
    waker.close()
    other = opened_waker()
    waker.wake()
    assert not is_awake(other)
    other.close()


def test_one_that_is_awake_may_be_closed() -> None:
    waker = opened_waker()
    waker.wake()
    waker.close()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers that send signals")
def test_a_signal_handler_may_wake_in_the_midst_of_a_wake(waker: Waker) -> None:
    handled = 0

    def handle(signum: int, frame: object) -> None:
        nonlocal handled
        handled += 1
        waker.wake()

    before = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.0001, 0.0001)
    try:
        while handled < 200:
            waker.wake()
            waker.clear()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    waker.wake()
    assert is_awake(waker)


def test_nor_does_the_lock_of_a_wake_shut_out_its_own_thread(waker: Waker) -> None:
    woken: list[bool] = []

    def interrupted() -> None:
        with waker._lock:
            waker.wake()
        woken.append(is_awake(waker))

    thread = threading.Thread(target=interrupted, daemon=True)
    thread.start()
    thread.join(LONG)
    assert woken == [True]


def test_before_it_is_open_a_wake_does_nothing_and_there_is_nothing_to_close() -> None:
    waker = Waker()
    waker.wake()
    waker.close()
    waker.open()
    assert not is_awake(waker)
    waker.close()


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors by /proc")
def test_it_takes_as_few_descriptors_as_the_system_lets_it() -> None:
    before = len(descriptors())
    waker = opened_waker()
    taken = len(descriptors()) - before
    waker.close()
    assert taken == (1 if isinstance(waker._signal, EventFd) else 2)
    assert len(descriptors()) == before


@pytest.mark.skipif(not HAS_EVENTFD, reason="no eventfd here")
def test_where_there_is_an_eventfd_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    signal = wakeup._new_signal()
    signal.close()
    assert isinstance(signal, EventFd)


def test_where_there_is_none_a_socket_pair_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.delattr(os, "eventfd", raising=False)
    signal = wakeup._new_signal()
    signal.close()
    assert isinstance(signal, SocketPair)


def test_it_may_be_replaced() -> None:
    waker, woken = opened_waker(), list[int]()
    waker.replace(lambda: woken.append(1))
    assert waker.fileno() == -1
    waker.wake()
    assert woken == [1]
    waker.close()
    waker.wake()
    assert woken == [1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_in_a_forked_child_it_wakes_nobody_and_does_not_hang(waker: Waker) -> None:
    """Another thread of the parent may be in the middle of a ``wake`` at the fork."""
    is_held, is_forked = threading.Event(), threading.Event()

    def hold() -> None:
        with waker._lock:
            is_held.set()
            is_forked.wait(LONG)

    holder = threading.Thread(target=hold, daemon=True)
    holder.start()
    assert is_held.wait(LONG)
    child = os.fork()
    if child == 0:
        signal.alarm(int(LONG))  # ends a child that hangs
        waker.wake()
        os._exit(0)
    is_forked.set()
    holder.join(LONG)
    assert os.waitpid(child, 0)[1] == 0
    assert not is_awake(waker)
