"""Cancelled? Asked of an Event, of a function and of nobody, by a clock that only moves when told to."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from runtimeuse_sync._call.cancellation import Cancellation
from runtimeuse_sync._call.waits import EVENT_INTERVAL, POLL_INTERVAL, PULSE_INTERVAL
from runtimeuse_sync._call.watch import ASKS_PER_SECOND, watch


class Clock:
    """Says what it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Question:
    """An ``is_cancelled`` function that counts how often it is asked."""

    def __init__(self, answer: Any = False) -> None:
        self.answer = answer
        self.asked = 0

    def __call__(self) -> Any:
        self.asked += 1
        return self.answer


@pytest.fixture
def clock() -> Clock:
    return Clock()


# --- nobody to ask ------------------------------------------------------------------------------------


def test_without_anyone_to_ask_it_is_not_cancelled(clock: Clock) -> None:
    cancellation = Cancellation(None, 0.25, clock=clock)
    assert cancellation.requested() is False
    assert cancellation.pause(123.0) == 123.0


def test_a_request_cancels_for_good(clock: Clock) -> None:
    cancellation = Cancellation(None, 0.25, clock=clock)
    cancellation.abort()
    assert cancellation.requested() is True
    clock.now += 1000
    assert cancellation.requested() is True


# --- a function ---------------------------------------------------------------------------------------


def test_a_function_is_asked_at_once(clock: Clock) -> None:
    question = Question(True)
    assert Cancellation(question, 0.25, clock=clock).requested() is True
    assert question.asked == 1


def test_a_function_is_asked_no_more_often_than_its_interval(clock: Clock) -> None:
    question = Question()
    cancellation = Cancellation(question, 0.25, clock=clock)
    for now, asked in [(1000.0, 1), (1000.0, 1), (1000.2, 1), (1000.249, 1), (1000.25, 2), (1000.4, 2), (1000.5, 3)]:
        clock.now = now
        assert cancellation.requested() is False
        assert question.asked == asked


def test_the_interval_begins_when_the_function_has_answered(clock: Clock) -> None:
    asked = []

    def slow() -> bool:
        asked.append(clock.now)
        clock.now += 10
        return False

    cancellation = Cancellation(slow, 0.25, clock=clock)
    cancellation.requested()
    cancellation.requested()
    clock.now += 0.25
    cancellation.requested()
    assert asked == [1000.0, 1010.25]


def test_a_function_that_has_said_yes_is_not_asked_again(clock: Clock) -> None:
    question = Question(True)
    cancellation = Cancellation(question, 0.25, clock=clock)
    cancellation.requested()
    question.answer = False
    clock.now += 1
    assert cancellation.requested() is True
    assert question.asked == 1


def test_after_a_request_nobody_is_asked(clock: Clock) -> None:
    question = Question()
    cancellation = Cancellation(question, 0.25, clock=clock)
    cancellation.abort()
    assert cancellation.requested() is True
    assert question.asked == 0


@pytest.mark.parametrize(("answer", "meaning"), [(1, True), ("yes", True), (0, False), (None, False), ("", False)])
def test_an_answer_is_taken_for_its_truth(clock: Clock, answer: Any, meaning: bool) -> None:
    assert Cancellation(Question(answer), 0.25, clock=clock).requested() is meaning


def test_what_the_function_raises_goes_to_the_caller_and_cancels_nothing(clock: Clock) -> None:
    def broken() -> bool:
        raise ZeroDivisionError

    cancellation = Cancellation(broken, 0.25, clock=clock)
    with pytest.raises(ZeroDivisionError):
        cancellation.requested()


# --- an Event -----------------------------------------------------------------------------------------


def test_an_event_is_looked_at_every_50_ms_whatever_the_interval(clock: Clock) -> None:
    event = threading.Event()
    cancellation = Cancellation(event, 3600.0, clock=clock)
    assert cancellation.requested() is False
    event.set()
    clock.now = 1000.049
    assert cancellation.requested() is False
    clock.now = 1000.05
    assert cancellation.requested() is True
    assert EVENT_INTERVAL == 0.05


