"""Observers: what they are told, in which order, on which thread; and that no call feels them."""

from __future__ import annotations

import contextvars
import logging
import pickle
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Callable, Optional

import pytest

from runtimeuse_sync import (
    AgentRuntimeError,
    ArtifactUploadResult,
    CancelledException,
    Client,
    CommandExecutionMessage,
    CommandInterface,
    ConnectionFailedError,
    InvocationMessage,
    ObservedCall,
    Observer,
    QueryOptions,
    RawResult,
)
from runtimeuse_sync._call import cancellation, watch
from runtimeuse_sync.testing import Peer, Reply, ScriptedRuntime, generation

from ..support import ALL, SESSIONS, invocation, port_without_listener, text_result

Start = Callable[..., ScriptedRuntime]
Told = tuple[str, Any]

HELLO = {"message_type": "assistant_message", "text_blocks": ["hello"]}


class Notes(Observer):
    """All that an observer is told: names of methods, and of the messages' classes."""

    def __init__(self) -> None:
        self.calls: list[ObservedCall] = []
        self.told: list[Told] = []
        self.threads: set[int] = set()
        self.result: Any = None
        self.error: Optional[BaseException] = None

    def _note(self, name: str, what: object = None) -> None:
        self.told.append((name, None if what is None else type(what).__name__))
        self.threads.add(threading.get_ident())

    def call_began(self, call: ObservedCall) -> None:
        self.calls.append(call)
        self._note("began")

    def connected(self, call: ObservedCall) -> None:
        self._note("connected")

    def message_sent(self, call: ObservedCall, message: Any) -> None:
        self._note("sent", message)

    def message_received(self, call: ObservedCall, message: Any) -> None:
        self._note("received", message)

    def call_ended(self, call: ObservedCall, result: Any, error: Optional[BaseException]) -> None:
        assert call is self.calls[-1]
        self.result, self.error = result, error
        self._note("ended")


def observed(runtime: ScriptedRuntime, *observers: Observer, **settings: Any) -> Client:
    return Client(runtime.url, observers=observers, **settings)


def test_a_call_from_its_beginning_to_its_end(scripted_runtime: Start) -> None:
    runtime, notes = scripted_runtime(generation("0.15", Reply(messages=[HELLO], result="done"))), Notes()
    result = observed(runtime, notes).invoke(invocation())
    assert notes.told == [
        ("began", None),
        ("connected", None),
        ("sent", "InvocationMessage"),
        ("received", "AssistantMessageInterface"),
        ("received", "RawResult"),
        ("ended", None),
    ]
    assert notes.result is result
    assert notes.error is None
    assert notes.threads == {threading.get_ident()}


def test_what_the_call_is(scripted_runtime: Start) -> None:
    runtime, notes = scripted_runtime(generation("0.15")), Notes()
    asked = invocation(agent_env={"TOKEN": "s3cret"})
    observed(runtime, notes).invoke(asked)
    observed(runtime, notes).execute_commands(["ls"])
    first, second = notes.calls
    assert first.request is asked
    assert isinstance(second.request, CommandExecutionMessage)
    assert first.url == runtime.url
    assert first.session_id is None
    assert first.id != second.id
    assert "s3cret" not in repr(first)


def test_a_call_has_the_context_that_it_was_made_in(scripted_runtime: Start) -> None:
    # What a web server iterates later, and elsewhere.
    runtime, notes = scripted_runtime(generation("0.15")), Notes()
    variable = contextvars.ContextVar("variable", default="elsewhere")
    run = contextvars.copy_context().run(lambda: variable.set("the view") and observed(runtime, notes).stream("Hello"))
    with run:
        list(run)
    assert notes.calls[0].context[variable] == "the view"


@pytest.mark.parametrize("release", ALL)
def test_artifacts_and_the_drain_are_observed(scripted_runtime: Start, release: str) -> None:
    runtime, notes = scripted_runtime(generation(release, Reply(late_artifacts=["/out/a"]))), Notes()
    observed(runtime, notes).invoke(
        invocation(artifacts_dirs=["/out"]),
        on_artifact_upload_request=lambda _: ArtifactUploadResult(presigned_url="http://x", content_type="text/plain"),
    )
    wire = [what for name, what in notes.told if name in ("sent", "received")]
    assert wire.count("EndSessionMessage") == 1
    asked, answered = "ArtifactUploadRequestMessageInterface", "ArtifactUploadResponseMessageInterface"
    assert wire.index(asked) < wire.index(answered)


def test_a_failed_call_tells_its_error(scripted_runtime: Start) -> None:
    runtime, notes = scripted_runtime(generation("0.15", Reply(error="rate limited"))), Notes()
    with pytest.raises(AgentRuntimeError) as caught:
        observed(runtime, notes).query("hi")
    assert notes.error is caught.value
    assert notes.result is None


