"""A run as server-sent events and as lines of JSON."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from typing import Any, Callable, Optional

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runtimeuse_sync import (
    AgentRuntimeMessageInterface,
    AssistantMessageInterface,
    CancelMessage,
    Client,
    CommandInterface,
    EndSessionConfirmMessage,
    EndSessionMessage,
    ErrorMessageInterface,
    InvocationMessage,
    ResultMessageInterface,
    TextResult,
)
from runtimeuse_sync.testing import Reply, ScriptedRuntime, generation
from runtimeuse_sync.web import NDJSON_HEADERS, SSE_HEADERS, EncodedRun, ndjson, sse

from ..support import ALL, invocation

Start = Callable[..., ScriptedRuntime]

HELLO = AssistantMessageInterface(text_blocks=["hello"])
HANGS = Reply(messages=[HELLO], hangs=True)
END = {"message_type": "end"}


@attrs.frozen
class Event:
    """What a browser makes of an event."""

    id: str
    type: str
    data: str


def events(stream: str) -> list[Event]:
    """What a browser reads: as the standard of HTML says, but that it knows no fields besides these three."""
    found, last_id = [], ""
    fields: dict[str, str] = {}
    for line in stream.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        name, _, value = line.partition(":")
        if not line and "data" in fields:
            found.append(Event(last_id, fields.get("event", "message"), fields["data"]))
        if not line:
            fields = {}
        elif name == "id" and "\0" not in value:
            last_id = value[1:]
        elif name:
            assert name in ("event", "data"), f"no such field: {name!r}"
            assert name not in fields, f"twice in one event: {name}"
            fields[name] = value[1:]
    return found


def client_of(runtime: ScriptedRuntime) -> Client:
    return Client(runtime.url)


# --- server-sent events ------------------------------------------------------------------------------


@pytest.mark.parametrize("release", ALL)
def test_each_message_is_an_event_with_its_type_and_a_number(scripted_runtime: Start, release: str) -> None:
    runtime = scripted_runtime(generation(release, Reply(messages=[HELLO])))
    found = events("".join(sse(client_of(runtime).stream(invocation()))))
    assert [(event.id, event.type) for event in found] == [
        ("1", "assistant_message"),
        ("2", "result_message"),
        ("3", "end"),
    ]
    assert json.loads(found[0].data) == {"message_type": "assistant_message", "text_blocks": ["hello"]}
    assert json.loads(found[1].data)["data"]["structured_output"] == {"success": True}


@pytest.mark.parametrize("release", ALL)
def test_a_silent_run_is_kept_alive_by_comments(scripted_runtime: Start, release: str) -> None:
    runtime = scripted_runtime(generation(release, Reply(hangs=True)))
    with sse(client_of(runtime).stream(invocation(), tick=0.01)) as chunks:
        assert next(chunks) == ": alive\n\n"
        runtime.wait_for(InvocationMessage)  # a tick comes while it connects, too
        assert next(chunks) == ": alive\n\n"
        assert events(": alive\n\n") == []
    runtime.wait_for(CancelMessage)


def test_comments_are_not_counted(scripted_runtime: Start) -> None:
    go_on = threading.Event()

    def script(peer: Any) -> None:
        peer.expect(InvocationMessage)
        assert go_on.wait(5)
        peer.send(HELLO)
        peer.expect(CancelMessage)

    with sse(client_of(scripted_runtime(script)).stream(invocation(), tick=0.01)) as chunks:
        assert next(chunks) == ": alive\n\n"
        go_on.set()
        assert next(chunk for chunk in chunks if not chunk.startswith(":")).startswith("id: 1\n")


def test_the_result_does_not_wait_for_what_follows_it(scripted_runtime: Start) -> None:
    has_result = threading.Event()

    def script(peer: Any) -> None:
        peer.expect(InvocationMessage)
        peer.send(ResultMessageInterface(data=TextResult(text="done")))
        peer.expect(EndSessionMessage)
        assert has_result.wait(5)
        peer.send(HELLO)
        peer.send(EndSessionConfirmMessage())

    request = invocation(post_agent_invocation_commands=[CommandInterface(command="make report")])
    chunks = sse(client_of(scripted_runtime(script)).stream(request))
    first = next(chunks)
    has_result.set()
    found = [event.type for event in events(first + "".join(chunks))]
    assert found == ["result_message", "assistant_message", "end"]


def test_an_error_of_the_runtime_is_an_event_and_then_comes_the_end(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(generation("0.15", Reply(error="rate limited")))
    found = events("".join(sse(client_of(runtime).stream(invocation()))))
    assert [(event.type, json.loads(event.data)) for event in found] == [
        ("error", {"message_type": "error", "error": "AgentRuntimeError", "message": "rate limited"}),
        ("end", END),
    ]


def test_a_runtime_that_is_not_there_is_an_error_too(scripted_runtime: Start) -> None:
    found = events("".join(sse(client_of(scripted_runtime(refuse=401)).stream(invocation()))))
    assert json.loads(found[0].data)["error"] == "ConnectionFailedError"
    assert found[1].type == "end"


def test_a_strangers_exception_is_named_and_then_raised(scripted_runtime: Start) -> None:
    def where_to(request: Any) -> Any:
        raise OSError("no such bucket: https://bucket.example.com/?signature=s3cret")

    runtime = scripted_runtime(generation("0.15", Reply(artifacts=["/out/a.txt"])))
    request = invocation(artifacts_dirs=["/out"])
    chunks = sse(client_of(runtime).stream(request, on_artifact_upload_request=where_to))
    found = events(next(chunks) + next(chunks))
    assert json.loads(found[0].data) == {"message_type": "error", "error": "OSError", "message": "the server failed"}
    assert found[1].type == "end"
    with pytest.raises(OSError, match="no such bucket"):
        next(chunks)


# --- lines of JSON -----------------------------------------------------------------------------------


def test_each_message_is_a_line(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(generation("0.15", Reply(messages=[HELLO], result="done")))
    lines = list(ndjson(client_of(runtime).stream(invocation())))
    assert all(line.endswith("\n") and line.count("\n") == 1 for line in lines)
    first, result, end = map(json.loads, lines)
    assert first == {"message_type": "assistant_message", "text_blocks": ["hello"]}
    assert result["data"]["text"] == "done"
    assert end == END


def test_a_silent_run_is_kept_alive_by_empty_lines(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(generation("0.15", Reply(hangs=True)))
    with ndjson(client_of(runtime).stream(invocation(), tick=0.01)) as lines:
        assert next(lines) == "\n"


# --- leaving -----------------------------------------------------------------------------------------

ENCODERS = pytest.mark.parametrize("encode", [sse, ndjson])


@ENCODERS
def test_closing_cancels_the_run(scripted_runtime: Start, encode: Callable[..., EncodedRun]) -> None:
    runtime = scripted_runtime(generation("0.15", HANGS))
    chunks = encode(client_of(runtime).stream(invocation()))
    next(chunks)
    chunks.close()
    runtime.wait_for(CancelMessage)
    assert list(chunks) == []


@ENCODERS
def test_what_nobody_iterates_connects_to_nothing(scripted_runtime: Start, encode: Callable[..., EncodedRun]) -> None:
    runtime = scripted_runtime(generation("0.15"))
    with encode(client_of(runtime).stream(invocation())) as chunks:
        pass
    assert list(chunks) == []
    assert runtime.connections == []


@ENCODERS
def test_cancelling_from_another_thread_is_told(scripted_runtime: Start, encode: Callable[..., EncodedRun]) -> None:
    runtime = scripted_runtime(generation("0.15", HANGS))
    chunks = encode(client_of(runtime).stream(invocation()))
    next(chunks)
    stopper = threading.Thread(target=chunks.cancel)
    stopper.start()
    assert "CancelledException" in next(chunks)
    assert "end" in next(chunks)
    stopper.join()
    runtime.wait_for(CancelMessage)


# --- whatever it says --------------------------------------------------------------------------------


class Says:
    """A transport, and its own connection, over which these messages come, and then a result."""

    is_open = True

    def __init__(self, messages: Sequence[AgentRuntimeMessageInterface]) -> None:
        self.batch = [*messages, ResultMessageInterface(data=TextResult(text="done"))]

    def connection(self) -> Says:
        return self

    def open(self, timeout: Optional[float]) -> None: ...

    def send(self, message: object) -> None: ...

    def receive(self, timeout: Optional[float]) -> list[AgentRuntimeMessageInterface]:
        batch, self.batch = self.batch, []
        return batch

    def close(self, timeout: Optional[float]) -> None: ...


def said(encode: Callable[..., EncodedRun], *messages: AgentRuntimeMessageInterface) -> list[str]:
    return list(encode(Client(transport=Says(messages)).stream(invocation())))


# With what a frame's end is made of, more often than chance would have it.
TEXTS = st.text(st.one_of(st.sampled_from("\r\n\0\x0b\x0c\x1c\x85\u2028\u2029\ud800\udfff\ufeff: "), st.characters()))


def through_json(text: str) -> str:
    """In JSON the two halves of a surrogate pair are one character where they stand together."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


