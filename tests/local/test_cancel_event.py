from __future__ import annotations

import threading
from typing import Callable

import pytest

from runtimeuse_sync.local._cancel_event import CancelEvent, calling_when_set

EVENTS = pytest.mark.parametrize("make_event", [threading.Event, CancelEvent])


@EVENTS
def test_what_is_registered_is_called_when_the_event_is_set(make_event: Callable[[], threading.Event]) -> None:
    event, called = make_event(), threading.Event()
    with calling_when_set(event, called.set):
        assert not called.is_set()
        event.set()
        assert called.wait(10)


@EVENTS
def test_it_is_called_if_the_event_was_set_before(make_event: Callable[[], threading.Event]) -> None:
    event, called = make_event(), threading.Event()
    event.set()
    with calling_when_set(event, called.set):
        assert called.wait(10)


@EVENTS
def test_after_the_block_nothing_is_called(make_event: Callable[[], threading.Event]) -> None:
    event, calls = make_event(), list[int]()
    with calling_when_set(event, lambda: calls.append(1)):
        pass
    event.set()
    assert calls == []


def test_several_may_wait_for_one_event() -> None:
    event, calls = CancelEvent(), list[str]()
    with calling_when_set(event, lambda: calls.append("a")), calling_when_set(event, lambda: calls.append("b")):
        event.set()
    assert calls == ["a", "b"]


def test_a_runtime_s_event_needs_no_thread() -> None:
    before = threading.active_count()
    with calling_when_set(CancelEvent(), lambda: None):
        assert threading.active_count() == before
