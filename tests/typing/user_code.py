"""What users write, for mypy --strict to judge. Never run; each ``type: ignore`` is a mistake that must be caught.

mypy reports an ``ignore`` that hides nothing, so that a signature grown too loose fails here as well.
"""

from __future__ import annotations

import enum
import logging
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Optional, TypedDict, Union

import attrs
from typing_extensions import assert_type

from runtimeuse_sync import (
    AgentRuntimeError,
    AgentRuntimeMessageInterface,
    ArtifactUploadRequestMessageInterface,
    ArtifactUploadResult,
    AssistantMessageInterface,
    CancelledException,
    Client,
    CommandExecutionMessage,
    CommandExecutionResult,
    CommandExecutionResultMessageInterface,
    CommandFailedError,
    CommandInterface,
    CommandOutputMessageInterface,
    CommandResultItem,
    CompletedCommand,
    Connection,
    ConnectionFailedError,
    ConnectionLostError,
    ErrorMessageInterface,
    ExecuteCommandsOptions,
    HeartbeatMessageInterface,
    InvocationMessage,
    InvocationTimeoutError,
    Observer,
    OutputValidationError,
    QueryOptions,
    QueryResult,
    ResultMessageInterface,
    Run,
    RuntimeEnvironmentDownloadableInterface,
    RuntimeUseClient,
    RuntimeUseError,
    StructuredOutputResult,
    TextResult,
    Usage,
)
from runtimeuse_sync.artifacts import S3Artifacts, StoredArtifact
from runtimeuse_sync.jobs import Budget, Job, Outcome, Progress
from runtimeuse_sync.journal import Entry, Fault, Replay, follow, load, record
from runtimeuse_sync.local import ClaudeAgent, CodexAgent, LocalRuntime, NodeRuntime
from runtimeuse_sync.notebook import watch
from runtimeuse_sync.otel import OpenTelemetry
from runtimeuse_sync.outputs import output_schema
from runtimeuse_sync.sandboxes import Endpoint, Sandbox, connected
from runtimeuse_sync.testing import Cassette
from runtimeuse_sync.web import sse_event, sse_journal

INVOCATION = InvocationMessage(
    message_type="invocation_message",
    source_id="nightly-7",
    system_prompt="You review code.",
    user_prompt="Review the last commit.",
    output_format_json_schema_str='{"type": "json_schema", "schema": {"type": "object"}}',
    secrets_to_redact=["s3cret"],
    agent_env={"TOKEN": "s3cret"},
    pre_agent_downloadables=[
        RuntimeEnvironmentDownloadableInterface(download_url="https://example.com/src.zip", working_dir="/src")
    ],
    post_agent_invocation_commands=[CommandInterface(command="make", cwd="/src", env={"CI": "1"})],
    artifacts_dirs=["/out"],
)


@attrs.define(kw_only=True)
class ScoredResult(ResultMessageInterface):
    custom_score: Optional[float] = None


def on_result(result: ResultMessageInterface) -> None:
    print(result.structured_output.get("success"), result.text, result.metadata)


def on_scored_result(result: ScoredResult) -> None:
    print(result.custom_score)


def on_assistant(message: AssistantMessageInterface) -> None:
    print(*message.text_blocks, sep="\n")


def on_output(message: CommandOutputMessageInterface) -> None:
    print(message.stream, message.command, message.text, end="")


def on_artifact(request: ArtifactUploadRequestMessageInterface) -> ArtifactUploadResult:
    return ArtifactUploadResult(presigned_url=f"https://example.com/{request.filename}", content_type="text/plain")


def on_artifact_as_tuple(request: ArtifactUploadRequestMessageInterface) -> tuple[str, str]:
    return f"https://example.com/{request.filename}", "text/plain"


def on_error(message: ErrorMessageInterface) -> bool:
    return "soft" in message.error


def on_heartbeat(message: HeartbeatMessageInterface) -> None:
    print(message.phase, message.elapsed_ms)


