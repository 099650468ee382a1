"""The thread that many connections share."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Callable
from unittest import mock

import pytest

from runtimeuse_sync import (
    AssistantMessageInterface,
    Client,
    ConnectionLostError,
    InvocationMessage,
    RuntimeUseError,
)
from runtimeuse_sync._connection import shared as _shared
from runtimeuse_sync._connection import traffic as _traffic
from runtimeuse_sync._connection.crowd import CAN_SHARE, OWN_THREADS, Crowd, crowd
from runtimeuse_sync._connection.shared import SharedThread
from runtimeuse_sync._connection.thread import ConnectionThread
from runtimeuse_sync.testing import Disconnected, Peer, Reply, ScriptedRuntime, generation

from ..raw_server import RawPeer, RawServer, frame
from ..support import invocation, text_result, wait_until

pytestmark = pytest.mark.skipif(not CAN_SHARE, reason="select() takes too few sockets to share a thread")

Start = Callable[..., ScriptedRuntime]
# Seconds that nothing here should take.
LONG = 20.0
WORKING = AssistantMessageInterface(text_blocks=["x"])


@pytest.fixture(autouse=True)
def no_own_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crowd, "_own", deque())


def threads() -> int:
    """How many threads serve connections."""
    return sum(thread.name == "runtimeuse-connection" for thread in threading.enumerate())


class Calls:
    """Calls that wait, each on a thread of its own, and what became of them."""

    def __init__(self, client: Client, count: int, **options: Any) -> None:
        self._client, self._options = client, options
        self.outcomes: list[str] = []
        self.waiting = threading.Semaphore(0)
        self._threads = [threading.Thread(target=self._call) for _ in range(count)]
        for thread in self._threads:
            thread.start()
        for _ in self._threads:
            assert self.waiting.acquire(timeout=LONG)
        wait_until(lambda: threads() == 1)

    def _call(self) -> None:
        try:
            outcome = self._client.invoke(
                invocation(), on_assistant_message=lambda _: self.waiting.release(), **self._options
            ).text
        except RuntimeUseError as error:
            outcome = type(error).__name__
        self.outcomes.append(outcome)

    def join(self) -> list[str]:
        for thread in self._threads:
            thread.join(LONG)
        assert threads() == 0
        return self.outcomes


@contextmanager
def held_back() -> Iterator[tuple[Callable[[Peer], None], threading.Event]]:
    """A script that says that it works, and its result once the Event is set."""
    go_on = threading.Event()

    def script(peer: Peer) -> None:
        with suppress(Disconnected):
            peer.receive(LONG)
            peer.send(WORKING)
            go_on.wait(LONG)
            peer.send(text_result("done"))

    try:
        yield script, go_on
    finally:
        go_on.set()


def test_one_thread_serves_all_and_ends_with_the_last(scripted_runtime: Start) -> None:
    with held_back() as (script, go_on):
        calls = Calls(Client(scripted_runtime(script).url), 8)
        go_on.set()
        assert calls.join() == ["done"] * 8


def test_the_first_connections_have_their_own(scripted_runtime: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crowd, "_own", deque([0, 1]))
    client = Client(scripted_runtime(generation("0.15")).url)
    with client.session(), client.session(), client.session(), client.session():
        wait_until(lambda: threads() == 3)
        assert list(crowd._own) == []
    assert threads() == 0
    assert sorted(crowd._own) == [0, 1]


def test_another_call_begins_another(scripted_runtime: Start) -> None:
    client = Client(scripted_runtime(generation("0.15", Reply(result="done"))).url)
    for _ in range(20):
        assert client.invoke(invocation()).text == "done"
        assert threads() == 0


def test_what_is_over_leaves_nothing_in_the_thread(scripted_runtime: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_shared, "_STALE", 5)
    client = Client(scripted_runtime(generation("0.15", Reply(result="done"))).url, ping_interval=None)
    with client.session():
        for _ in range(20):
            client.invoke(invocation())
        assert crowd._shared is not None
        assert len(crowd._shared._timers) <= 5 + 2 * 2
        assert len(crowd._shared._places) == 1


def test_an_end_of_all_at_the_same_moment(scripted_runtime: Start) -> None:
    gone = threading.Event()

    def script(peer: Peer) -> None:
        peer.expect(InvocationMessage)
        peer.send(WORKING)
        gone.wait(LONG)
        peer.drop()

    calls = Calls(Client(scripted_runtime(script).url), 50)
    gone.set()
    assert calls.join() == ["ConnectionLostError"] * 50


def test_abort_reaches_all(scripted_runtime: Start) -> None:
    client = Client(scripted_runtime(generation("0.15", Reply(messages=[WORKING], hangs=True))).url)
    calls = Calls(client, 8)
    client.abort()
    assert calls.join() == ["CancelledException"] * 8


def test_pings_are_sent_to_each_and_their_answers_awaited() -> None:
    def play(conn: RawPeer) -> None:
        conn.accept()
        conn.read_frame()
        conn.send(frame(b'{"message_type":"assistant_message","text_blocks":["x"]}'))
        for _ in range(3):
            opcode, payload = conn.read_frame()
            assert opcode == 9
            conn.send(frame(payload, opcode=10))
        while True:  # and none to those that follow
            conn.read_frame()

    with RawServer(play) as server:
        calls = Calls(Client(server.url, ping_interval=0.05, ping_timeout=0.3), 3)
        assert calls.join() == ["ConnectionLostError"] * 3


def test_what_one_connection_raises_does_not_reach_the_others(
    scripted_runtime: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    with held_back() as (script, go_on):
        runtime = scripted_runtime(script)
        calls = Calls(Client(runtime.url), 2)
        turn, faults = _traffic.Traffic.turn, iter([ValueError("of one")])

        def faulty(traffic: Any, found: int) -> bool:
            for error in faults:
                raise error
            return turn(traffic, found)

        monkeypatch.setattr(_traffic.Traffic, "turn", faulty)
        go_on.set()
        assert sorted(calls.join()) == ["ConnectionLostError", "done"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_the_death_of_the_thread_ends_all_its_calls(scripted_runtime: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    class Death(BaseException):  # as GreenletExit is one
        pass

    def die(thread: SharedThread) -> Any:
        raise Death

    with held_back() as (script, _):
        client = Client(scripted_runtime(script).url)
        calls = Calls(client, 3)
        with monkeypatch.context() as dying:
            dying.setattr(SharedThread, "_wait", die)
            with pytest.raises(ConnectionLostError, match="ended"), client.session() as session:
                session.invoke(invocation())
        assert calls.join() == ["ConnectionLostError"] * 3


@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), OSError(24, "Too many open files")])
def test_without_such_a_thread_each_has_its_own(
    scripted_runtime: Start, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: Any) -> Any:
        raise error

    if isinstance(error, RuntimeError):
        monkeypatch.setattr(_shared, "ConnectionThread", lambda run: mock.Mock(start=fail))
    else:
        monkeypatch.setattr(_shared, "selectors", mock.Mock(DefaultSelector=fail))
    client = Client(scripted_runtime(generation("0.15", Reply(result="done"))).url)
    with client.session(), client.session():
        assert threads() == 2
    assert client.invoke(invocation()).text == "done"


class Stillborn(ConnectionThread):
    """A thread that dies before it begins, as for want of memory."""

    def start(self) -> None:
        pass


def test_nor_if_it_dies_before_it_begins(scripted_runtime: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_shared, "BEGIN_LIMIT", 0.1)
    monkeypatch.setattr(_shared, "ConnectionThread", Stillborn)
    runtime = scripted_runtime(generation("0.15", Reply(result="done")))
    assert Client(runtime.url).invoke(invocation()).text == "done"
    assert crowd._shared is None


def test_a_forked_child_begins_anew() -> None:
    fresh = Crowd()
    fresh._own.clear()
    fresh._lock.acquire()
    fresh.forget()
    assert len(fresh._own) == OWN_THREADS
    assert fresh._lock.acquire(blocking=False)
    assert fresh._shared is None
