"""The clocks of one call."""

from __future__ import annotations

import math
import time

import pytest

from runtimeuse_sync import IdleTimeoutError, InvocationTimeoutError
from runtimeuse_sync._call.limits import Limits
from runtimeuse_sync._protocol.exchange import State


class Clock:
    """Says what it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    monkeypatch.setattr("runtimeuse_sync._common.deadline.Deadline.__init__.__kwdefaults__", {"clock": clock})
    return clock


def test_without_limits_nothing_ends_a_call(clock: Clock) -> None:
    limits = Limits(None, None, None)
    limits.begin_drain()
    clock.now = 1e18
    limits.check()
    assert (limits.time_left, limits.until_start) == (None, math.inf)
    for state in State:
        assert (limits.remaining(state), limits.until_look(state)) == (math.inf, math.inf)
        assert limits.is_silent_for_too_long(state) is False
    assert (limits.is_over, limits.drain_is_over) == (False, False)


def test_the_timeout_raises_once_it_has_come_and_says_how_long_it_was(clock: Clock) -> None:
    limits = Limits(2.5, None, None)
    clock.now += 2.0
    limits.check()
    assert (limits.time_left, limits.until_start, limits.remaining(State.RUNNING)) == (0.5, 0.5, 0.5)
    clock.now += 0.5
    with pytest.raises(InvocationTimeoutError, match=r"^no result within the timeout of 2\.5 s$") as caught:
        limits.check()
    assert caught.value.timeout == 2.5
    assert type(caught.value) is InvocationTimeoutError
    assert limits.is_over is True


def test_the_silence_begins_anew_with_each_message(clock: Clock) -> None:
    limits = Limits(None, 5.0, None)
    clock.now += 4.0
    assert limits.remaining(State.RUNNING) == 1.0
    limits.heard()
    assert limits.remaining(State.RUNNING) == 5.0
    clock.now += 5.0
    assert limits.is_silent_for_too_long(State.RUNNING) is True
    error = limits.silent_for_too_long()
    assert (type(error), error.timeout) == (IdleTimeoutError, 5.0)


@pytest.mark.parametrize("state", [state for state in State if state is not State.RUNNING])
def test_only_a_request_that_runs_can_be_silent_for_too_long(clock: Clock, state: State) -> None:
    limits = Limits(None, 5.0, None)
    clock.now += 100.0
    assert limits.is_silent_for_too_long(state) is False
    assert limits.remaining(state) == math.inf


def test_a_busy_caller_need_not_look_for_silence(clock: Clock) -> None:
    """What it has not taken yet may be waiting for it."""
    assert Limits(None, 5.0, None).until_look(State.RUNNING) == math.inf


@pytest.mark.parametrize(
    ("timeout", "drain_timeout", "given"), [(None, 3.0, 3.0), (10.0, 3.0, 3.0), (10.0, None, 10.0)]
)
def test_a_drain_has_its_own_limit_within_the_calls(
    clock: Clock, timeout: float, drain_timeout: float, given: float
) -> None:
    limits = Limits(timeout, None, drain_timeout)
    limits.begin_drain()
    assert limits.drain_timeout == given
    assert limits.until_look(State.DRAINING) == limits.remaining(State.DRAINING) == given
    clock.now += given
    assert limits.drain_is_over is True


def test_of_two_the_earlier_limit_counts(clock: Clock) -> None:
    limits = Limits(10.0, None, 8.0)
    clock.now += 5.0
    limits.begin_drain()
    assert limits.remaining(State.DRAINING) == 5.0