@given(st.lists(TEXTS, max_size=3))
def test_no_text_breaks_the_frame_of_an_event(texts: list[str]) -> None:
    message = AssistantMessageInterface(text_blocks=texts)
    chunks = said(sse, message)
    (first,) = events(chunks[0])
    assert json.loads(first.data)["text_blocks"] == list(map(through_json, texts))
    assert [event.type for event in events("".join(chunks))] == ["assistant_message", "result_message", "end"]
    assert all(chunk.isascii() for chunk in chunks)


@given(st.lists(TEXTS, max_size=3))
def test_no_text_breaks_a_line(texts: list[str]) -> None:
    lines = said(ndjson, AssistantMessageInterface(text_blocks=texts))
    assert [len(line.splitlines()) for line in lines] == [1, 1, 1]
    assert json.loads(lines[0])["text_blocks"] == list(map(through_json, texts))


@given(TEXTS)
def test_no_error_breaks_the_frame(text: str) -> None:
    chunks = said(sse, ErrorMessageInterface(error=text))
    assert [event.type for event in events("".join(chunks))] == ["error", "end"]


@given(TEXTS)
@example("\ud800\udfff")
@example("end\ndata: {}\n\n")
def test_no_type_breaks_the_frame(message_type: str) -> None:
    message = AssistantMessageInterface(text_blocks=[], message_type=message_type)
    (first,) = events(said(sse, message)[0])
    assert json.loads(first.data)["message_type"] == through_json(message_type)


# --- headers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "content_type"), [(SSE_HEADERS, "text/event-stream"), (NDJSON_HEADERS, "application/x-ndjson")]
)
def test_proxies_are_told_to_pass_on_what_comes(headers: Any, content_type: str) -> None:
    assert dict(headers) == {
        "Content-Type": content_type,
        "Cache-Control": "no-cache, no-transform",
        "X-Accel-Buffering": "no",
    }
    with pytest.raises(TypeError):
        headers["X"] = "one for all would be one too many"