def test_an_event_that_is_set_cancels_at_once(clock: Clock) -> None:
    event = threading.Event()
    event.set()
    assert Cancellation(event, 0.25, clock=clock).requested() is True


def test_whatever_has_is_set_is_an_event(clock: Clock) -> None:
    class Flag:
        """Callable as well: ``is_set`` goes first."""

        def is_set(self) -> bool:
            return True

        def __call__(self) -> bool:
            raise AssertionError

    assert Cancellation(Flag(), 0.25, clock=clock).requested() is True


# --- how long to wait -----------------------------------------------------------------------------------


def test_a_pause_ends_when_it_is_time_to_ask(clock: Clock) -> None:
    cancellation = Cancellation(Question(), 0.25, clock=clock)
    assert cancellation.pause(10.0) == 0.0
    cancellation.requested()
    assert cancellation.pause(10.0) == 0.25
    clock.now = 1000.125
    assert cancellation.pause(10.0) == 0.125
    clock.now = 1000.25
    assert cancellation.pause(10.0) == 0.0
    clock.now = 1002.0
    assert cancellation.pause(10.0) == 0.0


def test_a_pause_is_no_longer_than_allowed(clock: Clock) -> None:
    cancellation = Cancellation(Question(), 0.25, clock=clock)
    cancellation.requested()
    assert cancellation.pause(0.1) == 0.1
    assert cancellation.pause(0.0) == 0.0


def test_a_pause_for_an_event_is_50_ms(clock: Clock) -> None:
    cancellation = Cancellation(threading.Event(), 0.25, clock=clock)
    cancellation.requested()
    assert cancellation.pause(10.0) == pytest.approx(0.05)


# --- many that wait ---------------------------------------------------------------------------------------


def nothing() -> None:
    """To be woken, or to act."""


@pytest.fixture
def waiting(clock: Clock) -> Iterator[list[Cancellation]]:
    """Three calls that wait, each with an Event of its own; the first has to look."""
    watch.forget()  # its next look is by another clock
    calls = [Cancellation(threading.Event(), 0.25, clock=clock) for _ in range(3)]
    for call in calls:
        assert call.requested() is False
        call.on_abort(nothing, wake=nothing)
        call.begin_wait(10.0)  # a short first wait, as between two messages
        call.begin_wait(10.0)
    yield calls
    watch.forget()


def pauses(calls: list[Cancellation]) -> list[float]:
    return [round(call.begin_wait(10.0), 6) for call in calls]


def set_event(call: Cancellation) -> None:
    assert call._event is not None
    call._event.set()


def test_one_of_those_who_wait_looks_and_the_others_sleep_on(waiting: list[Cancellation]) -> None:
    assert pauses(waiting) == [EVENT_INTERVAL, 10.0, 10.0]


def test_the_one_that_looks_wakes_the_one_whose_event_is_set_and_no_other(
    waiting: list[Cancellation], clock: Clock
) -> None:
    woken: list[int] = []
    for number, call in enumerate(waiting):
        call.on_abort(nothing, wake=lambda number=number: woken.append(number))  # type: ignore[misc]
    set_event(waiting[2])
    clock.now += EVENT_INTERVAL
    waiting[0].begin_wait(10.0)
    assert woken == [2]
    # At once, although it has looked itself not long ago.
    assert [call.requested() for call in waiting] == [False, False, True]


def test_when_the_one_that_looks_is_busy_another_wakes_and_takes_its_place(waiting: list[Cancellation]) -> None:
    woken: list[int] = []
    waiting[1].on_abort(nothing, wake=lambda: woken.append(1))
    waiting[0].end_wait()
    assert woken == [1]
    assert pauses(waiting[1:]) == [EVENT_INTERVAL, 10.0]
    waiting[0].begin_wait(10.0)
    assert pauses(waiting[:1]) == [10.0]


def test_who_takes_the_place_does_not_begin_the_50_ms_anew(waiting: list[Cancellation], clock: Clock) -> None:
    clock.now += 0.03
    waiting[0].end_wait()
    assert pauses(waiting[1:]) == [0.02, 10.0]
    clock.now += 0.03
    waiting[1].end_wait()
    woken: list[int] = []
    waiting[2].on_abort(nothing, wake=lambda: woken.append(2))
    set_event(waiting[2])
    assert pauses(waiting[2:]) == [EVENT_INTERVAL]
    assert woken == [2]