def configured_clients(context: ssl.SSLContext, tokens: list[str]) -> list[Client]:
    return [
        RuntimeUseClient(ws_url="ws://localhost:8080"),
        Client("https://sandbox.example.com/agent?port=8080", headers={"Authorization": "Bearer …"}),
        Client("wss://sandbox.example.com", headers=lambda: {"Authorization": tokens[-1]}, ssl_context=context),
        Client(
            "ws://sandbox.example.com",
            proxy=None,
            connect_timeout=5,
            ping_interval=None,
            ping_timeout=None,
            max_message_size=2**20,
            cancel_poll_interval=1.5,
            drain_timeout=10.0,
            logger=logging.getLogger("agents"),
        ),
    ]


def one_shot_calls(client: Client) -> None:
    client.wait_until_ready(timeout=30)
    client.wait_until_ready(None, is_cancelled=threading.Event())
    client.invoke(
        invocation=INVOCATION,
        on_result_message=on_result,
        result_message_cls=ResultMessageInterface,
        on_assistant_message=on_assistant,
        on_command_output=on_output,
        on_artifact_upload_request=on_artifact_as_tuple,
        on_error_message=on_error,
        on_heartbeat=on_heartbeat,
        is_cancelled=lambda: False,
        timeout=300,
        idle_timeout=60.0,
        logger=logging.LoggerAdapter(logging.getLogger(), {"run": "7"}),
    )
    assert_type(client.invoke(INVOCATION), ResultMessageInterface)
    scored = client.invoke(INVOCATION, on_scored_result, ScoredResult, is_cancelled=threading.Event())
    assert_type(scored, ScoredResult)
    assert_type(scored.custom_score, Optional[float])


def queries(client: Client) -> str:
    options = QueryOptions(
        system_prompt="Be brief.",
        model="some-model",
        artifacts_dirs=["/out"],
        on_artifact_upload_request=on_artifact,
        on_assistant_message=on_assistant,
        timeout=300,
    )
    result = client.query(prompt="How many files?", options=options)
    assert_type(ExecuteCommandsOptions().redacted(["a"]), list[str])
    assert_type(result, QueryResult)
    assert_type(result.metadata, Optional[dict[str, Any]])
    if isinstance(result.data, TextResult):
        return result.data.text
    assert_type(result.data, StructuredOutputResult)
    return str(result.data.structured_output["count"])


class Loopback:
    """A transport of the user's own, and its own connection."""

    was_opened = True

    def connection(self) -> Connection:
        return self

    def open(self, timeout: Optional[float]) -> None:
        self.inbox: list[AgentRuntimeMessageInterface] = []

    def send(self, message: object) -> None:
        if isinstance(message, InvocationMessage):
            self.inbox.append(ResultMessageInterface(data=TextResult(text=message.user_prompt)))

    def receive(self, timeout: float) -> list[AgentRuntimeMessageInterface]:
        batch, self.inbox = self.inbox, []
        return batch

    def wake(self) -> None:
        pass

    def close(self, timeout: float) -> None:
        pass


def custom_transport() -> None:
    Client(transport=Loopback())
    Client(transport=object())  # type: ignore[arg-type]


def commands(client: Client) -> list[CommandResultItem]:
    done = client.execute_commands(
        commands=[CommandInterface(command="make test")],
        options=ExecuteCommandsOptions(on_command_output=on_output, timeout=60),
    )
    assert_type(done, CommandExecutionResult)
    assert_type(done.results[0].exit_code, int)
    return client.execute_commands([CommandInterface(command="true")], check=True).results


def streams(client: Client) -> ResultMessageInterface:
    with client.stream(INVOCATION, timeout=60) as run:
        for message in run:
            assert_type(message, AgentRuntimeMessageInterface)
            if isinstance(message, AssistantMessageInterface):
                print(message.text_blocks)
            elif isinstance(message, ErrorMessageInterface):
                run.cancel()
    return run.result


