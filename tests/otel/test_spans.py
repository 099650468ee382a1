"""The spans of calls, as an SDK exports them."""

from __future__ import annotations

import asyncio
import json
import pickle
import threading
from typing import Any, Callable, Optional

import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from runtimeuse_sync import (
    AgentRuntimeError,
    ArtifactUploadResult,
    AssistantMessageInterface,
    CancelledException,
    Client,
    CommandOutputMessageInterface,
    ConnectionFailedError,
    ErrorMessageInterface,
    HeartbeatMessageInterface,
    InvocationMessage,
    InvocationTimeoutError,
)
from runtimeuse_sync.otel import OpenTelemetry
from runtimeuse_sync.testing import Reply, ScriptedRuntime, generation
from runtimeuse_sync.web import AsyncStream

from ..support import invocation, port_without_listener
from .conftest import Telemetry

Start = Callable[..., ScriptedRuntime]

CLAUDE = {
    "total_cost_usd": 0.25,
    "num_turns": 3,
    "session_id": "s-1",
    "usage": {
        "input_tokens": 10,
        "output_tokens": 20,
        "cache_read_input_tokens": 300,
        "cache_creation_input_tokens": 4000,
    },
}


def heartbeat(phase: str) -> HeartbeatMessageInterface:
    return HeartbeatMessageInterface(phase=phase, elapsed_ms=1)


def tree(telemetry: Telemetry) -> dict[str, Any]:
    """The names of the spans, by that of their parent."""
    names = {span.context.span_id: span.name for span in telemetry.spans if span.context}
    found: dict[str, Any] = {}
    for span in telemetry.spans:
        found.setdefault(names.get(span.parent.span_id) if span.parent else None, []).append(span.name)
    return found


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def test_a_call_is_a_span_of_the_conventions(scripted_runtime: Start, telemetry: Telemetry) -> None:
    runtime = scripted_runtime(generation("0.15", Reply(result={"files": 3}, metadata=CLAUDE)))
    client = Client(runtime.url, observers=[telemetry.observer(provider="anthropic")])
    schema = '{"type": "json_schema", "schema": {"type": "object"}}'
    with telemetry.tracer.start_as_current_span("the view"):
        client.invoke(invocation(model="opus", source_id="job-7", output_format_json_schema_str=schema))
    assert tree(telemetry) == {None: ["the view"], "the view": ["invoke_agent"], "invoke_agent": ["connect"]}
    span = telemetry.span("invoke_agent")
    assert span.kind is SpanKind.CLIENT
    assert span.status.status_code is StatusCode.UNSET
    port = int(runtime.url.rpartition(":")[2])
    assert attributes(span) == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": "opus",
        "gen_ai.output.type": "json",
        "gen_ai.conversation.id": "s-1",
        "gen_ai.usage.input_tokens": 4310,
        "gen_ai.usage.output_tokens": 20,
        "gen_ai.usage.cache_read.input_tokens": 300,
        "gen_ai.usage.cache_creation.input_tokens": 4000,
        "runtimeuse.usage.cost_usd": 0.25,
        "runtimeuse.usage.turns": 3,
        "runtimeuse.source_id": "job-7",
        "server.address": "127.0.0.1",
        "server.port": port,
    }


def test_a_call_that_asks_again_took_what_its_answers_took(scripted_runtime: Start, telemetry: Telemetry) -> None:
    pytest.importorskip("msgspec")
    replies = [Reply(result={"value": answer}, metadata=CLAUDE) for answer in ("three", 3)]
    client = Client(scripted_runtime(generation("0.15", *replies)).url, observers=[telemetry.observer()])
    assert client.query("How many?", output_type=int, output_repairs=1).output == 3
    span = telemetry.span("invoke_agent")
    assert attributes(span)["gen_ai.usage.output_tokens"] == 40
    assert attributes(span)["runtimeuse.usage.cost_usd"] == 0.5


