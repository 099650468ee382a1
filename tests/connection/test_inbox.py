"""The queue between the connection thread and the caller's: order, room, wakes and the end."""

from __future__ import annotations

import math
import threading
from typing import Any

import pytest

from runtimeuse_sync._connection.inbox import Inbox
from runtimeuse_sync.exceptions import ConnectionLostError

# Seconds that nothing here should take.
LONG = 30.0


class Room:
    """Counts how often the inbox says that there is room again."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> None:
        self.calls += 1


@pytest.fixture
def room() -> Room:
    return Room()


@pytest.fixture
def inbox(room: Room) -> Inbox:
    """One that is full with 100 bytes."""
    return Inbox(100, room)


def in_a_thread(function: Any) -> list[Any]:
    """What ``function`` gives, in a thread of its own that has ended."""
    given: list[Any] = []
    thread = threading.Thread(target=lambda: given.append(function()), daemon=True)
    thread.start()
    thread.join(LONG)
    return given


# --- batches ------------------------------------------------------------------------------------------


def test_batches_come_out_as_they_went_in(inbox: Inbox) -> None:
    batches: list[list[str]] = [["a", "b"], ["c"]]
    for batch in batches:
        inbox.put(batch, 1)
    assert inbox.get(0.0) is batches[0]
    assert inbox.get(math.inf) is batches[1]


def test_an_empty_inbox_gives_nothing_in_time(inbox: Inbox) -> None:
    assert list(inbox.get(0.0)) == []
    assert list(inbox.get(0.001)) == []


def test_a_waiting_caller_gets_what_comes(inbox: Inbox) -> None:
    waits = threading.Timer(0.0, lambda: inbox.put(["a"], 1))
    waits.start()
    assert inbox.get(LONG) == ["a"]
    waits.join()


def test_a_wake_gives_nothing_at_once(inbox: Inbox) -> None:
    inbox.wake()
    assert list(inbox.get(math.inf)) == []


def test_a_wake_from_another_thread_reaches_one_who_waits_for_ever(inbox: Inbox) -> None:
    waker = threading.Timer(0.0, inbox.wake)
    waker.start()
    assert in_a_thread(lambda: list(inbox.get(math.inf))) == [[]]
    waker.join()


def test_a_wake_loses_nothing(inbox: Inbox) -> None:
    inbox.put(["a"], 1)
    inbox.wake()
    inbox.put(["b"], 1)
    assert [list(inbox.get(0.0)) for _ in range(3)] == [["a"], ["b"], []]


def test_a_wake_is_kept_for_the_next_who_would_wait(inbox: Inbox) -> None:
    inbox.wake()
    inbox.put(["a"], 1)
    assert [list(inbox.get(math.inf)) for _ in range(2)] == [["a"], []]


@pytest.mark.parametrize("timeout", [0.0, 1e-6, 1e-3])
def test_the_shortest_wait_ends(inbox: Inbox, timeout: float) -> None:
    """What queue.SimpleQueue does not promise: on Python 3.9 to 3.12 it may wait for ever."""
    for _ in range(300):
        inbox.put(["a"], 1)
        assert [list(inbox.get(timeout)) for _ in range(3)] == [["a"], [], []]


# --- the end ------------------------------------------------------------------------------------------


def test_the_end_comes_behind_everything_and_stays(inbox: Inbox) -> None:
    end = ConnectionLostError(code=1006, reason="reset")
    inbox.put(["a"], 1)
    inbox.end(end)
    assert inbox.get(0.0) == ["a"]
    for timeout in (0.0, math.inf, LONG):
        with pytest.raises(ConnectionLostError) as caught:
            inbox.get(timeout)
        assert caught.value is end


def test_of_two_ends_the_first_counts(inbox: Inbox) -> None:
    inbox.end(ConnectionLostError(code=1000, reason="first"))
    inbox.end(ConnectionLostError(code=1000, reason="second"))
    for _ in range(2):
        with pytest.raises(ConnectionLostError, match="first"):
            inbox.get(0.0)


def test_the_end_may_be_any_exception(inbox: Inbox) -> None:
    inbox.end(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        inbox.get(0.0)


# --- held back ----------------------------------------------------------------------------------------


class Held:
    """An inbox that gives no batch while it is told so."""

    def __init__(self) -> None:
        self.value = True
        self.inbox = Inbox(100, lambda: None, is_held=lambda: self.value)


def test_what_is_held_waits_until_it_is_not() -> None:
    held = Held()
    held.inbox.put(["a"], 1)
    assert list(held.inbox.get(0.0)) == []
    assert list(held.inbox.get(0.001)) == []
    held.value = False
    assert held.inbox.get(0.0) == ["a"]


def test_a_caller_that_waits_is_told_that_it_is_not() -> None:
    held = Held()
    held.inbox.put(["a"], 1)

    def let_go() -> None:
        held.value = False
        held.inbox.notify()

    other = threading.Timer(0.01, let_go)
    other.start()
    assert held.inbox.get(LONG) == ["a"]
    other.join()


def test_news_that_bring_nothing_end_no_wait() -> None:
    held = Held()
    others = [threading.Timer(0.01 * number, held.inbox.put, ([number], 1)) for number in range(3)]
    others.append(threading.Timer(0.05, held.inbox.wake))
    for other in others:
        other.start()
    assert list(held.inbox.get(LONG)) == []
    for other in others:
        other.join()
    held.value = False
    assert list(held.inbox.get(0.0)) == [0]


def test_a_wake_reaches_who_is_held() -> None:
    held = Held()
    held.inbox.put(["a"], 1)
    held.inbox.wake()
    assert list(held.inbox.get(LONG)) == []


def test_the_end_frees_what_is_held() -> None:
    held = Held()
    held.inbox.put(["a"], 1)
    held.inbox.end(ConnectionLostError(code=1006, reason="reset"))
    assert held.inbox.get(0.0) == ["a"]
    with pytest.raises(ConnectionLostError):
        held.inbox.get(0.0)


# --- room ---------------------------------------------------------------------------------------------


def test_it_is_full_from_its_limit_on(inbox: Inbox) -> None:
    assert inbox.is_full() is False
    inbox.put(["a"], 60)
    assert inbox.is_full() is False
    inbox.put(["b"], 39)
    assert inbox.is_full() is False
    inbox.put(["c"], 1)
    assert inbox.is_full() is True
    inbox.put(["d"], 1)
    assert inbox.is_full() is True


def test_room_is_told_once_when_less_than_half_is_left(inbox: Inbox, room: Room) -> None:
    for size in (50, 1, 1, 49, 1):
        inbox.put(["a"], size)
    assert inbox.is_full() is True
    calls = []
    for _ in range(5):
        inbox.get(0.0)
        calls.append(room.calls)
    # Left: 52, 51, 50, 1, 0.
    assert calls == [0, 0, 0, 1, 1]
    assert inbox.is_full() is False


def test_49_bytes_are_less_than_half(inbox: Inbox, room: Room) -> None:
    inbox.put(["a"], 51)
    inbox.put(["b"], 49)
    assert inbox.is_full() is True
    inbox.get(0.0)
    assert room.calls == 1


def test_who_has_not_seen_it_full_is_not_told_of_room(inbox: Inbox, room: Room) -> None:
    inbox.put(["a"], 200)
    inbox.get(0.0)
    assert room.calls == 0


def test_who_sees_it_full_again_is_told_again(inbox: Inbox, room: Room) -> None:
    for calls in (1, 2):
        inbox.put(["a"], 100)
        assert inbox.is_full() is True
        inbox.get(0.0)
        assert room.calls == calls


def test_a_look_that_finds_room_wants_none(inbox: Inbox, room: Room) -> None:
    inbox.put(["a"], 100)
    assert inbox.is_full() is True
    inbox.put(["b"], 10)
    inbox.get(0.0)
    assert (inbox.is_full(), room.calls) == (False, 1)
    inbox.get(0.0)
    assert room.calls == 1


def test_room_is_told_on_the_thread_that_takes() -> None:
    told: list[str] = []
    inbox = Inbox(10, lambda: told.append(threading.current_thread().name))
    inbox.put(["a"], 10)
    inbox.is_full()
    thread = threading.Thread(target=inbox.get, args=(0.0,), name="caller")
    thread.start()
    thread.join(LONG)
    assert told == ["caller"]


def test_a_wake_takes_no_room(inbox: Inbox, room: Room) -> None:
    inbox.put(["a"], 100)
    inbox.is_full()
    inbox.wake()
    inbox.put(["b"], 100)
    assert inbox.is_full()
    assert list(inbox.get(0.0)) == ["a"]
    assert (list(inbox.get(0.0)), list(inbox.get(0.0)), room.calls) == (["b"], [], 1)


def test_a_reader_that_stops_when_it_is_full_is_always_started_again() -> None:
    """The race that counts: the caller takes the last batch while the reader decides to stop."""
    has_room = threading.Event()
    inbox = Inbox(4, has_room.set)
    rounds = 20_000

    def read() -> bool:
        for number in range(rounds):
            while inbox.is_full():
                if not has_room.wait(LONG):
                    return False
                has_room.clear()
            inbox.put((number,), 1)
        return True

    taken: list[int] = []
    outcome: list[bool] = []
    reader = threading.Thread(target=lambda: outcome.append(read()), daemon=True)
    reader.start()
    while len(taken) < rounds and (batch := inbox.get(LONG)):
        taken.extend(batch)
    reader.join(LONG)
    assert outcome == [True]
    assert taken == list(range(rounds))