def test_without_a_connection_nothing_is_sent() -> None:
    notes = Notes()
    with port_without_listener() as port, pytest.raises(ConnectionFailedError) as caught:
        Client(f"ws://127.0.0.1:{port}", observers=[notes]).query("hi")
    assert notes.told == [("began", None), ("ended", None)]
    assert notes.error is caught.value


def test_the_connection_is_told_when_it_comes_about(scripted_runtime: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not with the first message, nor at the next pulse of the waiting calls."""
    for module in (cancellation, watch):
        monkeypatch.setattr(module, "PULSE_INTERVAL", 60.0)

    connected = threading.Event()

    class Telling(Observer):
        def connected(self, call: ObservedCall) -> None:
            connected.set()

    def silent_until_then(peer: Peer) -> None:
        peer.receive(timeout=30)
        assert connected.wait(20)
        peer.send(text_result("done"))

    runtime = scripted_runtime(silent_until_then)
    assert Client(runtime.url, observers=[Telling()]).invoke(invocation()).text == "done"


def test_a_cancellation_from_another_thread_is_told_on_the_callers(scripted_runtime: Start) -> None:
    runtime, notes = scripted_runtime(generation("0.15", Reply(hangs=True))), Notes()
    client = observed(runtime, notes)

    def cancel() -> None:
        runtime.wait_for(InvocationMessage)
        client.abort()

    thread = threading.Thread(target=cancel)
    thread.start()
    with pytest.raises(CancelledException) as caught:
        client.query("hi")
    thread.join()
    assert notes.told[2:] == [
        ("sent", "InvocationMessage"),
        ("sent", "CancelMessage"),
        ("received", "ErrorMessageInterface"),
        ("ended", None),
    ]
    assert notes.error is caught.value
    assert notes.threads == {threading.get_ident()}


def test_a_stream_that_is_left_early(scripted_runtime: Start) -> None:
    runtime, notes = scripted_runtime(generation("0.15", Reply(messages=[HELLO], hangs=True))), Notes()
    with observed(runtime, notes).stream("hi") as run:
        next(run)
    assert ("sent", "CancelMessage") in notes.told
    assert notes.told[-1] == ("ended", None)
    assert notes.result is notes.error is None


def test_what_a_callback_raises_is_the_calls_error(scripted_runtime: Start) -> None:
    runtime, notes = scripted_runtime(generation("0.15", Reply(messages=[HELLO], result="done"))), Notes()

    def fail(_: object) -> None:
        raise StopIteration("enough")

    with pytest.raises(StopIteration) as caught:
        observed(runtime, notes).query("hi", on_assistant_message=fail)
    assert notes.error is caught.value


@pytest.mark.parametrize("release", SESSIONS)
def test_calls_of_a_session_and_its_end(scripted_runtime: Start, release: str) -> None:
    reply = Reply(result="done", late_artifacts=["/out/a"])
    runtime, notes = scripted_runtime(generation(release, reply)), Notes()
    with observed(runtime, notes).session() as session:
        for _ in range(2):
            session.query(
                "hi", artifacts_dirs=["/out"], on_artifact_upload_request=lambda _: ("http://x", "text/plain")
            )
    first, second, end = notes.calls
    assert first.session_id is not None
    assert first.session_id == second.session_id == end.session_id
    assert [type(call.request).__name__ for call in notes.calls] == [
        "InvocationMessage",
        "InvocationMessage",
        "EndSessionMessage",
    ]
    of_the_end = notes.told[[n for n, told in enumerate(notes.told) if told[0] == "began"][2] :]
    assert of_the_end[:3] == [("began", None), ("connected", None), ("sent", "EndSessionMessage")]
    assert ("sent", "ArtifactUploadResponseMessageInterface") in of_the_end


def test_threads_of_a_session_are_told_apart(scripted_runtime: Start) -> None:
    def echo(peer: Peer) -> None:
        while True:
            peer.send(text_result(getattr(peer.receive(timeout=30), "user_prompt", "")))

    class Pairs(Observer):
        def __init__(self) -> None:
            self.pairs: list[tuple[str, str]] = []

        def message_received(self, call: ObservedCall, message: Any) -> None:
            assert isinstance(message, RawResult)
            assert isinstance(call.request, InvocationMessage)
            self.pairs.append((call.request.user_prompt, message.fields["data"]["text"]))

    pairs = Pairs()
    with observed(scripted_runtime(echo), pairs).session() as session:
        threads = [threading.Thread(target=session.query, args=(str(number),)) for number in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(pairs.pairs) == [(str(number), str(number)) for number in range(10)]


class Failing(Observer):
    """Fails wherever it can, with a text that has the payload in it."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def _fail(self, name: str, what: object = None) -> Any:
        self.asked.append(name)
        raise ValueError(f"cannot {name} hello s3cret {what}")

    def call_began(self, call: ObservedCall) -> None:
        self._fail("begin")

    def environment(self, call: ObservedCall) -> Mapping[str, str]:
        return self._fail("environment")  # type: ignore[no-any-return]

    def connected(self, call: ObservedCall) -> None:
        self._fail("connect")

    def message_sent(self, call: ObservedCall, message: Any) -> None:
        self._fail("send", message)

    def message_received(self, call: ObservedCall, message: Any) -> None:
        self._fail("receive", message)

    def call_ended(self, call: ObservedCall, result: Any, error: Optional[BaseException]) -> None:
        self._fail("end", result)


def test_what_an_observer_raises_is_logged_and_not_felt(
    scripted_runtime: Start, caplog: pytest.LogCaptureFixture
) -> None:
    runtime = scripted_runtime(generation("0.15", Reply(messages=[HELLO] * 3, result="done")))
    failing, notes = Failing(), Notes()
    with caplog.at_level(logging.DEBUG):
        assert observed(runtime, failing, notes).query("hi").output == "done"
    assert failing.asked == ["begin", "environment", "connect", "send", *["receive"] * 4, "end"]
    assert len(notes.told) == 8
    assert "the observer Failing raised ValueError in message_received" in caplog.text
    assert caplog.text.count("in message_received") == 1
    assert "hello" not in caplog.text
    assert "s3cret" not in caplog.text


def test_batches_as_they_come(scripted_runtime: Start) -> None:
    class Batches(Observer):
        def __init__(self) -> None:
            self.received: list[Any] = []

        def messages_received(self, call: ObservedCall, messages: Sequence[Any]) -> None:
            self.received += messages

    runtime, batches = scripted_runtime(generation("0.15", Reply(messages=[HELLO] * 50, result="done"))), Batches()
    observed(runtime, batches).query("hi")
    assert len(batches.received) == 51


class Environment(Observer):
    def __init__(self, variables: Any) -> None:
        self.variables = variables

    def environment(self, call: ObservedCall) -> Mapping[str, str]:
        return self.variables  # type: ignore[no-any-return]


def test_the_environment_of_the_agent_and_of_all_commands(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(generation("0.15"))
    command = CommandInterface("ls", env={"A": "mine"})
    asked = invocation(pre_agent_invocation_commands=[command], agent_env={"C": "mine"})
    client = observed(runtime, Environment({"A": "1", "B": "2", "C": "3"}))
    client.invoke(asked)
    client.execute_commands([command])
    invoked, executed = runtime.received
    assert isinstance(invoked, InvocationMessage)
    assert isinstance(executed, CommandExecutionMessage)
    assert invoked.agent_env == {"A": "1", "B": "2", "C": "mine"}
    assert invoked.pre_agent_invocation_commands is not None
    assert invoked.pre_agent_invocation_commands[0].env == {"A": "mine", "B": "2", "C": "3"}
    assert invoked.post_agent_invocation_commands is None
    assert executed.commands[0].env == {"A": "mine", "B": "2", "C": "3"}
    assert asked.agent_env == {"C": "mine"}
    assert command.env == {"A": "mine"}


@pytest.mark.parametrize("variables", [{"A": 1}, ["A"], 5])
def test_an_environment_that_is_none_is_left_out(
    scripted_runtime: Start, variables: Any, caplog: pytest.LogCaptureFixture
) -> None:
    runtime = scripted_runtime(generation("0.15"))
    observed(runtime, Environment(variables), Environment({"B": "2"})).invoke(invocation())
    request = runtime.received[0]
    assert isinstance(request, InvocationMessage)
    assert request.agent_env == {"B": "2"}
    assert "in environment" in caplog.text


def test_a_client_with_one_observer_more(scripted_runtime: Start) -> None:
    runtime, first, second = scripted_runtime(generation("0.15")), Notes(), Notes()
    client = observed(runtime, first, defaults=QueryOptions(system_prompt="Be brief."))
    client.with_observers(second).query("hi")
    client.query("hi")
    assert len(first.calls) == 2
    assert len(second.calls) == 1


def test_a_client_pickles_with_observers_that_do() -> None:
    client = pickle.loads(pickle.dumps(Client("ws://localhost:1", observers=[Environment({"A": "1"})])))
    assert client.observers[0].variables == {"A": "1"}


@pytest.mark.parametrize("observers", [[object()], Observer(), [Observer]])
def test_observers_that_are_none_are_refused(observers: Any) -> None:
    with pytest.raises(TypeError, match="observers must be a list of Observer"):
        Client("ws://localhost:1", observers=observers)


def test_without_observers_nothing_is_wrapped(scripted_runtime: Start) -> None:
    with Client(scripted_runtime(generation("0.15")).url).stream("hi") as run:
        assert type(run._loop._channel.connection).__name__ == "WebSocketConnection"  # type: ignore[union-attr]
        list(run)
