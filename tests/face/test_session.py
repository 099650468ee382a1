"""Sessions: turns, threads, processes, and misuse."""

from __future__ import annotations

import os
import threading
from typing import Any, Callable

import pytest

from runtimeuse_sync import (
    AssistantMessageInterface,
    CancelledException,
    CancelMessage,
    Client,
    ConnectionFailedError,
    ErrorMessageInterface,
    InvocationMessage,
    InvocationTimeoutError,
    QueryOptions,
    RuntimeUseError,
)
from runtimeuse_sync.testing import Peer, Reply, ScriptedRuntime, generation

from ..raw_server import RawServer
from ..support import invocation, text_result

Start = Callable[..., ScriptedRuntime]


def echo(peer: Peer) -> None:
    while True:
        request = peer.receive(timeout=30)
        assert isinstance(request, InvocationMessage)
        peer.send(text_result(request.user_prompt))


def test_calls_from_several_threads_take_turns(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(echo)
    answers: dict[str, str] = {}
    with Client(runtime.url).session() as session:

        def ask(prompt: str) -> None:
            answers[prompt] = session.invoke(invocation(user_prompt=prompt)).text or ""

        threads = [threading.Thread(target=ask, args=(str(number),)) for number in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == {str(number): str(number) for number in range(10)}
    assert len(runtime.connections) == 1


def test_waiting_for_a_turn_counts_towards_the_timeout(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(generation("0.15", Reply(hangs=True)))
    with Client(runtime.url).session() as session:
        outcome: list[BaseException] = []

        def hold() -> None:
            try:
                session.invoke(invocation())
            except CancelledException as error:
                outcome.append(error)

        holder = threading.Thread(target=hold)
        holder.start()
        runtime.wait_for(InvocationMessage)
        with pytest.raises(InvocationTimeoutError):
            session.invoke(invocation(), timeout=0.1)
        session.abort()
        holder.join()
    assert len(outcome) == 1


def test_leaving_the_block_cancels_what_other_threads_are_still_in(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(generation("0.15", Reply(hangs=True)))
    outcome: list[BaseException] = []
    with Client(runtime.url).session() as session:

        def hold() -> None:
            try:
                session.invoke(invocation())
            except RuntimeUseError as error:
                outcome.append(error)

        holder = threading.Thread(target=hold)
        holder.start()
        runtime.wait_for(InvocationMessage)
    holder.join()
    assert [type(error) for error in outcome] == [CancelledException]


@pytest.mark.parametrize("_", range(20))
def test_a_cancelled_call_whose_connection_ends_first_is_a_cancelled_call(scripted_runtime: Start, _: int) -> None:
    """As runtimes before 0.11 do: they close upon a cancel_message. Which the caller sees first is chance."""

    def script(peer: Peer) -> None:
        peer.expect(InvocationMessage)
        peer.expect(CancelMessage)

    runtime = scripted_runtime(script)
    client = Client(runtime.url)
    thread = threading.Thread(target=lambda: (runtime.wait_for(InvocationMessage), client.abort()))
    thread.start()
    with pytest.raises(CancelledException):
        client.invoke(invocation())
    thread.join()


def test_a_call_from_a_callback_of_the_same_session_is_refused_rather_than_hung(scripted_runtime: Start) -> None:
    reply = Reply(messages=[AssistantMessageInterface(text_blocks=["x"])], hangs=True)
    runtime = scripted_runtime(generation("0.15", reply))
    with Client(runtime.url).session() as session:
        with pytest.raises(RuntimeUseError, match="in the middle of a call of this very thread"):
            session.invoke(invocation(), on_assistant_message=lambda _: session.invoke(invocation()))


def test_a_session_has_to_be_entered_and_only_once(scripted_runtime: Start) -> None:
    session = Client(scripted_runtime(echo).url).session()
    with pytest.raises(RuntimeUseError, match="enter the session first"):
        session.invoke(invocation())
    with session, pytest.raises(RuntimeUseError, match="can be entered once"), session:
        pass
    with pytest.raises(RuntimeUseError, match="this session is closed"):
        session.invoke(invocation())


def test_entering_fails_where_no_connection_comes_about(scripted_runtime: Start) -> None:
    session = Client(scripted_runtime(refuse=403).url).session()
    with pytest.raises(ConnectionFailedError, match="403"):
        session.__enter__()


def test_entering_can_be_aborted() -> None:
    connected = threading.Event()
    with RawServer(lambda conn: (conn.read_request(), connected.set(), conn.wait_closed())) as server:
        client = Client(server.url)

        def abort() -> None:
            connected.wait(5)
            client.abort()

        thread = threading.Thread(target=abort)
        thread.start()
        with pytest.raises(CancelledException), client.session():
            pass
        thread.join()


def test_a_stale_answer_to_a_cancellation_does_not_hit_the_next_request(scripted_runtime: Start) -> None:
    """The result and the cancel_message cross; the answer to the latter comes during the next request."""
    crossed = threading.Event()

    def script(peer: Peer) -> None:
        peer.expect(InvocationMessage)
        peer.expect(CancelMessage)
        peer.send(text_result("first"))
        crossed.set()
        peer.expect(InvocationMessage)
        peer.send(ErrorMessageInterface(error="Request cancelled"), text_result("second"))
        peer.silence()

    runtime = scripted_runtime(script)
    with Client(runtime.url).session() as session:
        stop = threading.Event()
        stop.set()
        thread = threading.Thread(target=lambda: (runtime.wait_for(InvocationMessage), session.abort()))
        thread.start()
        with pytest.raises(CancelledException):
            session.invoke(invocation())
        thread.join()
        assert crossed.wait(5)
        assert session.invoke(invocation()).text == "second"


def test_nor_does_it_hit_a_request_that_was_waiting_for_its_turn_meanwhile(scripted_runtime: Start) -> None:
    """What the session knows of the call before is read once that is over, and not when the wait begins."""
    waits = threading.Event()

    def script(peer: Peer) -> None:
        peer.expect(InvocationMessage)
        peer.expect(CancelMessage)
        assert waits.wait(10)
        peer.send(text_result("first"))
        peer.expect(InvocationMessage)
        peer.send(ErrorMessageInterface(error="Request cancelled"), text_result("second"))
        peer.silence()

    runtime = scripted_runtime(script)
    with Client(runtime.url).session() as session:
        first, second = threading.Event(), Question()

        def cancel_while_another_waits() -> None:
            runtime.wait_for(InvocationMessage)
            waiting.start()
            second.asked.wait(10)
            waits.set()

        answers: list[Any] = []
        waiting = threading.Thread(
            target=lambda: answers.append(session.invoke(invocation(), is_cancelled=second).text)
        )
        thread = threading.Thread(target=cancel_while_another_waits)
        thread.start()
        second.on_asked = first.set
        with pytest.raises(CancelledException):
            session.invoke(invocation(), is_cancelled=first)
        thread.join()
        waiting.join()
    assert answers == ["second"]


class Question:
    """An ``is_cancelled`` function that tells when a call asks it: then the call has begun."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.on_asked: Callable[[], None] = lambda: None

    def __call__(self) -> bool:
        self.asked.set()
        self.on_asked()
        return False


def test_a_request_after_a_callback_that_raised(scripted_runtime: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtimeuse_sync._call.waits.IMPATIENT_CANCEL_WAIT", 10.0)  # the runtime may be held up
    reply = Reply(messages=[AssistantMessageInterface(text_blocks=["x"])] * 20, hangs=True)
    runtime = scripted_runtime(generation("0.15", reply, Reply(result="good")))
    heard: list[Any] = []
    with Client(runtime.url).session() as session:
        with pytest.raises(ZeroDivisionError):
            session.invoke(invocation(), on_assistant_message=lambda _: 1 / 0)
        assert session.invoke(invocation(), on_assistant_message=heard.append).text == "good"
    assert heard == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_after_a_fork_the_client_works_and_the_session_is_the_parents(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(echo)
    client = Client(runtime.url)
    with client.session() as session:
        child = os.fork()
        if child == 0:  # pragma: no cover - the child
            code = 1
            try:
                try:
                    session.query("x", QueryOptions(system_prompt=""))
                except RuntimeUseError as error:
                    session.__exit__(None, None, None)
                    client.abort()
                    in_child = client.query("child", QueryOptions(system_prompt="")).data
                    code = 0 if "parent process" in str(error) and in_child.text == "child" else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert session.invoke(invocation(user_prompt="parent")).text == "parent"


def test_an_exception_in_the_block_closes_without_a_drain(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(generation("0.15"))
    with pytest.raises(ZeroDivisionError), Client(runtime.url).session() as session:
        session.invoke(invocation(artifacts_dirs=["/out"]), on_artifact_upload_request=lambda request: ("", ""))
        raise ZeroDivisionError
    assert [type(message) for message in runtime.received] == [InvocationMessage]