def sessions(client: Client) -> None:
    with client.session() as session:
        assert_type(session.query("Hello", QueryOptions(system_prompt="Be brief.")), QueryResult)
        assert_type(session.execute_commands([CommandInterface(command="ls")], check=True), CommandExecutionResult)
        assert_type(session.invoke(INVOCATION, result_message_cls=ScoredResult), ScoredResult)
        threading.Timer(5, session.abort).start()
        with session.stream(INVOCATION) as run:
            assert_type(next(iter(run)), AgentRuntimeMessageInterface)
    client.abort()


def errors(client: Client) -> object:
    try:
        return client.execute_commands([CommandInterface(command="make")], check=True)
    except CommandFailedError as error:
        return assert_type(error.results, list[CommandResultItem])
    except AgentRuntimeError as error:
        return error.error, error.metadata, assert_type(error.result, Optional[ResultMessageInterface])
    except ConnectionFailedError as error:
        return assert_type(error.status, Optional[int])
    except ConnectionLostError as error:
        return assert_type(error.code, int), assert_type(error.reason, str)
    except (CancelledException, InvocationTimeoutError):
        return None


def keywords(client: Client) -> None:
    assert_type(client.query("Hello", system_prompt="Be brief.", timeout=60), QueryResult)
    assert_type(client.query("Hello", QueryOptions(), is_cancelled=threading.Event()), QueryResult)
    assert_type(client.with_options(model="large"), Client)
    assert_type(Client.from_env(connect_timeout=5.0), Client)
    with client.stream("Hello", timeout=60, tick=1.0) as run:
        assert_type(run, Run[ResultMessageInterface])
    commands = [CommandInterface(command="ls")]
    assert_type(client.execute_commands(commands, timeout=60, check=True), CommandExecutionResult)
    with client.stream_commands(commands, timeout=60) as command_run:
        assert_type(command_run.result, CommandExecutionResultMessageInterface)


@attrs.define
class Stats:
    files: int


@attrs.define(kw_only=True)
class ScoredStats(ResultMessageInterface[Stats]):
    custom_score: Optional[float] = None


class Size(TypedDict):
    lines: int


class Point(NamedTuple):
    x: int


class Colour(enum.Enum):
    RED = "red"


def typed_answers(client: Client) -> None:
    assert_type(client.query("Count.").output, Union[str, dict[str, Any]])
    assert_type(client.query("Count.", output_type=Stats), QueryResult[Stats])
    assert_type(client.query("Count.", QueryOptions(), output_type=Stats, timeout=60).output.files, int)
    assert_type(client.query("Count.", output_type=Size, output_repairs=2).output, Size)
    assert_type(client.query("Where?", output_type=Point).output, Point)
    assert_type(client.query("Which?", output_type=Colour).output, Colour)
    assert_type(client.query("Count.", output_type=list[Stats]).output, list[Stats])
    assert_type(client.query("Count.", output_type=dict[str, int]).output, dict[str, int])
    assert_type(client.query("Count.", output_type=Optional[int]).output, Optional[int])
    assert_type(client.query("Count.", output_type={"type": "object"}), QueryResult[Any])
    assert_type(output_schema(Stats), dict[str, Any])
    assert_type(client.invoke(INVOCATION).output, Union[str, dict[str, Any]])
    assert_type(client.invoke(INVOCATION, output_type=Stats, timeout=60).output, Stats)
    assert_type(client.invoke(INVOCATION, result_message_cls=ScoredStats, output_type=Stats), ScoredStats)
    assert_type(client.invoke(INVOCATION, None, ScoredStats, output_type=Stats).output, Stats)
    with client.session() as session:
        assert_type(session.query("Count.", output_type=Stats).output, Stats)
    with client.stream("Count.", output_type=Stats, tick=1.0) as run:
        assert_type(run.result.output, Stats)
    with client.stream(INVOCATION, output_type=Stats, output_repairs=1, timeout=60) as run_of_message:
        assert_type(run_of_message.result.output, Stats)
    try:
        client.query("Count.", output_type=Stats)
    except OutputValidationError as error:
        assert_type(error.path, str)
        assert_type(error.result, Optional[ResultMessageInterface])


