"""Control over a call: cancelling it, bounding it, interrupting it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable

import pytest

from runtimeuse_sync import (
    AssistantMessageInterface,
    CancelledException,
    CancelMessage,
    Client,
    EndSessionMessage,
    IdleTimeoutError,
    InvocationMessage,
    InvocationTimeoutError,
    QueryOptions,
    ResultMessageInterface,
    RuntimeUseError,
    Tick,
)
from runtimeuse_sync._call.cancellation import Cancellation
from runtimeuse_sync._connection.connection import WebSocketConnection
from runtimeuse_sync.testing import Peer, Reply, ScriptedRuntime, generation

from ..raw_server import RawPeer, RawServer, frame
from ..support import ALL, invocation, is_within, text_result, usual

Start = Callable[..., ScriptedRuntime]


def hear_nothing(peer: Peer) -> None:
    peer.expect(InvocationMessage)
    peer.silence()


def in_thread(function: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=function)
    thread.start()
    return thread


def after_request(runtime: ScriptedRuntime, act: Callable[[], Any]) -> threading.Thread:
    """Call ``act`` in a thread once the runtime has the request."""

    def wait_and_act() -> None:
        runtime.wait_for(InvocationMessage)
        act()

    return in_thread(wait_and_act)


# --- cancelling -------------------------------------------------------------------------------------


@pytest.mark.alone
def test_an_event_reaches_a_silent_runtime_within_100_ms(scripted_runtime: Start) -> None:
    runtime_of_each = (scripted_runtime(generation("0.15", Reply(hangs=True))) for _ in range(5))

    def measure() -> float:
        runtime = next(runtime_of_each)
        stop = threading.Event()
        was_set: list[float] = []

        def set_it() -> None:
            was_set.append(time.monotonic())
            stop.set()

        thread = after_request(runtime, set_it)
        with pytest.raises(CancelledException):
            Client(runtime.url).invoke(invocation(), is_cancelled=stop)
        thread.join()
        return runtime.received_at(CancelMessage) - was_set[0]

    assert usual(measure) < 0.1


@pytest.mark.alone
def test_so_does_the_event_of_each_of_several_silent_calls(scripted_runtime: Start) -> None:
    """One of them looks for all, and goes first here, so that another has to take its place."""
    runtimes = [scripted_runtime(generation("0.15", Reply(hangs=True))) for _ in range(5)]
    events = [threading.Event() for _ in runtimes]
    with ThreadPoolExecutor(len(runtimes)) as pool:
        calls = []
        for runtime, event in zip(runtimes, events):
            calls.append(pool.submit(Client(runtime.url).invoke, invocation(), is_cancelled=event))
            runtime.wait_for(InvocationMessage)
        each = zip(runtimes, events, calls)

        def measure() -> float:
            runtime, event, call = next(each)
            was_set = time.monotonic()
            event.set()
            with pytest.raises(CancelledException):
                call.result(5)
            return runtime.received_at(CancelMessage) - was_set

        assert usual(measure) < 0.1


@pytest.mark.alone
def test_abort_reaches_the_runtime_while_the_caller_is_inside_a_callback(scripted_runtime: Start) -> None:
    two = [AssistantMessageInterface(text_blocks=["x"])] * 2
    runtime_of_each = (scripted_runtime(generation("0.15", Reply(messages=two, hangs=True))) for _ in range(5))

    def measure() -> float:
        runtime = next(runtime_of_each)
        client = Client(runtime.url)
        inside, done = threading.Event(), threading.Event()
        asked: list[float] = []
        calls: list[Any] = []

        def slow(message: AssistantMessageInterface) -> None:
            calls.append(message)
            inside.set()
            assert done.wait(5)

        def abort() -> None:
            inside.wait(5)
            asked.append(time.monotonic())
            client.abort()
            runtime.wait_for(CancelMessage)
            done.set()

        thread = in_thread(abort)
        with pytest.raises(CancelledException):
            client.invoke(invocation(), on_assistant_message=slow)
        thread.join()
        assert len(calls) == 1  # nothing is delivered once it is cancelled
        return runtime.received_at(CancelMessage) - asked[0]

    assert usual(measure) < 0.02


@pytest.mark.alone
def test_abort_of_a_waiting_call_acts_at_once(scripted_runtime: Start) -> None:
    runtime_of_each = (scripted_runtime(generation("0.15", Reply(hangs=True))) for _ in range(5))

    def measure() -> float:
        runtime = next(runtime_of_each)
        client = Client(runtime.url)
        asked: list[float] = []
        thread = after_request(runtime, lambda: (asked.append(time.monotonic()), client.abort()))
        with pytest.raises(CancelledException):
            client.invoke(invocation())
        thread.join()
        return runtime.received_at(CancelMessage) - asked[0]

    assert usual(measure) < 0.02


def test_abort_without_calls_does_nothing() -> None:
    Client("ws://localhost:1").abort()


def test_a_function_is_not_asked_more_often_than_its_interval(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(generation("0.15", Reply(hangs=True)))
    asked: list[float] = []

    def is_cancelled() -> bool:
        asked.append(time.monotonic())
        return len(asked) == 5

    with pytest.raises(CancelledException):
        Client(runtime.url, cancel_poll_interval=0.1).invoke(invocation(), is_cancelled=is_cancelled)
    gaps = [later - earlier for earlier, later in zip(asked, asked[1:])]
    assert len(asked) == 5
    assert min(gaps) >= 0.1


def test_a_function_is_asked_between_the_messages_of_a_flood(scripted_runtime: Start) -> None:
    flood = [AssistantMessageInterface(text_blocks=["x"])] * 2000
    runtime = scripted_runtime(generation("0.15", Reply(messages=flood, hangs=True)))
    heard: list[Any] = []
    with pytest.raises(CancelledException):
        Client(runtime.url, cancel_poll_interval=0.01).invoke(
            invocation(),
            on_assistant_message=lambda message: (heard.append(message), time.sleep(0.001)),
            is_cancelled=lambda: len(heard) > 10,
        )
    assert len(heard) < 100


def test_what_is_cancelled_beforehand_is_never_sent(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(hear_nothing)
    with pytest.raises(CancelledException):
        Client(runtime.url).invoke(invocation(), is_cancelled=lambda: True)
    assert runtime.connections == []


def test_an_exception_of_is_cancelled_arrives_and_cancels(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(generation("0.15", Reply(hangs=True)))

    def is_cancelled() -> bool:
        return bool(runtime.received) and next(iter([]))

    # StopIteration of all exceptions: a generator on its way would turn it into a RuntimeError.
    with pytest.raises(StopIteration):
        Client(runtime.url, cancel_poll_interval=0.01).invoke(invocation(), is_cancelled=is_cancelled)
    runtime.wait_for(CancelMessage)


def test_a_runtime_that_does_not_answer_a_cancellation_is_left_after_five_seconds(
    scripted_runtime: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sys.modules["runtimeuse_sync._call.waits"].CANCEL_WAIT == 5.0
    monkeypatch.setattr("runtimeuse_sync._call.waits.CANCEL_WAIT", 0.3)
    runtime = scripted_runtime(hear_nothing)
    client = Client(runtime.url)
    thread = after_request(runtime, client.abort)
    began = time.monotonic()
    with pytest.raises(CancelledException):
        client.invoke(invocation())
    thread.join()
    assert 0.3 <= time.monotonic() - began < 5.0


def test_nothing_is_delivered_once_the_call_is_cancelled(scripted_runtime: Start) -> None:
    def script(peer: Peer) -> None:
        peer.expect(InvocationMessage)
        peer.expect(CancelMessage)
        peer.send(AssistantMessageInterface(text_blocks=["late"]), text_result("late"))
        peer.silence()

    runtime = scripted_runtime(script)
    client = Client(runtime.url)
    heard: list[Any] = []
    thread = after_request(runtime, client.abort)
    with pytest.raises(CancelledException):
        client.invoke(invocation(), heard.append, on_assistant_message=heard.append)
    thread.join()
    assert heard == []


def test_one_cancel_message_is_sent_however_often_it_is_asked_for(scripted_runtime: Start) -> None:
    def script(peer: Peer) -> None:
        peer.expect(InvocationMessage)
        peer.expect(CancelMessage)
        peer.pause(0.2)

    runtime = scripted_runtime(script)
    client = Client(runtime.url)
    stop = threading.Event()
    thread = after_request(runtime, lambda: [client.abort(), stop.set(), client.abort()])
    with pytest.raises(CancelledException):
        client.invoke(invocation(), is_cancelled=stop)
    thread.join()
    assert [type(message) for message in runtime.received].count(CancelMessage) == 1


def test_the_answer_to_an_abort_may_come_before_abort_returns(
    scripted_runtime: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that aborts has sent the cancel_message, and is held up there."""
    send, ended = WebSocketConnection.send, threading.Event()

    def send_and_stand_still(self: WebSocketConnection, message: Any) -> None:
        send(self, message)
        assert not isinstance(message, CancelMessage) or ended.wait(5)

    monkeypatch.setattr(WebSocketConnection, "send", send_and_stand_still)
    runtime = scripted_runtime(generation("0.15", Reply(hangs=True)))
    client = Client(runtime.url)
    thread = after_request(runtime, client.abort)
    with pytest.raises(CancelledException):
        client.invoke(invocation())
    ended.set()
    thread.join()


