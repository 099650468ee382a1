"""One prompt in the background."""

from __future__ import annotations

import contextvars
import os
import pickle
import threading
from concurrent.futures import CancelledError, as_completed, wait
from typing import Any, Callable

import attrs
import pytest

from runtimeuse_sync import (
    AgentRuntimeError,
    AssistantMessageInterface,
    CancelMessage,
    Client,
    ConnectionFailedError,
    HeartbeatMessageInterface,
    InvocationMessage,
    ResultMessageInterface,
)
from runtimeuse_sync.testing import Peer, Reply, ScriptedRuntime, generation

from ..support import port_without_listener, text_result

Start = Callable[..., ScriptedRuntime]
PATIENCE = 20


def said(text: str) -> AssistantMessageInterface:
    return AssistantMessageInterface(text_blocks=[text])


def hangs(*messages: Any) -> Reply:
    return Reply(messages=messages, hangs=True)


def texts(messages: Any) -> list[str]:
    return [text for message in messages for text in getattr(message, "text_blocks", ())]


def test_a_job_is_a_future_of_the_result(scripted_runtime: Start) -> None:
    metadata = {"total_cost_usd": 0.25}
    runtime = scripted_runtime(generation("0.15", Reply(result="done", metadata=metadata)))
    job = Client(runtime.url).submit("Hello", system_prompt="Be brief.")
    assert job.result(PATIENCE).output == "done"
    assert (job.done(), job.cancelled(), job.running(), job.exception()) == (True, False, False, None)
    assert job.usage.cost_usd == 0.25
    assert runtime.wait_for(InvocationMessage).system_prompt == "Be brief."


def test_the_standard_library_waits_for_jobs(scripted_runtime: Start) -> None:
    runtime = scripted_runtime([generation("0.15", Reply(result="1")), generation("0.15", Reply(error="no"))])
    client = Client(runtime.url)
    first = client.submit("1")
    assert [job.result().output for job in as_completed([first], PATIENCE)] == ["1"]
    second = client.submit("2")
    assert wait([first, second], PATIENCE).done == {first, second}
    assert isinstance(second.exception(), AgentRuntimeError)


