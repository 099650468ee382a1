"""What a user gets from each generation of the runtime."""

from __future__ import annotations

import threading
import time
from typing import Any, Callable, Union

import attrs
import pytest

from runtimeuse_sync import (
    AgentRuntimeError,
    ArtifactUploadRequestMessageInterface,
    ArtifactUploadResponseMessageInterface,
    ArtifactUploadResult,
    AssistantMessageInterface,
    CancelledException,
    CancelMessage,
    Client,
    CommandFailedError,
    CommandInterface,
    CommandOutputMessageInterface,
    CommandResultItem,
    ConnectionLostError,
    EndSessionMessage,
    ErrorMessageInterface,
    ExecuteCommandsOptions,
    HeartbeatMessageInterface,
    InvocationMessage,
    InvocationTimeoutError,
    QueryOptions,
    ResultMessageInterface,
    StructuredOutputResult,
    TextResult,
)
from runtimeuse_sync.testing import Peer, Reply, ScriptedRuntime, generation

from ..support import ALL, ONE_REQUEST, SESSIONS, invocation, text_result

Start = Callable[..., ScriptedRuntime]
LATE = ["/out/a.txt", "/out/b.txt", "/out/sub/c.txt"]


def say(*texts: str) -> list[AssistantMessageInterface]:
    return [AssistantMessageInterface(text_blocks=[text]) for text in texts]


# --- results ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("release", ALL)
def test_a_structured_result(scripted_runtime: Start, release: str) -> None:
    runtime = scripted_runtime(generation(release, Reply(result={"success": True}, metadata={"cost": 1})))
    heard: list[Any] = []
    result = Client(runtime.url).invoke(invocation(), heard.append)
    assert result.structured_output == {"success": True}
    assert result.metadata == {"cost": 1}
    assert result.text is None
    assert heard == [result]


@pytest.mark.parametrize("release", ALL[1:])
def test_a_text_result(scripted_runtime: Start, release: str) -> None:
    runtime = scripted_runtime(generation(release, Reply(result="done")))
    result = Client(runtime.url).query("Hello", QueryOptions(system_prompt="Be brief."))
    assert result.data == TextResult(text="done")


@pytest.mark.parametrize("release", ALL)
def test_query_reads_structured_output_in_either_shape(scripted_runtime: Start, release: str) -> None:
    runtime = scripted_runtime(generation(release, Reply(result={"files": 3})))
    result = Client(runtime.url).query("Hello", QueryOptions(system_prompt="Be brief."))
    assert result.data == StructuredOutputResult(structured_output={"files": 3})


@pytest.mark.parametrize("release", ALL)
def test_messages_arrive_in_the_order_of_the_wire(scripted_runtime: Start, release: str) -> None:
    output = CommandOutputMessageInterface(stream="stdout", text="ok\n", command="make")
    beat = HeartbeatMessageInterface(phase="agent", elapsed_ms=15000)
    messages = [*say("one"), output, beat, *say("two", "three")]
    runtime = scripted_runtime(generation(release, Reply(messages=messages)))
    heard: list[Any] = []
    result = Client(runtime.url).invoke(
        invocation(),
        heard.append,
        on_assistant_message=heard.append,
        on_command_output=heard.append,
        on_heartbeat=heard.append,
    )
    assert heard == [*messages, result]