def test_phases_and_the_drain_follow_each_other(scripted_runtime: Start, telemetry: Telemetry) -> None:
    beats = [heartbeat(phase) for phase in ("downloads", "downloads", "agent")]
    script = generation("0.15", Reply(messages=beats, artifacts=["/out/a"], late_artifacts=["/out/b"]))
    client = Client(scripted_runtime(script).url, observers=[telemetry.observer()])
    upload = ArtifactUploadResult(presigned_url="http://127.0.0.1:9/x?signature=hush", content_type="text/plain")
    client.invoke(invocation(artifacts_dirs=["/out"]), on_artifact_upload_request=lambda _: upload)
    assert tree(telemetry) == {
        None: ["invoke_agent"],
        "invoke_agent": ["connect", "phase downloads", "phase agent", "drain"],
    }
    parts = telemetry.spans[1:]
    assert all(one.end_time <= next_one.start_time for one, next_one in zip(parts, parts[1:]))
    assert attributes(telemetry.span("phase agent")) == {"runtimeuse.phase": "agent"}
    events = telemetry.span("invoke_agent").events
    assert [(event.name, dict(event.attributes or {})) for event in events] == [("runtimeuse.artifact", {})] * 2


def test_a_peer_cannot_make_phases_without_end(scripted_runtime: Start, telemetry: Telemetry) -> None:
    beats = [heartbeat(f"\x1b[2Jphase {number}" + "x" * 1000) for number in range(300)]
    runtime = scripted_runtime(generation("0.15", Reply(messages=beats)))
    Client(runtime.url, observers=[telemetry.observer()]).query("Hello")
    assert len(telemetry.spans) == 2 + 100
    assert all(span.name.isprintable() and len(span.name) < 80 for span in telemetry.spans)


# --- failures -------------------------------------------------------------------------------------------


def test_an_error_of_the_agent(scripted_runtime: Start, telemetry: Telemetry) -> None:
    runtime = scripted_runtime(generation("0.15", Reply(error="rate limited", metadata=CLAUDE)))
    with pytest.raises(AgentRuntimeError):
        Client(runtime.url, observers=[telemetry.observer()]).query("Hello")
    span = telemetry.span("invoke_agent")
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, None)
    assert attributes(span)["error.type"] == "AgentRuntimeError"
    assert attributes(span)["gen_ai.usage.output_tokens"] == 20
    assert [event.name for event in span.events] == ["runtimeuse.error"]


def test_an_excused_error_is_an_event_alone(scripted_runtime: Start, telemetry: Telemetry) -> None:
    soft = ErrorMessageInterface(error="a tool failed")
    runtime = scripted_runtime(generation("0.15", Reply(messages=[soft])))
    client = Client(runtime.url, observers=[telemetry.observer()])
    client.query("Hello", on_error_message=lambda _: True)
    span = telemetry.span("invoke_agent")
    assert span.status.status_code is StatusCode.UNSET
    assert [event.name for event in span.events] == ["runtimeuse.error"]


def test_a_runtime_that_is_not_there(telemetry: Telemetry) -> None:
    with port_without_listener() as port, pytest.raises(ConnectionFailedError):
        Client(f"ws://127.0.0.1:{port}", observers=[telemetry.observer()]).query("Hello")
    for name in ("invoke_agent", "connect"):
        assert telemetry.span(name).status.status_code is StatusCode.ERROR
        assert attributes(telemetry.span(name))["error.type"] == "ConnectionFailedError"


def test_what_the_caller_does_is_a_type_too(scripted_runtime: Start, telemetry: Telemetry) -> None:
    runtime = scripted_runtime(generation("0.15", Reply(messages=[AssistantMessageInterface(text_blocks=["hi"])])))
    client = Client(runtime.url, observers=[telemetry.observer()])

    class OwnError(Exception):
        pass

    def fail(error: Exception) -> Callable[[Any], None]:
        def callback(_: Any) -> None:
            raise error

        return callback

    for error in (OwnError(), ValueError("a secret")):
        with pytest.raises(type(error)):
            client.query("Hello", on_assistant_message=fail(error))
    types = [attributes(span)["error.type"] for span in telemetry.spans if span.name == "invoke_agent"]
    assert types == [f"{__name__}.{OwnError.__qualname__}", "ValueError"]


def test_limits_and_cancelling(scripted_runtime: Start, telemetry: Telemetry) -> None:
    client = Client(scripted_runtime(generation("0.15", Reply(hangs=True))).url, observers=[telemetry.observer()])
    with pytest.raises(InvocationTimeoutError):
        client.query("Hello", timeout=0.3)
    with pytest.raises(CancelledException):
        client.query("Hello", is_cancelled=lambda: True)
    types = [attributes(span)["error.type"] for span in telemetry.spans if span.name == "invoke_agent"]
    assert types == ["InvocationTimeoutError", "CancelledException"]