def files(client: Client) -> None:
    assert_type(client.run("make", cwd="/src", env={"CI": "1"}, input=b"", check=True, timeout=60), CompletedCommand)
    client.upload(Path("src"), "/srv/src", ignore="*.pyc\n", timeout=60)
    client.download("/srv/out", "out", max_files=10, on_progress=lambda done, total: print(done / total))
    answer = client.query("Count.", output_type=Stats, uploads={"/srv/src": "src"}, downloads={"/srv/out": Path("out")})
    assert_type(answer, QueryResult[Stats])
    assert_type(answer.usage + answer.usage, Usage)
    assert_type(answer.usage.cost_usd, Optional[float])


def artifacts_in_a_bucket(client: Client) -> None:
    with S3Artifacts("bucket", prefix="runs/{source_id}") as artifacts:
        client.query("Draw.", artifacts_dirs=["/out"], on_artifact_upload_request=artifacts)
        assert_type(artifacts.wait(timeout=60), dict[str, StoredArtifact])
        assert_type(artifacts.download_to(Path("out")), dict[str, Path])


def json_both_ways(result: QueryResult) -> None:
    assert_type(result.to_dict(), dict[str, Any])
    assert_type(QueryResult.from_dict(result.to_dict()), QueryResult)
    assert_type(CommandResultItem.from_dict({}), CommandResultItem)


def jobs_and_maps(client: Client, others: list[Client]) -> None:
    with client as same:
        assert_type(same, Client)
        job = same.submit("Count.", timeout=60)
        assert_type(job.result(timeout=5).output, Union[str, dict[str, Any]])
        typed = same.submit("Count.", QueryOptions(), output_type=Stats, output_repairs=1)
        assert_type(typed, Job[Stats])
        assert_type(typed.result().output, Stats)
        assert_type(same.submit("Count.", output_type=list[Stats]).result().output, list[Stats])
        assert_type(same.submit("Count.", output_type={"type": "object"}).result().output, Any)
        for message in job.messages():
            assert_type(message, AgentRuntimeMessageInterface)
        for done in as_completed([job, same.submit("Again.")]):
            assert_type(done.result().output, Union[str, dict[str, Any]])
        print(job.status.state == "running", job.usage.cost_usd, job.cancel())
    for outcome in client.map(["1", "2"], at_once=4, budget=Budget(cost_usd=5), rate=0.5, model="large"):
        assert_type(outcome.output, Union[str, dict[str, Any]])
    for counted in client.map(iter(["1"]), output_type=Stats, clients=others, when_stopped="wait"):
        assert_type(counted, Outcome[Stats])
        assert_type(counted.result, Optional[QueryResult[Stats]])
        assert_type(counted.output.files, int)
        print(counted.index, counted.prompt, counted.error, counted.usage, counted.duration)
    client.map(["1"], on_progress=on_progress).close()
    client.map(["1"], at_once="4")  # type: ignore[call-overload]
    client.map([1])  # type: ignore[list-item]
    client.submit("1", at_once=4)  # type: ignore[call-overload]


def on_progress(progress: Progress) -> None:
    print(progress.done, progress.total, progress.rate, progress.seconds_left)