def test_who_is_on_its_way_out_as_well_passes_the_place_on(waiting: list[Cancellation]) -> None:
    """Woken by a message of its own at the same moment, it does not come back to look."""
    woken: list[int] = []
    for number, call in enumerate(waiting):
        call.on_abort(nothing, wake=lambda number=number: woken.append(number))  # type: ignore[misc]
    waiting[0].end_wait()
    waiting[1].end_wait()
    assert woken == [1, 2]


def test_one_of_the_others_that_is_busy_changes_nothing(waiting: list[Cancellation], clock: Clock) -> None:
    woken: list[int] = []
    waiting[1].on_abort(nothing, wake=lambda: woken.append(1))
    waiting[1].end_wait()
    set_event(waiting[1])
    clock.now += EVENT_INTERVAL
    waiting[0].begin_wait(10.0)
    assert woken == []
    assert waiting[1].was_requested is False
    waiting[1].begin_wait(10.0)
    assert pauses(waiting) == [0.05, 10.0, 10.0]


def test_who_cannot_be_woken_looks_for_itself(waiting: list[Cancellation], clock: Clock) -> None:
    cancellation = Cancellation(threading.Event(), 0.25, clock=clock)
    cancellation.requested()
    cancellation.on_abort(nothing)
    assert cancellation.begin_wait(10.0) == pytest.approx(EVENT_INTERVAL)


def test_a_function_is_asked_by_its_own_caller_alone(waiting: list[Cancellation], clock: Clock) -> None:
    cancellation = Cancellation(Question(), 0.25, clock=clock)
    cancellation.requested()
    assert cancellation.begin_wait(10.0) == 0.25
    cancellation.end_wait()
    assert pauses(waiting) == [EVENT_INTERVAL, 10.0, 10.0]


class Flag:
    """It may take its time, or raise."""

    def is_set(self) -> bool:
        return False


class SpecialEvent(threading.Event):
    """So may this."""


@pytest.mark.parametrize("flag", [Flag(), SpecialEvent()])
def test_something_else_with_is_set_is_looked_at_by_its_own_caller_alone(
    waiting: list[Cancellation], clock: Clock, flag: Any
) -> None:
    cancellation = Cancellation(flag, 0.25, clock=clock)
    cancellation.requested()
    assert cancellation.begin_wait(10.0) == pytest.approx(EVENT_INTERVAL)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_does_not_wait_for_its_parent_to_look(waiting: list[Cancellation], clock: Clock) -> None:
    pid = os.fork()
    if pid == 0:
        own = Cancellation(threading.Event(), 0.25, clock=clock)
        own.requested()
        own.on_abort(nothing, wake=nothing)
        own.begin_wait(10.0)
        os._exit(0 if own.begin_wait(10.0) < 1 else 1)
    assert os.waitpid(pid, 0)[1] == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_does_not_abort_its_parents_call() -> None:
    """It would put a cancel_message before a connection that has lost its thread, and take locks that may be held."""
    cancellation, aborted = Cancellation(None, 0.25), list[str]()
    cancellation.on_abort(lambda: aborted.append("aborted"))
    pid = os.fork()
    if pid == 0:
        cancellation.abort()
        os._exit(len(aborted))
    assert os.waitpid(pid, 0)[1] == 0
    cancellation.abort()
    assert aborted == ["aborted"]


# --- the first wait after a message -------------------------------------------------------------------------


def test_the_first_wait_after_a_message_is_short_and_nobody_elses_concern(
    waiting: list[Cancellation], clock: Clock
) -> None:
    """A conversation has short waits: each message would have another call woken to take the looker's place."""
    woken: list[int] = []
    for number, call in enumerate(waiting):
        call.on_abort(nothing, wake=lambda number=number: woken.append(number))  # type: ignore[misc]
    talking = Cancellation(None, 0.25, clock=clock)
    talking.on_abort(nothing, wake=nothing)
    for _ in range(3):
        assert talking.begin_wait(10.0) == PULSE_INTERVAL
        talking.end_wait()
    assert woken == []
    assert talking.begin_wait(10.0) == PULSE_INTERVAL
    assert talking.begin_wait(10.0) == 10.0