# --- content --------------------------------------------------------------------------------------------

SECRET = "hunter2"
WORDS = ["the system prompt", "the question", "the answer", "the assistant", "printed", "the tool failed", "/out/file"]


def talk(scripted_runtime: Start, observer: OpenTelemetry) -> None:
    reply = Reply(
        messages=[
            AssistantMessageInterface(text_blocks=["the assistant"]),
            CommandOutputMessageInterface(stream="stdout", text="printed", command="ls"),
            ErrorMessageInterface(error=f"the tool failed with {SECRET}"),
        ],
        artifacts=["/out/file"],
        result=f"the answer is {SECRET}",
    )
    client = Client(
        scripted_runtime(generation("0.15", reply)).url + "/path?token=in-the-query",
        headers={"Authorization": "Bearer in-a-header"},
        observers=[observer],
    )
    message = InvocationMessage(
        system_prompt="the system prompt",
        user_prompt=f"the question: {SECRET}",
        agent_env={"API_KEY": "in-the-environment"},
        secrets_to_redact=[SECRET],
        artifacts_dirs=["/out"],
    )
    upload = ArtifactUploadResult(presigned_url="http://127.0.0.1:9/x?signature=of-the-url", content_type="text/plain")
    client.invoke(message, on_artifact_upload_request=lambda _: upload, on_error_message=lambda _: True)


def exported(telemetry: Telemetry) -> str:
    return "".join(span.to_json() for span in telemetry.spans)


def test_nothing_that_was_said_is_in_a_span(scripted_runtime: Start, telemetry: Telemetry) -> None:
    talk(scripted_runtime, telemetry.observer())
    text = exported(telemetry)
    assert "invoke_agent" in text
    for word in [*WORDS, SECRET, "in-the-query", "in-a-header", "in-the-environment", "of-the-url"]:
        assert word not in text


def test_content_for_who_asks_for_it_is_without_secrets(scripted_runtime: Start, telemetry: Telemetry) -> None:
    talk(scripted_runtime, telemetry.observer(content=True))
    span = telemetry.span("invoke_agent")
    found = attributes(span)
    asked = {"role": "user", "parts": [{"type": "text", "content": "the question: [REDACTED]"}]}
    assert json.loads(found["gen_ai.input.messages"]) == [asked]
    assert json.loads(found["gen_ai.system_instructions"]) == [{"type": "text", "content": "the system prompt"}]
    (answer,) = json.loads(found["gen_ai.output.messages"])
    assert answer["parts"] == [{"type": "text", "content": "the answer is [REDACTED]"}]
    assert [dict(event.attributes or {}) for event in span.events] == [
        {"runtimeuse.error.text": "the tool failed with [REDACTED]"},
        {"runtimeuse.artifact.path": "/out/file"},
    ]
    for secret in (SECRET, "in-the-query", "in-a-header", "in-the-environment", "of-the-url"):
        assert secret not in exported(telemetry)


def test_the_words_of_the_error_are_content(scripted_runtime: Start, telemetry: Telemetry) -> None:
    runtime = scripted_runtime(generation("0.15", Reply(error=f"no {SECRET}")))
    client = Client(runtime.url, observers=[telemetry.observer(content=True)])
    with pytest.raises(AgentRuntimeError):
        client.query("Hello", secrets_to_redact=[SECRET])
    assert telemetry.span("invoke_agent").status.description == "no [REDACTED]"


# --- context --------------------------------------------------------------------------------------------


def ids(of: Optional[trace.SpanContext]) -> Optional[tuple[int, int]]:
    return of and (of.trace_id, of.span_id)


def parent_in(traceparent: str) -> Optional[tuple[int, int]]:
    """The span that a program would be a child of which finds this in its environment."""
    found = TraceContextTextMapPropagator().extract({"traceparent": traceparent})
    return ids(trace.get_current_span(found).get_span_context())


def test_a_command_in_the_sandbox_is_a_child_of_the_callers_span(
    local_runtime: Callable[..., Any], telemetry: Telemetry
) -> None:
    client = Client(local_runtime(lambda *_: "done").url, observers=[telemetry.observer()])
    with telemetry.tracer.start_as_current_span("the view") as view:
        token = context.attach(baggage.set_baggage("tenant", "blue"))
        try:
            result = client.execute_commands(['printf "$TRACEPARENT $BAGGAGE"'], check=True)
        finally:
            context.detach(token)
    traceparent, bag = (result.results[0].stdout or "").split()
    command = telemetry.span("execute_commands")
    assert parent_in(traceparent) == ids(command.context)
    assert command.parent == view.get_span_context()
    assert bag == "tenant=blue"


