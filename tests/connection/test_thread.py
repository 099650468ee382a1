"""The start of the connection thread, which cannot hang a call, and its end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from runtimeuse_sync import Client, ConnectionFailedError, InvocationTimeoutError, RuntimeUseError
from runtimeuse_sync._common.deadline import Deadline
from runtimeuse_sync._connection import connection as _connection
from runtimeuse_sync._connection.thread import ConnectionThread

from ..support import invocation

URL = "ws://127.0.0.1:9"
# Seconds that nothing here should take.
LONG = 20.0


@pytest.fixture
def stillborn(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Threads that die before they begin, as for want of memory: ``Thread.start`` waits for them for ever."""
    name = "_start_joinable_thread" if hasattr(threading, "_start_joinable_thread") else "_start_new_thread"
    start = getattr(threading, name)

    def start_for_nothing(function: Any, *args: Any, **options: Any) -> Any:
        if isinstance(getattr(function, "__self__", None), ConnectionThread):
            function = bool
        return start(function, *args, **options)

    monkeypatch.setattr(threading, name, start_for_nothing)
    yield
    for thread in list(threading._limbo):  # type: ignore[attr-defined] # Python lists them for ever
        threading._limbo.pop(thread)  # type: ignore[attr-defined]


def outcome_of(client: Client, **options: Any) -> tuple[RuntimeUseError, float]:
    began = time.monotonic()
    with pytest.raises(RuntimeUseError) as caught:
        client.invoke(invocation(), **options)
    return caught.value, time.monotonic() - began


def test_a_thread_that_dies_before_it_begins_ends_the_call_in_time(stillborn: None) -> None:
    error, seconds = outcome_of(Client(URL, connect_timeout=0.3))
    assert isinstance(error, ConnectionFailedError)
    assert str(error) == (
        f"cannot connect to {URL}: timed out after 0.3 s, and the connection's thread has not begun to run"
    )
    assert seconds < LONG


def test_so_does_the_calls_own_limit(stillborn: None) -> None:
    error, seconds = outcome_of(Client(URL), timeout=0.3)
    assert isinstance(error, InvocationTimeoutError)
    assert seconds < LONG


def test_without_any_limit_there_is_one(stillborn: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_connection, "BEGIN_LIMIT", 0.3)
    error, seconds = outcome_of(Client(URL, connect_timeout=None))
    assert isinstance(error, ConnectionFailedError)
    assert seconds < LONG


def test_it_ends_a_session_as_well(stillborn: None) -> None:
    with pytest.raises(ConnectionFailedError), Client(URL, connect_timeout=0.3).session():
        pass


def test_a_thread_that_has_begun_is_joined_to_its_end() -> None:
    go_on = threading.Event()
    thread = ConnectionThread(lambda: bool(go_on.wait(LONG)))
    thread.start()
    thread.join_by(Deadline(0.01))
    assert thread in threading.enumerate()
    go_on.set()
    thread.join_by(Deadline(LONG))
    assert thread not in threading.enumerate()
    assert not thread.is_alive()


def test_the_start_waits_for_nothing(stillborn: None) -> None:
    thread = ConnectionThread(lambda: None)
    thread.start()
    thread.join_by(Deadline(LONG))
    assert not thread.is_alive()


@pytest.mark.parametrize(
    ("error", "said"), [(RuntimeError("can't start new thread"), "can't start new thread"), (MemoryError(), "memory")]
)
def test_when_there_can_be_no_more_threads_the_error_names_the_limits(
    monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    def start(thread: ConnectionThread) -> None:
        raise error

    monkeypatch.setattr(ConnectionThread, "start", start)
    failure, _ = outcome_of(Client(URL))
    assert isinstance(failure, ConnectionFailedError)
    assert failure.__cause__ is error
    for words in (URL, said, "RLIMIT_NPROC", "pids.max", "make fewer calls at once"):
        assert words in str(failure)
