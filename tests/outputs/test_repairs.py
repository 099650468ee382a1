"""Asking again, with what was wrong, while the answer does not fit."""

from __future__ import annotations

import threading
from typing import Any, Union

import attrs
import pytest

from runtimeuse_sync import (
    AgentRuntimeError,
    AssistantMessageInterface,
    CancelledException,
    CancelMessage,
    Client,
    CommandInterface,
    IdleTimeoutError,
    InvocationMessage,
    InvocationTimeoutError,
    ObservedCall,
    Observer,
    OutputValidationError,
    ResultMessageInterface,
    StructuredOutputResult,
)
from runtimeuse_sync.outputs._asking import LONGEST_ANSWER
from runtimeuse_sync.testing import Peer, Reply, ScriptedRuntime, generation

from .types import Stats

Answer = Union[str, dict[str, Any]]

BAD, GOOD = {"files": "three"}, {"files": 3, "lines": 4}


def answering(release: str, *answers: Answer) -> Any:
    return generation(release, *(Reply(result=answer) for answer in answers))


def playing(release: str, *replies: Reply) -> Any:
    """All on one connection, if the release has sessions; or each on one of its own."""
    has_sessions = release in ("0.12", "0.15")
    return generation(release, *replies) if has_sessions else [generation(release, reply) for reply in replies]


def prompts(runtime: ScriptedRuntime) -> list[str]:
    return [message.user_prompt for message in runtime.received if isinstance(message, InvocationMessage)]


@pytest.mark.parametrize("release", ["0.4", "0.9", "0.12", "0.15"])
def test_the_agent_is_told_what_was_wrong(release: str) -> None:
    with ScriptedRuntime(playing(release, Reply(result=BAD), Reply(result=GOOD))) as runtime:
        result = Client(runtime.url).query("Count.", output_type=Stats, output_repairs=1, timeout=30)
    assert result.output == Stats(3, 4)
    first, *refused, second = prompts(runtime)
    assert first == "Count."
    assert second.startswith("Count.\n\n")
    assert '{"files": "three"}' in second
    assert "at $.files: Expected `int`, got `str`." in second
    assert refused == ([second] if release in ("0.4", "0.9") else [])


@pytest.mark.parametrize("release", ["0.12", "0.15"])
def test_a_call_asks_again_on_the_connection_that_it_has(release: str) -> None:
    with ScriptedRuntime(answering(release, BAD, BAD, GOOD)) as runtime:
        assert Client(runtime.url).query("Count.", output_type=Stats, output_repairs=2).output == Stats(3, 4)
    assert len(runtime.connections) == 1
    assert len(prompts(runtime)) == 3