def test_an_agent_gets_the_context_and_keeps_what_the_caller_sets(
    local_runtime: Callable[..., Any], telemetry: Telemetry
) -> None:
    seen: list[dict[str, str]] = []
    runtime = local_runtime(lambda invocation, _: seen.append(invocation.agent_env or {}) or "done")
    client = Client(runtime.url, observers=[telemetry.observer()])
    client.query("Hello", agent_env={"A": "1"})
    client.query("Hello", agent_env={"TRACEPARENT": "my own"})
    assert seen[0].keys() == {"A", "TRACEPARENT"}
    assert parent_in(seen[0]["TRACEPARENT"]) == ids(telemetry.spans[0].context)
    assert seen[1] == {"TRACEPARENT": "my own"}


def test_a_stream_belongs_to_where_it_was_made(scripted_runtime: Start, telemetry: Telemetry) -> None:
    # As a view's does, which the server iterates when the view has returned, or on a thread of its own.
    client = Client(scripted_runtime(generation("0.15")).url, observers=[telemetry.observer()])
    with telemetry.tracer.start_as_current_span("the view"):
        run = client.stream(invocation())

    def serve() -> None:
        with run:
            list(run)

    thread = threading.Thread(target=serve)
    thread.start()
    thread.join()
    assert tree(telemetry)["the view"] == ["invoke_agent"]


def test_a_stream_on_an_event_loop_belongs_to_its_task(scripted_runtime: Start, telemetry: Telemetry) -> None:
    client = Client(scripted_runtime(generation("0.15")).url, observers=[telemetry.observer()])

    async def view() -> None:
        with telemetry.tracer.start_as_current_span("the view"):
            async with AsyncStream(client.stream(invocation())) as messages:
                assert [message async for message in messages]

    asyncio.run(view())
    assert tree(telemetry)["the view"] == ["invoke_agent"]


def test_streams_that_overlap_keep_to_their_own(scripted_runtime: Start, telemetry: Telemetry) -> None:
    client = Client(scripted_runtime(generation("0.15")).url, observers=[telemetry.observer()])
    with telemetry.tracer.start_as_current_span("one"):
        one = client.stream(invocation()).__enter__()
    with telemetry.tracer.start_as_current_span("two"):
        two = client.stream(invocation()).__enter__()
    for run in (one, two):
        list(run)
        run.__exit__(None, None, None)
    assert tree(telemetry) == {
        None: ["one", "two"],
        "one": ["invoke_agent"],
        "two": ["invoke_agent"],
        "invoke_agent": ["connect", "connect"],
    }
    assert not trace.get_current_span().get_span_context().is_valid


# --- where it is used -----------------------------------------------------------------------------------


def test_a_session_connects_once_and_its_end_is_a_call(scripted_runtime: Start, telemetry: Telemetry) -> None:
    script = generation("0.15", Reply(late_artifacts=["/out/a"]), Reply())
    client = Client(scripted_runtime(script).url, observers=[telemetry.observer()])
    upload = ArtifactUploadResult(presigned_url="http://127.0.0.1:9/x", content_type="text/plain")
    with client.session() as session:
        session.invoke(invocation(artifacts_dirs=["/out"]), on_artifact_upload_request=lambda _: upload)
        session.query("Hello")
    assert tree(telemetry) == {None: ["invoke_agent", "invoke_agent", "end_session"], "end_session": ["drain"]}


def test_it_pickles_with_its_client(scripted_runtime: Start) -> None:
    client = Client(scripted_runtime(generation("0.15")).url, observers=[OpenTelemetry(content=True)])
    copy: Client = pickle.loads(pickle.dumps(client))
    assert isinstance(copy.observers[0], OpenTelemetry)
    assert copy.query("Hello").output is not None


def test_without_an_sdk_nothing_is_added(local_runtime: Callable[..., Any]) -> None:
    client = Client(local_runtime(lambda *_: "done").url, observers=[OpenTelemetry()])
    assert client.execute_commands(['printf "<$TRACEPARENT>"']).results[0].stdout == "<>"