def test_callbacks_run_on_the_callers_thread(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(generation("0.15", Reply(messages=say("one"))))
    threads: list[int] = []
    Client(runtime.url).invoke(invocation(), on_assistant_message=lambda _: threads.append(threading.get_ident()))
    assert threads == [threading.get_ident()]


def test_a_result_class_with_fields_of_its_own(scripted_runtime: Start) -> None:
    @attrs.define(kw_only=True)
    class Scored(ResultMessageInterface):
        custom_score: float = 0.0

    def script(peer: Peer) -> None:
        peer.expect(InvocationMessage)
        peer.send({**text_result("done"), "custom_score": 0.5, "other": 1})

    result = Client(scripted_runtime(script).url).invoke(invocation(), result_message_cls=Scored)
    assert (result.custom_score, result.text) == (0.5, "done")


def test_a_result_class_without_the_decorator_is_refused() -> None:
    class Scored(ResultMessageInterface):
        custom_score: float = 0.0

    with pytest.raises(TypeError, match=r"Scored annotates custom_score but is no attrs class: put @attrs\.define"):
        Client("ws://localhost:1").invoke(invocation(), result_message_cls=Scored)


@attrs.define(kw_only=True)
class Undecided(ResultMessageInterface):
    either: Union[int, str, None] = None


@attrs.define(kw_only=True)
class Unresolved(ResultMessageInterface):
    lost: NowhereToBeFound = None  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(("cls", "said"), [(Undecided, "cannot be read from JSON"), (Unresolved, "cannot be resolved")])
def test_a_result_class_that_cannot_be_filled_is_refused_before_anything_is_sent(cls: Any, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        Client("ws://localhost:1").invoke(invocation(), result_message_cls=cls)


def test_an_unknown_message_is_skipped_and_logged_once(
    scripted_runtime: Start, caplog: pytest.LogCaptureFixture
) -> None:
    runtime = scripted_runtime(
        generation("0.15", Reply(messages=[{"message_type": "novelty_message", "x": "s3cret"}] * 3))
    )
    assert Client(runtime.url).invoke(invocation()).structured_output == {"success": True}
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "skipping messages of the unknown type 'novelty_message'"
    ]


# --- errors -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("release", ALL)
def test_a_hard_error(scripted_runtime: Start, release: str) -> None:
    runtime = scripted_runtime(generation(release, Reply(error="out of memory", metadata={"at": "agent"})))
    heard: list[ErrorMessageInterface] = []
    with pytest.raises(AgentRuntimeError, match="^out of memory$") as caught:
        Client(runtime.url).invoke(invocation(), on_error_message=heard.append)
    assert (caught.value.error, caught.value.metadata, caught.value.result) == ("out of memory", {"at": "agent"}, None)
    assert [error.error for error in heard] == ["out of memory"]


@pytest.mark.parametrize("release", ALL)
def test_a_soft_error_that_is_excused(scripted_runtime: Start, release: str) -> None:
    runtime = scripted_runtime(generation(release, Reply(messages=[ErrorMessageInterface(error="flaky")])))
    result = Client(runtime.url).invoke(invocation(), on_error_message=lambda error: True)
    assert result.structured_output == {"success": True}


@pytest.mark.parametrize("release", ALL)
@pytest.mark.parametrize("verdict", [None, False, 1])
def test_an_error_is_final_unless_the_callback_returns_true(
    scripted_runtime: Start, release: str, verdict: object
) -> None:
    runtime = scripted_runtime(generation(release, Reply(messages=[ErrorMessageInterface(error="flaky")])))
    with pytest.raises(AgentRuntimeError, match="^flaky$"):
        Client(runtime.url).invoke(invocation(), on_error_message=lambda error: verdict)


def test_a_connection_that_ends_after_an_excused_error_raises_that_error(scripted_runtime: Start) -> None:
    def script(peer: Peer) -> None:
        peer.expect(InvocationMessage)
        peer.send(ErrorMessageInterface(error="flaky"))

    with pytest.raises(AgentRuntimeError, match="^flaky$") as caught:
        Client(scripted_runtime(script).url).invoke(invocation(), on_error_message=lambda error: True)
    assert isinstance(caught.value.__cause__, ConnectionLostError)


LOSSES = {
    "clean": (lambda peer: peer.close(1001, "going away"), 1001, "going away"),
    "empty": (lambda peer: peer.close_empty(), 1005, ""),
    "reset": (lambda peer: peer.reset(), 1006, "connection reset by peer"),
    "dropped": (lambda peer: peer.drop(), 1006, "the connection ended without a Close frame"),
    "cut": (lambda peer: peer.cut(), 1006, "the connection ended without a Close frame"),
}


@pytest.mark.parametrize("how", LOSSES)
def test_a_lost_connection(scripted_runtime: Start, how: str) -> None:
    lose, code, reason = LOSSES[how]

    def script(peer: Peer) -> None:
        peer.expect(InvocationMessage)
        peer.send(*say("one"))
        lose(peer)

    heard: list[Any] = []
    with pytest.raises(ConnectionLostError) as caught:
        Client(scripted_runtime(script).url).invoke(invocation(), on_assistant_message=heard.append)
    assert (caught.value.code, caught.value.reason) == (code, reason)
    if how != "reset":  # which takes along what was not read yet
        assert heard == say("one")


# --- artifacts --------------------------------------------------------------------------------------


def upload(request: ArtifactUploadRequestMessageInterface) -> ArtifactUploadResult:
    return ArtifactUploadResult(presigned_url=f"https://bucket/{request.filename}", content_type="text/plain")


@pytest.mark.parametrize("release", ALL)
def test_artifacts_asked_for_after_the_result_are_served(scripted_runtime: Start, release: str) -> None:
    runtime = scripted_runtime(generation(release, Reply(artifacts=["/out/early.txt"], late_artifacts=LATE)))
    Client(runtime.url).invoke(invocation(artifacts_dirs=["/out"]), on_artifact_upload_request=upload)
    answers = [m for m in runtime.received if isinstance(m, ArtifactUploadResponseMessageInterface)]
    assert [(a.filepath, a.filename, a.presigned_url, a.content_type) for a in answers] == [
        (path, path.rpartition("/")[2], f"https://bucket/{path.rpartition('/')[2]}", "text/plain")
        for path in ["/out/early.txt", *LATE]
    ]


@pytest.mark.parametrize("release", ALL)
def test_a_stream_yields_artifacts_too_once_they_are_answered(scripted_runtime: Start, release: str) -> None:
    runtime = scripted_runtime(generation(release, Reply(artifacts=["/out/early.txt"], late_artifacts=LATE)))
    seen: list[Any] = []

    def answer(request: ArtifactUploadRequestMessageInterface) -> ArtifactUploadResult:
        seen.append(request.filepath)
        return upload(request)

    keywords: Any = {"artifacts_dirs": ["/out"], "on_artifact_upload_request": answer}
    with Client(runtime.url).stream("hi", **keywords) as run:
        for message in run:
            if isinstance(message, ArtifactUploadRequestMessageInterface):
                assert seen[-1] == message.filepath
                seen.append(message)
    assert [message.filepath for message in seen[1::2]] == ["/out/early.txt", *LATE]
    assert isinstance(message, ResultMessageInterface)


@pytest.mark.parametrize("release", ALL[1:])
def test_artifacts_of_query_and_commands(scripted_runtime: Start, release: str) -> None:
    runtime = scripted_runtime(generation(release, Reply(late_artifacts=LATE)))
    asked: list[str] = []

    def answer(request: ArtifactUploadRequestMessageInterface) -> tuple[str, str]:
        asked.append(request.filepath)
        return f"https://bucket/{request.filename}", "text/plain"

    shared = {"artifacts_dirs": ["/out"], "on_artifact_upload_request": answer}
    Client(runtime.url).query("Hello", QueryOptions(system_prompt="", **shared))
    Client(runtime.url).execute_commands([CommandInterface(command="ls")], ExecuteCommandsOptions(**shared))
    assert asked == LATE * 2


def test_the_result_callback_does_not_wait_for_late_artifacts(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(generation("0.15", Reply(late_artifacts=LATE[:1])))
    order: list[str] = []

    def answer(request: ArtifactUploadRequestMessageInterface) -> ArtifactUploadResult:
        order.append("artifact")
        return upload(request)

    Client(runtime.url).invoke(
        invocation(artifacts_dirs=["/out"]),
        lambda result: order.append("result"),
        on_artifact_upload_request=answer,
    )
    assert order == ["result", "artifact"]


@pytest.mark.parametrize("answer", [None, "https://bucket/a", ("https://bucket/a",)])
def test_a_callback_that_does_not_say_where_to_upload_is_told_so(scripted_runtime: Start, answer: Any) -> None:
    runtime = scripted_runtime(generation("0.15", Reply(artifacts=["/out/a.txt"])))
    with pytest.raises(TypeError, match="must return an ArtifactUploadResult or a") as caught:
        Client(runtime.url).invoke(
            invocation(artifacts_dirs=["/out"]), on_artifact_upload_request=lambda request: answer
        )
    assert "bucket" not in str(caught.value)


def test_a_drain_that_runs_out_of_time_is_a_warning(scripted_runtime: Start, caplog: pytest.LogCaptureFixture) -> None:
    def script(peer: Peer) -> None:
        peer.expect(InvocationMessage)
        peer.send(text_result("done"))
        peer.expect(EndSessionMessage)
        peer.silence()

    client = Client(scripted_runtime(script).url, drain_timeout=0.1)
    result = client.invoke(invocation(artifacts_dirs=["/out"]), on_artifact_upload_request=upload)
    assert result.text == "done"
    assert "did not end the session within 0.1 s" in caplog.text


def test_without_artifacts_or_post_agent_commands_nothing_is_drained(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(generation("0.15"))
    Client(runtime.url).invoke(invocation())
    assert [type(message) for message in runtime.received] == [InvocationMessage]


# --- post-agent commands ----------------------------------------------------------------------------

POST = {"post_agent_invocation_commands": [CommandInterface(command="make clean")]}


@pytest.mark.parametrize("release", ONE_REQUEST)
def test_a_post_agent_error_after_the_result_carries_the_result(scripted_runtime: Start, release: str) -> None:
    runtime = scripted_runtime(generation(release, Reply(post_agent_error="command failed with exit code: 1")))
    heard: list[ResultMessageInterface] = []
    with pytest.raises(AgentRuntimeError, match="^command failed with exit code: 1$") as caught:
        Client(runtime.url).invoke(invocation(**POST), heard.append)
    assert caught.value.result is not None
    assert caught.value.result.structured_output == {"success": True}
    assert heard == [caught.value.result]


@pytest.mark.parametrize("release", SESSIONS)
def test_a_post_agent_error_in_place_of_the_result(scripted_runtime: Start, release: str) -> None:
    runtime = scripted_runtime(generation(release, Reply(post_agent_error="command failed")))
    with pytest.raises(AgentRuntimeError, match="^command failed$") as caught:
        Client(runtime.url).invoke(invocation(**POST))
    assert caught.value.result is None


@pytest.mark.parametrize("release", ONE_REQUEST)
def test_a_post_agent_error_does_not_cost_artifacts(scripted_runtime: Start, release: str) -> None:
    def script(peer: Peer) -> None:
        peer.expect(InvocationMessage)
        peer.send(text_result("done"))
        peer.send(ErrorMessageInterface(error="post-agent command failed"))
        peer.send(ArtifactUploadRequestMessageInterface(filename="a.txt", filepath="/out/a.txt"))
        peer.expect(EndSessionMessage)
        peer.expect(ArtifactUploadResponseMessageInterface, filepath="/out/a.txt")

    with pytest.raises(AgentRuntimeError, match="post-agent command failed"):
        Client(scripted_runtime(script).url).invoke(
            invocation(artifacts_dirs=["/out"], **POST), on_artifact_upload_request=upload
        )


def test_output_behind_the_result_is_delivered_and_a_run_yields_the_result_last(scripted_runtime: Start) -> None:
    def script(peer: Peer) -> None:
        peer.expect(InvocationMessage)
        peer.send(text_result("done"), *say("cleaning"))
        peer.pause(0.05)

    runtime = scripted_runtime(script)
    heard: list[Any] = []
    result = Client(runtime.url).invoke(invocation(**POST), heard.append, on_assistant_message=heard.append)
    assert heard == [result, *say("cleaning")]
    with Client(runtime.url).stream(invocation(**POST)) as run:
        assert list(run) == [*say("cleaning"), result]


# --- cancelling, per generation ---------------------------------------------------------------------


@pytest.mark.parametrize("release", ALL)
def test_cancel(scripted_runtime: Start, release: str) -> None:
    runtime = scripted_runtime(generation(release, Reply(messages=say("one"), hangs=True)))
    stop = threading.Event()
    with pytest.raises(CancelledException):
        Client(runtime.url).invoke(invocation(), on_assistant_message=lambda _: stop.set(), is_cancelled=stop)
    assert [type(message) for message in runtime.received] == [InvocationMessage, CancelMessage]


@pytest.mark.parametrize("release", ALL)
def test_timeout(scripted_runtime: Start, release: str) -> None:
    runtime = scripted_runtime(generation(release, Reply(hangs=True)))
    with pytest.raises(InvocationTimeoutError, match=r"^no result within the timeout of 1\.5 s$") as caught:
        Client(runtime.url).invoke(invocation(), timeout=1.5)
    assert isinstance(caught.value, TimeoutError)
    runtime.wait_for(CancelMessage)
    assert [type(message) for message in runtime.received] == [InvocationMessage, CancelMessage]


# --- commands ---------------------------------------------------------------------------------------

MAKE = [CommandInterface(command="make"), CommandInterface(command="make test")]
FAILED = Reply(
    command_results=[
        CommandResultItem(command="make", exit_code=2),
        CommandResultItem(command="make test", exit_code=0),
    ]
)


@pytest.mark.parametrize("release", ALL[1:])
def test_commands(scripted_runtime: Start, release: str) -> None:
    runtime = scripted_runtime(generation(release))
    result = Client(runtime.url).execute_commands(MAKE, check=True)
    assert [(item.command, item.exit_code) for item in result.results] == [("make", 0), ("make test", 0)]


@pytest.mark.parametrize("release", SESSIONS)
def test_a_failed_command_is_a_result_or_with_check_an_error(scripted_runtime: Start, release: str) -> None:
    runtime = scripted_runtime(generation(release, FAILED))
    assert [item.exit_code for item in Client(runtime.url).execute_commands(MAKE).results] == [2]
    with pytest.raises(CommandFailedError, match="^command 1 failed with exit code 2$") as caught:
        Client(runtime.url).execute_commands(MAKE, check=True)
    assert caught.value.results[0].exit_code == 2


def test_a_failed_command_on_runtimes_that_report_an_error(scripted_runtime: Start) -> None:
    with pytest.raises(AgentRuntimeError, match="exit code: 2"):
        Client(scripted_runtime(generation("0.9", FAILED)).url).execute_commands(MAKE)


def test_commands_on_a_runtime_that_has_none(scripted_runtime: Start) -> None:
    with pytest.raises(AgentRuntimeError, match="command_execution_message"):
        Client(scripted_runtime(generation("0.4")).url).execute_commands(MAKE)


# --- sessions ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("release", SESSIONS)
def test_requests_of_one_session(scripted_runtime: Start, release: str) -> None:
    runtime = scripted_runtime(generation(release, Reply(result="one"), Reply(result="two"), Reply()))
    with Client(runtime.url).session() as session:
        assert session.query("1", QueryOptions(system_prompt="")).data == TextResult(text="one")
        assert session.query("2", QueryOptions(system_prompt="")).data == TextResult(text="two")
        assert len(session.execute_commands(MAKE).results) == 2
    assert len(runtime.connections) == 1


@pytest.mark.parametrize("release", ONE_REQUEST)
def test_a_second_request_on_an_older_runtime_is_a_clear_error(scripted_runtime: Start, release: str) -> None:
    runtime = scripted_runtime(generation(release, linger=0.0))
    with Client(runtime.url).session() as session:
        session.invoke(invocation())
        with pytest.raises((ConnectionLostError, AgentRuntimeError), match="one request a connection|already"):
            while True:  # until the runtime has closed
                session.invoke(invocation())


@pytest.mark.parametrize("release", SESSIONS)
def test_a_cancelled_request_leaves_nothing_to_the_next(scripted_runtime: Start, release: str) -> None:
    runtime = scripted_runtime(generation(release, Reply(messages=say("one") * 50, hangs=True), Reply(result="good")))
    stop = threading.Event()
    heard: list[Any] = []
    with Client(runtime.url).session() as session:
        with pytest.raises(CancelledException):
            session.invoke(invocation(), on_assistant_message=lambda _: stop.set(), is_cancelled=stop)
        assert session.invoke(invocation(), on_assistant_message=heard.append).text == "good"
    assert heard == []
    assert len(runtime.connections) == 1


@pytest.mark.parametrize("release", SESSIONS)
def test_a_failed_request_leaves_the_session_usable(scripted_runtime: Start, release: str) -> None:
    runtime = scripted_runtime(generation(release, Reply(error="no"), Reply(result="good")))
    with Client(runtime.url).session() as session:
        with pytest.raises(AgentRuntimeError, match="no"):
            session.invoke(invocation())
        assert session.invoke(invocation()).text == "good"


@pytest.mark.parametrize("release", SESSIONS)
def test_the_end_of_a_session_serves_the_artifacts_that_are_left(scripted_runtime: Start, release: str) -> None:
    runtime = scripted_runtime(generation(release, Reply(late_artifacts=LATE)))
    with Client(runtime.url).session() as session:
        session.invoke(invocation(artifacts_dirs=["/out"]), on_artifact_upload_request=upload)
    answers = [m for m in runtime.received if isinstance(m, ArtifactUploadResponseMessageInterface)]
    assert [answer.filepath for answer in answers] == LATE


@pytest.mark.parametrize("release", ONE_REQUEST)
def test_the_end_of_a_session_raises_a_post_agent_error(scripted_runtime: Start, release: str) -> None:
    runtime = scripted_runtime(generation(release, Reply(post_agent_error="command failed")))
    with pytest.raises(AgentRuntimeError, match="command failed") as caught:
        with Client(runtime.url).session() as session:
            session.invoke(invocation(**POST))
    assert caught.value.result is not None


def test_an_unconfirmed_cancellation_gives_the_session_up(scripted_runtime: Start) -> None:
    def script(peer: Peer) -> None:
        peer.expect(InvocationMessage)
        peer.silence()

    with Client(scripted_runtime(script).url).session() as session:
        began = time.monotonic()
        with pytest.raises(InvocationTimeoutError):
            session.invoke(invocation(), timeout=0.5)
        assert time.monotonic() - began < 5  # which abort() would wait
        with pytest.raises(Exception, match="this session is closed"):
            session.invoke(invocation())