def mistakes(client: Client) -> None:
    def on_artifact_without_type(request: ArtifactUploadRequestMessageInterface) -> str:
        return request.filename

    client.invoke(INVOCATION, result_message_cls=dict)  # type: ignore[type-var]
    client.invoke(INVOCATION, on_artifact_upload_request=on_artifact_without_type)  # type: ignore[arg-type]
    client.invoke(INVOCATION, timeout="300")  # type: ignore[call-overload]
    client.query("Hello", sytem_prompt="Be brief.")  # type: ignore[call-overload]
    client.query("Hello", timeout="60")  # type: ignore[call-overload]
    client.query("Hello", uploads=["src"])  # type: ignore[call-overload]
    client.upload(5, "/srv/src")  # type: ignore[arg-type]
    client.query("Hello", output_type=5)  # type: ignore[call-overload]
    print(client.query("Hello", output_type=Stats).output.fils)  # type: ignore[attr-defined]
    client.execute_commands([CommandInterface(command="ls")], model="large")  # type: ignore[call-arg]
    client.stream("Hello", result_message_cls=ResultMessageInterface)  # type: ignore[call-overload]
    client.execute_commands([5])  # type: ignore[list-item]
    InvocationMessage(system_prompt="Be brief.")  # type: ignore[call-arg]
    CommandExecutionMessage(commands=CommandInterface(command="ls"))  # type: ignore[arg-type]


def sandboxes(sandbox: Sandbox) -> None:
    @contextmanager
    def of_a_provider() -> Iterator[Endpoint]:
        yield Endpoint("https://example.com", headers={"X-Token": "s3cret"})

    for each in (sandbox, of_a_provider(), LocalRuntime(lambda invocation, sender: "done")):
        with connected(each, ready_timeout=None, connect_timeout=5) as client:
            assert_type(client, Client)
    connected(threading.Lock())  # type: ignore[arg-type]


def node_runtime() -> None:
    with NodeRuntime("--agent", "claude", command="npx -y runtimeuse", env={"A": "b"}) as runtime:
        assert_type(runtime, NodeRuntime)
        assert_type(runtime.output, str)
    with connected(NodeRuntime(cwd=Path("."))) as client:
        assert_type(client, Client)
    NodeRuntime(port="8080")  # type: ignore[arg-type]


def known_agents() -> None:
    LocalRuntime(ClaudeAgent("--permission-mode", "acceptEdits", cwd="."))
    LocalRuntime(CodexAgent(program="/opt/codex"))
    ClaudeAgent(["-p"])  # type: ignore[arg-type]


def traced(client: Client) -> None:
    assert_type(client.with_observers(OpenTelemetry(provider="anthropic", content=True)), Client)
    Client("ws://localhost:8080", observers=[OpenTelemetry()])
    OpenTelemetry(provider=5)  # type: ignore[arg-type]
    Client("ws://localhost:8080", observers=OpenTelemetry())  # type: ignore[arg-type]


def test_of_a_cassette(runtime_cassette: Cassette) -> None:
    assert_type(runtime_cassette.path, Path)
    assert_type(runtime_cassette.is_recording, bool)
    assert_type(runtime_cassette.missing, list[str])


def in_a_notebook(client: Client) -> None:
    assert_type(watch(client.stream("Hello")), ResultMessageInterface)
    assert_type(watch(client.stream("Hello", output_type=Stats)).output, Stats)
    assert_type(watch(client.stream_commands([CommandInterface(command="ls")])).results, list[CommandResultItem])
    watch("Hello")  # type: ignore[arg-type]


def on_a_page() -> None:
    assert_type(sse_journal(Path("run.jsonl"), last_event_id=None), Iterator[str])
    assert_type(sse_event(1, {"message_type": "end"}), str)
    for entry in follow("run.jsonl"):
        assert_type(entry, Entry)
    for entry_or_none in follow("run.jsonl", tick=1.0):
        assert_type(entry_or_none, Optional[Entry])


def journals(client: Client, meter: Observer) -> None:
    assert_type(client.with_observers(meter), Client)
    with record(client, Path("run.jsonl"), fsync=True) as recorded:
        assert_type(recorded, Client)
    for run in load("run.jsonl"):
        assert_type(run.usage, Usage)
        assert_type(run.duration, float)
        assert_type(run.error, Optional[RuntimeUseError])
    for entry in follow("run.jsonl", after=17):
        assert_type(entry, Entry)
        assert_type(entry.number, int)
    assert_type(Client(transport=Replay("run.jsonl", faults=[Fault.cut(3)])), Client)
    record(5, "run.jsonl")  # type: ignore[arg-type]