def test_so_it_may_while_the_caller_decides_when_to_look_next(
    scripted_runtime: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = scripted_runtime(generation("0.15", Reply(hangs=True)))
    client = Client(runtime.url)

    def be_aborted(cancellation: Cancellation, limit: float) -> float:
        monkeypatch.undo()
        client.abort()
        runtime.wait_for(CancelMessage)
        return cancellation.pause(limit)

    monkeypatch.setattr(Cancellation, "pause", be_aborted)
    with pytest.raises(CancelledException):
        client.invoke(invocation())


def test_abort_reaches_every_call_of_a_client_and_no_other(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(generation("0.15", Reply(hangs=True)))
    client, other = Client(runtime.url), Client(runtime.url)
    outcomes: list[str] = []

    def call(client: Client) -> None:
        try:
            client.invoke(invocation())
        except RuntimeUseError as error:
            outcomes.append(type(error).__name__)

    threads = [in_thread(lambda: call(client)) for _ in range(3)]
    untouched = in_thread(lambda: call(other))
    runtime.wait_for(InvocationMessage, count=4)
    client.abort()
    for thread in threads:
        thread.join()
    assert outcomes == ["CancelledException"] * 3
    assert [type(message) for message in runtime.received].count(CancelMessage) == 3
    other.abort()
    untouched.join()
    assert outcomes == ["CancelledException"] * 4


# --- streams ----------------------------------------------------------------------------------------


def test_leaving_a_stream_early_cancels_the_run(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(
        generation("0.15", Reply(messages=[AssistantMessageInterface(text_blocks=["x"])], hangs=True))
    )
    with Client(runtime.url).stream(invocation()) as run:
        next(run)
    assert [type(message) for message in runtime.received] == [InvocationMessage, CancelMessage]


@pytest.mark.parametrize("release", ALL)
def test_a_silent_stream_ticks(scripted_runtime: Start, release: str) -> None:
    """So that a loop over it can find out that nobody listens any more: 0.4 to 0.14.0 have no heartbeats at all."""
    runtime = scripted_runtime(generation(release, Reply(hangs=True)))
    elapsed: list[float] = []
    with Client(runtime.url).stream(invocation(), tick=0.05) as run:
        for message in run:
            assert type(message) is Tick
            elapsed.append(message.elapsed_seconds)
            if len(elapsed) == 3:
                break
    assert elapsed[0] >= 0.05
    assert all(later - earlier >= 0.05 for earlier, later in zip(elapsed, elapsed[1:]))
    assert runtime.wait_for(CancelMessage)


def test_a_tick_comes_while_the_connection_is_still_being_made() -> None:
    with (
        RawServer(lambda conn: conn.wait_closed()) as server,
        Client(server.url).stream(invocation(), tick=0.05) as run,
    ):
        assert type(next(run)) is Tick


def test_without_being_told_to_a_stream_does_not_tick(scripted_runtime: Start) -> None:
    def script(peer: Peer) -> None:
        peer.expect(InvocationMessage)
        peer.send(AssistantMessageInterface(text_blocks=["x"]), text_result("done"))

    with Client(scripted_runtime(script).url).stream(invocation()) as run:
        assert [type(message) for message in run] == [AssistantMessageInterface, ResultMessageInterface]


def test_a_tick_is_a_time_that_can_pass() -> None:
    with pytest.raises(ValueError, match=r"^tick must be a positive number of seconds, or None for no ticks; got 0$"):
        Client("ws://localhost:1").stream(invocation(), tick=0)


def test_a_stream_that_has_been_left_says_so(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(generation("0.15", Reply(hangs=True)))
    with Client(runtime.url).stream(invocation()) as run:
        pass
    with pytest.raises(RuntimeUseError, match=r"^this run has been left: iterate inside its `with` block$"):
        next(run)
    with pytest.raises(RuntimeUseError, match=r"^the run ended without a result$"):
        run.result  # noqa: B018


def test_a_stream_that_is_never_entered_holds_no_connection(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(hear_nothing)
    run = Client(runtime.url).stream(invocation())
    with pytest.raises(RuntimeUseError, match="enter the Run first"):
        next(run)
    assert runtime.connections == []


def test_run_cancel_from_another_thread(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(generation("0.15", Reply(hangs=True)))
    with Client(runtime.url).stream(invocation()) as run:
        thread = after_request(runtime, run.cancel)
        with pytest.raises(CancelledException):
            next(run)
        thread.join()


# --- timeouts ---------------------------------------------------------------------------------------


def accept_and_say_nothing(conn: RawPeer) -> None:
    conn.wait_closed()


def trickle_the_handshake(conn: RawPeer) -> None:
    conn.read_request()
    conn.trickle(b"HTTP/1.1 101 Switching Protocols\r\n" * 100, 0.01)


def go_silent(conn: RawPeer) -> None:
    conn.accept()
    conn.read_frame()
    conn.send(frame(b'{"message_type":"assistant_message","text_blocks":["one"]}'))
    conn.wait_closed()


def stall_in_a_frame(conn: RawPeer) -> None:
    conn.accept()
    conn.read_frame()
    conn.send(frame(b'{"message_type":"assistant_message","text_blocks":["one"]}')[:20])
    conn.wait_closed()


def flood(conn: RawPeer) -> None:
    conn.accept()
    conn.read_frame()
    conn.sock.settimeout(10)
    messages = frame(b'{"message_type":"assistant_message","text_blocks":["one"]}') * 1000
    while True:
        conn.send(messages)


@pytest.mark.alone
@pytest.mark.parametrize("play", [accept_and_say_nothing, trickle_the_handshake, go_silent, stall_in_a_frame, flood])
def test_a_timeout_holds(play: Callable[[RawPeer], None]) -> None:
    def measure() -> float:
        began = time.monotonic()
        with pytest.raises(InvocationTimeoutError):
            Client(server.url).invoke(invocation(), timeout=0.3)
        took = time.monotonic() - began
        assert took >= 0.3
        return took

    with RawServer(play) as server:
        assert is_within(0.3 + 1.25, measure)


@pytest.mark.alone
def test_a_timeout_during_the_drain_returns_the_result(
    scripted_runtime: Start, caplog: pytest.LogCaptureFixture
) -> None:
    def script(peer: Peer) -> None:
        peer.expect(InvocationMessage)
        peer.send(text_result("done"))
        peer.expect(EndSessionMessage)
        peer.silence()

    began = time.monotonic()
    result = Client(scripted_runtime(script).url).invoke(
        invocation(artifacts_dirs=["/out"]), on_artifact_upload_request=lambda request: ("", ""), timeout=1.0
    )
    assert result.text == "done"
    assert time.monotonic() - began < 1.0 + 1.25
    assert "artifacts may be missing" in caplog.text


def test_an_idle_timeout(scripted_runtime: Start) -> None:
    def script(peer: Peer) -> None:
        peer.expect(InvocationMessage)
        for _ in range(6):
            peer.pause(0.2)
            peer.send(AssistantMessageInterface(text_blocks=["x"]))
        peer.silence()

    heard: list[Any] = []
    runtime = scripted_runtime(script)
    with Client(runtime.url).session() as session:  # connecting is not what is measured here
        with pytest.raises(IdleTimeoutError, match=r"nothing came from the runtime for 1 s"):
            session.invoke(invocation(), on_assistant_message=heard.append, idle_timeout=1.0)
    assert len(heard) == 6
    runtime.wait_for(CancelMessage)


def test_time_in_a_callback_is_not_idle_when_messages_came_meanwhile(scripted_runtime: Start) -> None:
    def script(peer: Peer) -> None:
        peer.expect(InvocationMessage)
        peer.send(AssistantMessageInterface(text_blocks=["x"]))
        assert inside.wait(5)
        peer.send(text_result("done"))
        sent.set()
        peer.silence()

    inside, sent = threading.Event(), threading.Event()

    def busy(message: AssistantMessageInterface) -> None:
        inside.set()
        assert sent.wait(5)
        time.sleep(1.2)  # longer than the limit

    with Client(scripted_runtime(script).url).session() as session:
        assert session.invoke(invocation(), on_assistant_message=busy, idle_timeout=1.0).text == "done"


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), True, "30"])
@pytest.mark.parametrize("name", ["timeout", "idle_timeout"])
def test_limits_that_cannot_be_meant_are_refused_before_anything_is_sent(name: str, value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=f"{name} must be a positive number of seconds, or None"):
        Client("ws://localhost:1").invoke(invocation(), **{name: value})
    with pytest.raises((TypeError, ValueError), match=name):
        QueryOptions(system_prompt="", **{name: value})


# --- exceptions on the caller's thread ---------------------------------------------------------------


def test_a_callback_that_raises_cancels_the_run_and_is_seen_unchanged(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(
        generation("0.15", Reply(messages=[AssistantMessageInterface(text_blocks=["x"])], hangs=True))
    )
    failure = KeyError("mine")

    def fail(message: AssistantMessageInterface) -> None:
        raise failure

    with pytest.raises(KeyError) as caught:
        Client(runtime.url).invoke(invocation(), on_assistant_message=fail)
    assert caught.value is failure
    assert caught.value.__cause__ is None
    assert caught.traceback[-1].name == "fail"
    runtime.wait_for(CancelMessage)


SCRIPT = """
    import sys, time
    from runtimeuse_sync import Client, InvocationMessage

    def on_assistant_message(message):
        print("ready", flush=True)
        {callback}

    try:
        Client(sys.argv[1]).invoke(
            InvocationMessage(system_prompt="", user_prompt=""), on_assistant_message=on_assistant_message
        )
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        raise
"""


@pytest.mark.alone
@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
# Short sleeps: a signal that comes just before one does not end it.
@pytest.mark.parametrize("callback", ["pass", "while True: time.sleep(0.1)"], ids=["waiting", "in a callback"])
def test_sigint_tells_the_runtime_and_ends_the_script(scripted_runtime: Start, callback: str) -> None:
    runtime = scripted_runtime(
        generation("0.15", Reply(messages=[AssistantMessageInterface(text_blocks=["x"])], hangs=True))
    )
    source = textwrap.dedent(SCRIPT).format(callback=callback)
    with subprocess.Popen(
        [sys.executable, "-c", source, runtime.url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        began = time.monotonic()
        os.kill(child.pid, signal.SIGINT)
        out, err = child.communicate(timeout=10)
    assert time.monotonic() - began < 1.5
    assert (child.returncode, out) == (-signal.SIGINT, "interrupted\n")
    assert err.rstrip().endswith("KeyboardInterrupt")
    runtime.wait_for(CancelMessage)
