"""Signals as exceptions, once or each time; and who has asked for them to be ignored."""

from __future__ import annotations

import signal
import threading

import pytest

from runtimeuse_sync.cli._signals import Terminated, signals_raise

NUMBERS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def receive(number: int) -> None:
    """Get the signal on this thread. Its handler runs between two of the interpreter's instructions."""
    signal.raise_signal(number)
    for _ in range(100):
        pass


@pytest.mark.parametrize("number", NUMBERS)
def test_each_raises(number: int) -> None:
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt) as caught, signals_raise():
            receive(number)
        assert type(caught.value) is (KeyboardInterrupt if number == signal.SIGINT else Terminated)
        assert getattr(caught.value, "number", signal.SIGINT) == number


@pytest.mark.parametrize("first", NUMBERS)
@pytest.mark.parametrize("second", NUMBERS)
def test_only_the_first_raises(first: int, second: int) -> None:
    ended = []
    with pytest.raises(KeyboardInterrupt), signals_raise(once=True):
        try:
            receive(first)
        finally:
            receive(second)
            ended.append(True)
    assert ended


def test_held_off_none_raises() -> None:
    with signals_raise() as signals:
        signals.hold_off()
        for number in NUMBERS:
            receive(number)


def test_who_ignores_a_hangup_goes_on_ignoring_it() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals_raise():
            receive(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_on_another_thread_nothing_changes() -> None:
    def look() -> None:
        with signals_raise():
            handlers.extend(map(signal.getsignal, NUMBERS))

    handlers: list[object] = []
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert handlers == list(map(signal.getsignal, NUMBERS))