def test_with_an_event_it_is_no_longer_than_an_event_may_wait(clock: Clock) -> None:
    cancellation = Cancellation(threading.Event(), 0.25, clock=clock)
    cancellation.requested()
    cancellation.on_abort(nothing, wake=nothing)
    assert cancellation.begin_wait(10.0) == pytest.approx(EVENT_INTERVAL)


def test_a_connection_that_cannot_be_woken_is_looked_at_by_the_clock(clock: Clock) -> None:
    cancellation = Cancellation(None, 0.25, clock=clock)
    assert [cancellation.begin_wait(10.0) for _ in range(3)] == [POLL_INTERVAL] * 3


@pytest.mark.parametrize("is_main", [True, False])
def test_on_windows_the_main_thread_looks_by_the_clock(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, is_main: bool
) -> None:
    """There Ctrl-C does not end a wait for a lock."""
    monkeypatch.setattr("runtimeuse_sync._call.cancellation._IS_WINDOWS", True)
    if not is_main:
        monkeypatch.setattr(threading, "main_thread", threading.Thread)
    cancellation = Cancellation(None, 0.25, clock=clock)
    cancellation.on_abort(nothing, wake=nothing)
    assert cancellation.begin_wait(10.0) == (POLL_INTERVAL if is_main else PULSE_INTERVAL)


def test_where_many_ask_each_asks_less_often(clock: Clock) -> None:
    watch.forget()
    questions = [Cancellation(Question(), 0.25, clock=clock) for _ in range(200)]
    for question in questions:
        question.requested()
        question.on_abort(nothing, wake=nothing)
        question.begin_wait(10.0)
        question.begin_wait(10.0)
    clock.now += 0.25
    questions[0].requested()
    assert questions[0].pause(10.0) == pytest.approx(len(questions) / ASKS_PER_SECOND)
    for question in questions:
        question.end_wait()
    clock.now += 1.0
    questions[0].requested()
    assert questions[0].pause(10.0) == pytest.approx(0.25)
    watch.forget()


# --- acting at once -------------------------------------------------------------------------------------


def test_a_request_acts_on_the_thread_that_makes_it(clock: Clock) -> None:
    cancellation = Cancellation(None, 0.25, clock=clock)
    acted: list[str] = []
    cancellation.on_abort(lambda: acted.append(threading.current_thread().name))
    assert acted == []
    thread = threading.Thread(target=cancellation.abort, name="another")
    thread.start()
    thread.join()
    assert acted == ["another"]
    assert cancellation.requested() is True


def test_a_request_that_came_first_acts_when_it_can(clock: Clock) -> None:
    cancellation = Cancellation(None, 0.25, clock=clock)
    cancellation.abort()
    acted: list[bool] = []
    cancellation.on_abort(lambda: acted.append(True))
    assert acted == [True]


def test_it_is_requested_when_it_acts(clock: Clock) -> None:
    cancellation = Cancellation(None, 0.25, clock=clock)
    seen: list[bool] = []
    cancellation.on_abort(lambda: seen.append(cancellation.requested()))
    cancellation.abort()
    assert seen == [True]


def test_the_latest_act_counts(clock: Clock) -> None:
    cancellation = Cancellation(None, 0.25, clock=clock)
    acted: list[str] = []
    cancellation.on_abort(lambda: acted.append("first"))
    cancellation.on_abort(lambda: acted.append("second"))
    cancellation.abort()
    assert acted == ["second"]


def test_a_yes_of_the_function_does_not_act(clock: Clock) -> None:
    cancellation = Cancellation(Question(True), 0.25, clock=clock)
    acted: list[bool] = []
    cancellation.on_abort(lambda: acted.append(True))
    assert cancellation.requested() is True
    assert acted == []


def test_the_clock_is_a_monotonic_one() -> None:
    assert Cancellation.__init__.__kwdefaults__ == {"clock": time.monotonic}  # type: ignore[misc]