def test_as_completed_yields_a_job_that_is_cancelled_meanwhile(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(generation("0.15", hangs()))
    job = Client(runtime.url).submit("Hello")
    runtime.wait_for(InvocationMessage)
    threading.Timer(0.05, job.cancel).start()
    assert list(as_completed([job], PATIENCE)) == [job]
    assert job.cancelled()


def test_a_job_fails_with_what_query_raises(scripted_runtime: Start) -> None:
    reply = Reply(error="out of credit", metadata={"num_turns": 7})
    job = Client(scripted_runtime(generation("0.15", reply)).url).submit("Hello")
    with pytest.raises(AgentRuntimeError, match="out of credit"):
        job.result(PATIENCE)
    assert (job.status.state, job.usage.turns) == ("failed", 7)


def test_what_cannot_be_meant_is_raised_before_anything_is_sent(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(generation("0.15"))
    client = Client(runtime.url)
    for arguments in ({"timeout": "5"}, {"output_repairs": 1}, {"output_repairs": -1, "output_type": int}):
        with pytest.raises((TypeError, ValueError)):
            client.submit("Hello", **arguments)  # type: ignore[call-overload]
    with pytest.raises(TypeError):
        client.submit(5)  # type: ignore[call-overload]
    assert runtime.connections == []


# --- messages -------------------------------------------------------------------------------------------


def test_messages_so_far_and_live_for_any_number_of_readers(scripted_runtime: Start) -> None:
    go_on = threading.Event()

    def script(peer: Peer) -> None:
        peer.expect(InvocationMessage)
        peer.send(said("one"), said("two"))
        assert go_on.wait(PATIENCE)
        peer.send(said("three"), text_result("done"))

    job = Client(scripted_runtime(script).url).submit("Hello")
    early = job.messages()
    assert texts([next(early), next(early)]) == ["one", "two"]
    read: list[list[str]] = []
    readers = [threading.Thread(target=lambda: read.append(texts(job.messages()))) for _ in range(3)]
    for reader in readers:
        reader.start()
    go_on.set()
    for reader in readers:
        reader.join(PATIENCE)
    assert read == [["one", "two", "three"]] * 3
    assert texts(early) == ["three"]


def test_a_job_that_is_done_before_its_reader_looks(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(generation("0.15", Reply(messages=[said("one")], result="done")))
    job = Client(runtime.url).submit("Hello")
    wait([job], PATIENCE)
    assert [type(message) for message in job.messages()] == [AssistantMessageInterface, ResultMessageInterface]


def test_a_done_callback_may_read_the_messages(scripted_runtime: Start) -> None:
    read: list[str] = []
    called = threading.Event()
    job = Client(scripted_runtime(generation("0.15", Reply(messages=[said("one")]))).url).submit("Hello")

    def read_all(_: object) -> None:
        read.extend(texts(job.messages()))
        called.set()

    job.add_done_callback(read_all)
    assert called.wait(PATIENCE)
    assert read == ["one"]


def test_messages_of_a_failed_job_end_and_result_tells_why(scripted_runtime: Start) -> None:
    reply = Reply(messages=[said("one")], error="no")
    job = Client(scripted_runtime(generation("0.15", reply)).url).submit("Hello")
    assert texts(job.messages()) == ["one"]
    assert job.status.state == "failed"


# --- status ---------------------------------------------------------------------------------------------


def test_status_from_waiting_to_done(scripted_runtime: Start) -> None:
    may_connect, may_end = threading.Event(), threading.Event()

    def script(peer: Peer) -> None:
        peer.expect(InvocationMessage)
        peer.send(HeartbeatMessageInterface(phase="agent", elapsed_ms=10))
        assert may_end.wait(PATIENCE)
        peer.send(text_result("done"))

    def headers() -> dict[str, str]:
        assert may_connect.wait(PATIENCE)
        return {}

    job = Client(scripted_runtime(script).url, headers=headers).submit("Hello")
    assert (job.status.state, job.running(), job.done()) == ("waiting", False, False)
    may_connect.set()
    next(job.messages())
    assert (job.status.state, job.status.phase, job.running()) == ("running", "agent", True)
    assert repr(job) == f"<Job: running (agent), {job.status.elapsed_seconds:.0f} s>"
    may_end.set()
    job.result(PATIENCE)
    ended = job.status
    assert (ended.state, ended.phase) == ("done", None)
    assert job.status == ended  # the time stands still


def test_a_job_that_never_connected() -> None:
    with port_without_listener() as port:
        job = Client(f"ws://127.0.0.1:{port}").submit("Hello")
        assert isinstance(job.exception(PATIENCE), ConnectionFailedError)
    assert (job.status.state, job.was_opened, list(job.messages())) == ("failed", False, [])


# --- cancelling -----------------------------------------------------------------------------------------


def test_a_cancel_between_two_messages_tells_the_runtime(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(generation("0.15", hangs(said("one"))))
    job = Client(runtime.url).submit("Hello")
    messages = job.messages()
    assert texts([next(messages)]) == ["one"]
    assert job.cancel()
    assert list(messages) == []
    runtime.wait_for(CancelMessage)
    with pytest.raises(CancelledError):
        job.result(PATIENCE)
    assert (job.cancelled(), job.done(), job.status.state, job.cancel()) == (True, True, "cancelled", True)


def test_a_cancel_before_it_is_connected_sends_nothing(scripted_runtime: Start) -> None:
    may_connect = threading.Event()
    runtime = scripted_runtime(generation("0.15"))
    client = Client(runtime.url, headers=lambda: {"X-Waited": str(may_connect.wait(PATIENCE))})
    job = client.submit("Hello")
    assert job.cancel()
    may_connect.set()
    wait([job], PATIENCE)
    assert job.cancelled()
    assert [message for message in runtime.received if isinstance(message, InvocationMessage)] == []


def test_a_cancel_after_the_end_changes_nothing(scripted_runtime: Start) -> None:
    job = Client(scripted_runtime(generation("0.15", Reply(result="done"))).url).submit("Hello")
    job.result(PATIENCE)
    assert not job.cancel()
    assert (job.result().output, job.status.state) == ("done", "done")


def test_abort_of_the_client_cancels_its_jobs(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(generation("0.15", hangs()))
    client = Client(runtime.url)
    job = client.submit("Hello")
    runtime.wait_for(InvocationMessage)
    client.abort()
    wait([job], PATIENCE)
    assert job.cancelled()


# --- where it runs --------------------------------------------------------------------------------------

REQUEST_ID: contextvars.ContextVar[str] = contextvars.ContextVar("REQUEST_ID")


def test_callbacks_see_the_context_variables_of_the_caller(scripted_runtime: Start) -> None:
    seen: list[str] = []
    REQUEST_ID.set("7")
    runtime = scripted_runtime(generation("0.15", Reply(messages=[said("one")])))
    job = Client(runtime.url).submit("Hello", on_assistant_message=lambda _: seen.append(REQUEST_ID.get()))
    job.result(PATIENCE)
    assert seen == ["7"]


def test_what_a_callback_raises_is_what_the_job_fails_with(scripted_runtime: Start) -> None:
    def complain(message: object) -> None:
        raise OSError("the disk is full")

    runtime = scripted_runtime(generation("0.15", hangs(said("one"))))
    job = Client(runtime.url).submit("Hello", on_assistant_message=complain)
    with pytest.raises(OSError, match="the disk is full"):
        job.result(PATIENCE)
    runtime.wait_for(CancelMessage)


# --- the client's block ---------------------------------------------------------------------------------


def test_the_end_of_the_block_ends_the_jobs(scripted_runtime: Start) -> None:
    runtime = scripted_runtime([generation("0.15", Reply(result="done")), generation("0.15", hangs())])
    with Client(runtime.url) as client:
        first = client.submit("1")
        first.result(PATIENCE)
        second = client.submit("2")
        runtime.wait_for(InvocationMessage, count=2)
    assert (first.status.state, second.status.state) == ("done", "cancelled")
    runtime.wait_for(CancelMessage)


def test_an_exception_in_the_block_ends_them_and_goes_on(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(generation("0.15", hangs()))
    with pytest.raises(KeyError), Client(runtime.url) as client:
        job = client.submit("1")
        runtime.wait_for(InvocationMessage)
        raise KeyError
    wait([job], PATIENCE)
    assert job.cancelled()


def test_a_client_that_was_left_can_be_used_pickled_and_changed(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(generation("0.15", Reply(result="done")))
    with Client(runtime.url) as client:
        assert client.submit("1").result(PATIENCE).output == "done"
        for other in (
            client,
            pickle.loads(pickle.dumps(client)),
            client.with_options(timeout=30),
            attrs.evolve(client),
        ):
            assert other.query("2").output == "done"
    assert client.submit("3").result(PATIENCE).output == "done"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_leaves_the_jobs_alone(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(generation("0.15", hangs()))
    with Client(runtime.url) as client:
        job = client.submit("1")
        runtime.wait_for(InvocationMessage)
        child = os.fork()
        if child == 0:
            try:
                client.__exit__(None, None, None)
                os._exit(int(job.cancel()))
            except BaseException:  # noqa: BLE001
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert job.status.state == "running"
    assert job.cancelled()
