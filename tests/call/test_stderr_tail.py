"""What is remembered of a command's standard error."""

from __future__ import annotations

from typing import Any

import pytest

from runtimeuse_sync import (
    Client,
    CommandExecutionResultMessageInterface,
    CommandFailedError,
    CommandOutputMessageInterface,
    CommandResultItem,
    ExecuteCommandsOptions,
)
from runtimeuse_sync._call.stderr_tail import StderrTail

from ..face.test_transports import Brings


def wrote(command: str, text: str, stream: str = "stderr") -> CommandOutputMessageInterface:
    return CommandOutputMessageInterface(command=command, text=text, stream=stream)


def test_the_end_of_what_the_last_command_wrote_is_kept() -> None:
    tail = StderrTail(None)
    for message in (wrote("a", "old"), wrote("b", "out", "stdout"), wrote("b", "no "), wrote("b", "space")):
        tail(message)
    assert (tail.of("b"), tail.of("a")) == ("no space", "")


def test_a_command_that_wrote_nothing_has_none_of_another_s() -> None:
    tail = StderrTail(None)
    tail(wrote("a", "old"))
    tail(wrote("b", "out", "stdout"))
    assert (tail.of("a"), tail.of("b")) == ("", "")


def test_little_is_kept_of_much() -> None:
    tail = StderrTail(None)
    for text in ("x" * 1_000_000, "y" * 1500, "z" * 1500):
        tail(wrote("a", text))
    assert tail.of("a") == "y" * 500 + "z" * 1500


def test_messages_are_handed_on() -> None:
    seen: list[Any] = []
    message = wrote("a", "text")
    StderrTail(seen.append)(message)
    assert seen == [message]


def test_a_failed_command_is_raised_with_what_it_wrote_to_stderr() -> None:
    item = CommandResultItem(command="make", exit_code=2, stdout="building")
    output, heard = wrote("make", "no rule\n"), []  # type: ignore[var-annotated]
    client = Client(transport=Brings([output, CommandExecutionResultMessageInterface(results=[item])]))
    with pytest.raises(CommandFailedError, match=r"^command 1 failed with exit code 2 .*\n  \| no rule$") as caught:
        client.execute_commands(["make"], ExecuteCommandsOptions(on_command_output=heard.append), check=True)
    assert caught.value.results == [item]
    assert heard == [output]
