"""Who looks around for all that wait, and whom it wakes; by a clock that only moves when told to."""

from __future__ import annotations

import math

import attrs
import pytest

from runtimeuse_sync._call.waits import EVENT_INTERVAL, PULSE_INTERVAL
from runtimeuse_sync._call.watch import PULSE_SIZE, Watch

# A little later than a pulse is due.
LATE = PULSE_INTERVAL + 0.01


@attrs.define(eq=False)
class Call:
    """A call that waits, and counts what is done to it."""

    has_event: bool = False
    asks: bool = False
    looked: int = 0
    woken: int = 0

    def look(self) -> None:
        self.looked += 1

    def wake(self) -> None:
        self.woken += 1


def joined(watch: Watch, *calls: Call, now: float = 0.0) -> list[float]:
    return [watch.join(call, now) for call in calls]


def test_the_first_looks_around_once_a_pulse_and_the_others_not_at_all() -> None:
    assert joined(Watch(), Call(), Call(), Call()) == [PULSE_INTERVAL, math.inf, math.inf]


def test_a_lone_call_wakes_nobody_but_itself() -> None:
    watch, lone = Watch(), Call()
    for turn in range(5):
        assert watch.join(lone, turn * PULSE_INTERVAL) == pytest.approx(PULSE_INTERVAL)
    assert lone.woken == 0


def test_a_pulse_wakes_those_that_have_slept_longest() -> None:
    watch, looker, others = Watch(), Call(), [Call() for _ in range(2 * PULSE_SIZE)]
    joined(watch, looker, *others)
    for turn in range(1, 6):
        for call in others:
            if call.woken:
                call.woken = 0
                watch.join(call, turn * LATE)  # it has looked up, and waits again
        watch.join(looker, turn * LATE)
        half = others[:PULSE_SIZE] if turn % 2 else others[PULSE_SIZE:]
        assert [call for call in others if call.woken] == half


@pytest.mark.parametrize("count", [3, 100, 2000])
def test_a_pulse_costs_the_same_however_many_wait(count: int) -> None:
    watch, looker, others = Watch(), Call(), [Call() for _ in range(count)]
    joined(watch, looker, *others)
    watch.join(looker, PULSE_INTERVAL)
    assert sum(call.woken for call in others) == PULSE_SIZE


def test_before_its_time_there_is_no_pulse() -> None:
    watch, looker, other = Watch(), Call(), Call()
    joined(watch, looker, other)
    assert watch.join(looker, PULSE_INTERVAL / 2) == PULSE_INTERVAL / 2
    assert other.woken == 0


def test_one_with_an_event_becomes_the_looker_of_those_without() -> None:
    """The looker they had sleeps for longer than an Event may wait."""
    watch, first, second = Watch(), Call(), Call(has_event=True)
    assert joined(watch, first, second) == [PULSE_INTERVAL, EVENT_INTERVAL]
    assert watch.join(first, EVENT_INTERVAL) == math.inf


def test_the_looker_looks_at_the_events_of_all_that_wait() -> None:
    watch, calls, plain = Watch(), [Call(has_event=True) for _ in range(3)], Call()
    joined(watch, *calls, plain)
    before = [call.looked for call in calls]
    watch.join(calls[0], EVENT_INTERVAL)
    assert [call.looked - was for call, was in zip(calls, before)] == [1, 1, 1]
    assert plain.looked == 0


def test_when_the_looker_leaves_one_other_is_woken_to_take_its_place() -> None:
    watch, calls = Watch(), [Call() for _ in range(3)]
    joined(watch, *calls)
    watch.leave(calls[0])
    assert [call.woken for call in calls] == [0, 1, 0]
    assert watch.join(calls[1], 0.1) == pytest.approx(PULSE_INTERVAL - 0.1)


def test_a_change_of_lookers_does_not_put_off_the_pulse() -> None:
    watch, calls = Watch(), [Call() for _ in range(4)]
    joined(watch, *calls)
    watch.leave(calls[0])
    watch.join(calls[1], PULSE_INTERVAL * 0.9)
    assert calls[2].woken == 0
    watch.join(calls[1], PULSE_INTERVAL)
    assert calls[2].woken == 1


def test_who_leaves_without_having_joined_changes_nothing() -> None:
    watch, call = Watch(), Call()
    joined(watch, call)
    watch.leave(Call())
    assert call.woken == 0


def test_a_child_of_a_fork_forgets_who_waits_in_the_parent() -> None:
    watch = Watch()
    joined(watch, Call(), Call(asks=True))
    watch.forget()
    assert watch.join(Call(), 1000.0) == pytest.approx(PULSE_INTERVAL)
    assert watch.interval(0.25) == 0.25
