"""Calls with keywords: what reaches the runtime, and what the caller sees."""

from __future__ import annotations

from typing import Any, Callable

import pytest

from runtimeuse_sync import (
    AssistantMessageInterface,
    Client,
    CommandExecutionMessage,
    CommandExecutionResultMessageInterface,
    CommandInterface,
    CommandOutputMessageInterface,
    CommandResultItem,
    ExecuteCommandsOptions,
    InvocationMessage,
    QueryOptions,
    ResultMessageInterface,
)
from runtimeuse_sync.testing import Peer, Reply, ScriptedRuntime, generation

from ..support import text_result

Start = Callable[..., ScriptedRuntime]
LS = CommandInterface(command="ls")


def says_hello(peer: Peer) -> None:
    while True:
        assert isinstance(peer.receive(timeout=30), InvocationMessage)
        peer.send(AssistantMessageInterface(text_blocks=["hello"]), text_result("done"))


def runs_ls(peer: Peer) -> None:
    peer.expect(CommandExecutionMessage)
    output = CommandOutputMessageInterface(stream="stdout", text="a\n", command="ls")
    results = [CommandResultItem(command="ls", exit_code=0, stdout="a\n")]
    peer.send(output, CommandExecutionResultMessageInterface(results=results))


def test_a_query_takes_keywords(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(says_hello)
    heard: list[Any] = []
    answer = Client(runtime.url).query(
        "Hello", system_prompt="Be brief.", model="large", on_assistant_message=heard.append
    )
    assert answer.data.text == "done"
    assert heard == [AssistantMessageInterface(text_blocks=["hello"])]
    request = runtime.wait_for(InvocationMessage)
    assert (request.user_prompt, request.system_prompt, request.model) == ("Hello", "Be brief.", "large")


def test_keywords_count_before_options_and_options_before_defaults(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(says_hello)
    client = Client(runtime.url, defaults=QueryOptions(model="default", system_prompt="default"))
    with client.session() as session:
        session.query("1")
        session.query("2", model="keyword")
        session.query("3", QueryOptions(model="option"))
        session.query("4", QueryOptions(model="option"), model="keyword")
    requests = [message for message in runtime.received if isinstance(message, InvocationMessage)]
    assert [(request.model, request.system_prompt) for request in requests] == [
        ("default", "default"),
        ("keyword", "default"),
        ("option", ""),
        ("keyword", ""),
    ]


@pytest.mark.parametrize("how", ["client", "session"])
def test_a_stream_takes_a_prompt_and_calls_back(scripted_runtime: Start, how: str) -> None:
    client = Client(scripted_runtime(says_hello).url)
    heard: list[Any] = []
    if how == "client":
        with client.stream("Hello", on_assistant_message=heard.append) as run:
            seen = [type(message) for message in run]
    else:
        with client.session() as session, session.stream("Hello", on_assistant_message=heard.append) as run:
            seen = [type(message) for message in run]
    assert seen == [AssistantMessageInterface, ResultMessageInterface]
    assert heard == [AssistantMessageInterface(text_blocks=["hello"])]
    assert run.result.text == "done"


def test_commands_take_keywords_and_can_be_streamed(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(runs_ls)
    client = Client(runtime.url, defaults=QueryOptions(source_id="mine"))
    assert client.execute_commands([LS], timeout=60).results[0].stdout == "a\n"
    with client.stream_commands([LS], ExecuteCommandsOptions(source_id="theirs"), timeout=60) as run:
        assert [type(message) for message in run] == [
            CommandOutputMessageInterface,
            CommandExecutionResultMessageInterface,
        ]
    requests = [message for message in runtime.received if isinstance(message, CommandExecutionMessage)]
    assert [request.source_id for request in requests] == ["mine", "theirs"]


def test_a_client_with_other_options_takes_them_for_every_call(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(generation("0.15", Reply(result="done")))
    assert Client(runtime.url).with_options(model="large").query("Hello").data.text == "done"
    assert runtime.wait_for(InvocationMessage).model == "large"


def test_what_is_neither_a_prompt_nor_an_invocation_is_refused() -> None:
    with pytest.raises(TypeError, match=r"^invocation must be a str or an InvocationMessage; got a bytes$"):
        Client("ws://localhost:1").stream(b"Hello")  # type: ignore[call-overload]
