"""One deadline a call, by a clock that only moves when told to."""

from __future__ import annotations

import math
import time

import pytest

from runtimeuse_sync._common.deadline import Deadline


class Clock:
    """Says what it is told to."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_it_counts_down_to_zero_and_no_further(clock: Clock) -> None:
    deadline = Deadline(10, clock=clock)
    assert deadline.remaining() == 10.0
    clock.now += 9.5
    assert deadline.remaining() == 0.5
    clock.now += 0.5
    assert deadline.remaining() == 0.0
    clock.now += 1
    assert deadline.remaining() == 0.0


def test_it_has_come_at_the_very_moment_and_stays(clock: Clock) -> None:
    deadline = Deadline(10, clock=clock)
    assert deadline.expired is False
    clock.now = 1009.999
    assert deadline.expired is False
    clock.now = 1010.0
    assert deadline.expired is True
    clock.now = 2000.0
    assert deadline.expired is True


def test_zero_seconds_have_passed_at_once(clock: Clock) -> None:
    deadline = Deadline(0, clock=clock)
    assert (deadline.timeout, deadline.remaining(), deadline.expired) == (0, 0.0, True)


def test_without_a_limit_it_never_comes(clock: Clock) -> None:
    deadline = Deadline(None, clock=clock)
    clock.now = 1e18
    assert (deadline.timeout, deadline.remaining(), deadline.expired) == (None, math.inf, False)


def test_it_remembers_its_timeout(clock: Clock) -> None:
    assert Deadline(7.5, clock=clock).timeout == 7.5


def test_the_earlier_of_two(clock: Clock) -> None:
    short, long, never = Deadline(1, clock=clock), Deadline(2, clock=clock), Deadline(None, clock=clock)
    assert short.earlier(long) is short
    assert long.earlier(short) is short
    assert never.earlier(short) is short
    assert short.earlier(never) is short


def test_earlier_is_a_matter_of_when_it_comes_and_not_of_its_length(clock: Clock) -> None:
    long = Deadline(5, clock=clock)
    clock.now += 4
    assert long.earlier(Deadline(2, clock=clock)) is long


def test_of_two_that_come_together_it_is_the_one_that_is_asked(clock: Clock) -> None:
    one, other = Deadline(1, clock=clock), Deadline(1, clock=clock)
    assert one.earlier(other) is one
    forever = Deadline(None, clock=clock)
    assert forever.earlier(Deadline(None, clock=clock)) is forever


def test_the_clock_is_a_monotonic_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Deadline.__init__.__kwdefaults__ == {"clock": time.monotonic}  # type: ignore[misc]
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert 0.0 < Deadline(60).remaining() <= 60.0