class Telling(Observer):
    """Notes what is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def environment(self, call: ObservedCall) -> dict[str, str]:
        return {"RUN": "7"}

    def message_sent(self, call: ObservedCall, message: Any) -> None:
        self.told.append(type(message).__name__)

    def call_ended(self, call: ObservedCall, result: Any, error: Any) -> None:
        self.told.append(type(error or result).__name__)


@pytest.mark.parametrize("release", ["0.9", "0.15"])
def test_to_an_observer_it_is_one_call(release: str) -> None:
    observer = Telling()
    with ScriptedRuntime(playing(release, Reply(result=BAD), Reply(result=GOOD))) as runtime:
        client = Client(runtime.url, observers=[observer])
        client.query("Count.", output_type=Stats, output_repairs=1)
        asked = [message.agent_env for message in runtime.received if isinstance(message, InvocationMessage)]
    *sent, end = observer.told
    assert end == "ResultMessageInterface"
    assert set(sent) == {"InvocationMessage"}
    assert len(sent) == len(asked)
    assert all(env == {"RUN": "7"} for env in asked)


def test_a_connection_that_was_closed_meanwhile_is_no_hindrance() -> None:
    def leaves(peer: Peer) -> None:
        peer.expect(InvocationMessage)
        peer.send(ResultMessageInterface(data=StructuredOutputResult(structured_output=BAD)))
        peer.expect(InvocationMessage)
        peer.close_empty()

    with ScriptedRuntime([leaves, answering("0.9", GOOD)]) as runtime:
        assert Client(runtime.url).query("Count.", output_type=Stats, output_repairs=1).output == Stats(3, 4)


def test_a_repair_that_has_begun_and_fails_is_not_asked_for_again() -> None:
    fails = Reply(messages=[AssistantMessageInterface(text_blocks=["Hm."])], error="out of memory")
    with ScriptedRuntime(generation("0.15", Reply(result=BAD), fails)) as runtime:
        with pytest.raises(AgentRuntimeError, match="out of memory"):
            Client(runtime.url).query("Count.", output_type=Stats, output_repairs=5)
    assert len(prompts(runtime)) == 2


@pytest.mark.parametrize("release", ["0.9", "0.15"])
def test_a_stream_asks_again_and_goes_on(release: str) -> None:
    def said(text: str, result: Answer) -> Reply:
        return Reply(messages=[AssistantMessageInterface(text_blocks=[text])], result=result)

    for deliveries in (iter, lambda run: run.deliveries()):
        scripts = playing(release, said("one", BAD), said("two", "three"), said("three", GOOD))
        with ScriptedRuntime(scripts) as runtime:
            with Client(runtime.url).stream("Count.", output_type=Stats, output_repairs=2, timeout=30) as run:
                *messages, last = list(deliveries(run))
                assert [message.text_blocks for message in messages] == [["one"], ["two"], ["three"]]
                assert last is run.result
                assert run.result.output == Stats(3, 4)


def test_a_stream_whose_last_answer_does_not_fit() -> None:
    with ScriptedRuntime(answering("0.15", BAD, BAD)) as runtime:
        with Client(runtime.url).stream("Count.", output_type=Stats, output_repairs=1) as run:
            for deliveries in (iter, lambda run: run.deliveries()):
                with pytest.raises(OutputValidationError):
                    list(deliveries(run))
    assert len(prompts(runtime)) == 2


@pytest.mark.parametrize("release", ["0.12", "0.15"])
def test_a_session_asks_again_on_its_own_connection(release: str) -> None:
    with ScriptedRuntime(answering(release, BAD, BAD, GOOD, GOOD)) as runtime:
        with Client(runtime.url).session() as session:
            assert session.query("Count.", output_type=Stats, output_repairs=2).output == Stats(3, 4)
            assert session.query("Again.", output_type=Stats).output == Stats(3, 4)
    assert len(runtime.connections) == 1
    assert len(prompts(runtime)) == 4


def test_invoke_asks_again_too_and_hands_on_the_one_that_fits() -> None:
    told: list[ResultMessageInterface[Stats]] = []
    invocation = InvocationMessage(system_prompt="", user_prompt="Count.")
    with ScriptedRuntime(answering("0.15", BAD, GOOD)) as runtime:
        result = Client(runtime.url).invoke(invocation, told.append, output_type=Stats, output_repairs=1)
    assert told == [result]
    assert result.output == Stats(3, 4)
    assert invocation.output_format_json_schema_str is None


def test_after_the_last_repair_the_error_is_raised() -> None:
    with ScriptedRuntime(answering("0.15", BAD, "three", {})) as runtime:
        with pytest.raises(OutputValidationError, match="missing required field `files`"):
            Client(runtime.url).query("Count.", output_type=Stats, output_repairs=2)
    assert "three" in prompts(runtime)[2]


def test_no_repair_by_default() -> None:
    with ScriptedRuntime(answering("0.15", BAD)) as runtime:
        with pytest.raises(OutputValidationError):
            Client(runtime.url).query("Count.", output_type=Stats)
    assert len(prompts(runtime)) == 1


def test_a_repair_does_nothing_but_ask() -> None:
    commands = [CommandInterface(command="make")]
    with ScriptedRuntime([answering("0.15", BAD), answering("0.15", GOOD)]) as runtime:
        Client(runtime.url).query(
            "Count.",
            output_type=Stats,
            output_repairs=1,
            system_prompt="Be brief.",
            model="large",
            secrets_to_redact=["s3cret"],
            pre_agent_invocation_commands=commands,
            post_agent_invocation_commands=commands,
            artifacts_dirs=["/out"],
            on_artifact_upload_request=lambda request: ("https://example.com", "text/plain"),
        )
    first, second = (message for message in runtime.received if isinstance(message, InvocationMessage))
    assert first.pre_agent_invocation_commands == commands
    assert attrs.evolve(second, user_prompt="Count.") == attrs.evolve(
        first, pre_agent_invocation_commands=None, post_agent_invocation_commands=None, artifacts_dirs=None
    )


def test_a_long_answer_is_cut() -> None:
    with ScriptedRuntime(answering("0.15", "x" * 500_000, GOOD)) as runtime:
        Client(runtime.url).query("Count.", output_type=Stats, output_repairs=1)
    assert LONGEST_ANSWER < len(prompts(runtime)[1]) < LONGEST_ANSWER + 1000


def test_another_failure_is_not_repaired() -> None:
    with ScriptedRuntime(generation("0.15", Reply(error="out of memory"))) as runtime:
        with pytest.raises(AgentRuntimeError, match="out of memory"):
            Client(runtime.url).query("Count.", output_type=Stats, output_repairs=5)
    assert len(prompts(runtime)) == 1


# --- limits ---------------------------------------------------------------------------------------------


def silent_at_the_repair(peer: Peer) -> None:
    peer.expect(InvocationMessage)
    peer.send(ResultMessageInterface(data=StructuredOutputResult(structured_output=BAD)))
    peer.expect(InvocationMessage)
    peer.silence()


def test_the_timeout_is_for_all_of_it() -> None:
    with ScriptedRuntime(silent_at_the_repair) as runtime:
        with pytest.raises(InvocationTimeoutError, match="timeout of 1.5 s") as caught:
            Client(runtime.url).query("Count.", output_type=Stats, output_repairs=1, timeout=1.5)
    assert caught.value.timeout == 1.5
    assert len(prompts(runtime)) == 2


def test_a_silence_is_told_as_such() -> None:
    with ScriptedRuntime(silent_at_the_repair) as runtime:
        with pytest.raises(IdleTimeoutError) as caught:
            Client(runtime.url).query("Count.", output_type=Stats, output_repairs=1, timeout=60, idle_timeout=0.5)
    assert caught.value.timeout == 0.5


def test_a_cancelled_call_is_not_repaired() -> None:
    is_cancelled = threading.Event()

    def script(peer: Peer) -> None:
        peer.expect(InvocationMessage)
        peer.send(ResultMessageInterface(data=StructuredOutputResult(structured_output=BAD)))
        peer.expect(InvocationMessage)
        is_cancelled.set()
        peer.expect(CancelMessage)

    with ScriptedRuntime(script) as runtime:
        with pytest.raises(CancelledException):
            Client(runtime.url).query("Count.", output_type=Stats, output_repairs=3, is_cancelled=is_cancelled)


# --- arguments ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keywords", "error", "said"),
    [
        ({"output_repairs": 1}, ValueError, "output_repairs needs output_type"),
        ({"output_type": int, "output_repairs": -1}, ValueError, "output_repairs must be a whole number"),
        (
            {"output_type": int, "output_repairs": True},
            TypeError,
            "output_repairs must be a whole number .* got a bool",
        ),
        ({"output_type": int, "output_repairs": "1"}, TypeError, "output_repairs must be a whole number .* got a str"),
        ({"output_type": complex}, TypeError, "output_type cannot be read from JSON"),
        ({"output_type": {"type": "number", "maximum": float("inf")}}, ValueError, "Out of range float"),
        (
            {"output_type": int, "output_format_json_schema_str": '{"type": "json_schema", "schema": {}}'},
            ValueError,
            "not both",
        ),
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_refused_before_anything_is_sent(
    keywords: dict[str, Any], error: type[Exception], said: str
) -> None:
    with ScriptedRuntime(refuse=503) as runtime:
        client = Client(runtime.url)
        for call in (client.query, client.session().query, client.stream):
            with pytest.raises(error, match=said):
                call("Count.", **keywords)
    assert not runtime.connections
