"""When a silent stream ticks, by a clock that only moves when told to."""

from __future__ import annotations

import math
import time

import pytest

from runtimeuse_sync import Tick
from runtimeuse_sync._call.ticker import Ticker


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
    return clock


def test_a_tick_is_due_after_each_interval_of_silence(clock: Clock) -> None:
    ticker = Ticker(2.0)
    assert (ticker.remaining(), ticker.due()) == (2.0, [])
    clock.now += 2.0
    assert (ticker.remaining(), ticker.due()) == (0.0, [Tick(elapsed_seconds=2.0)])
    assert (ticker.remaining(), ticker.due()) == (2.0, [])
    clock.now += 3.0
    assert ticker.due() == [Tick(elapsed_seconds=5.0)]


def test_a_message_begins_the_silence_anew(clock: Clock) -> None:
    ticker = Ticker(2.0)
    clock.now += 1.5
    ticker.heard()
    assert ticker.remaining() == 2.0
    clock.now += 1.0
    assert ticker.due() == []


def test_without_an_interval_there_are_none(clock: Clock) -> None:
    ticker = Ticker(None)
    clock.now += 1e9
    assert (ticker.remaining(), ticker.due()) == (math.inf, [])
