"""Transports of a user's own, and what they may bring."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import pytest

from runtimeuse_sync import (
    AssistantMessageInterface,
    Client,
    CommandExecutionMessage,
    CommandInterface,
    InvocationMessage,
    ProtocolError,
    ResultMessageInterface,
    TextResult,
)

from ..support import invocation


@attrs.define
class Brings:
    """A transport, and its own connection: a request is answered by ``messages``."""

    messages: Sequence[Any]
    is_open: bool = True
    waiting: list[Any] = attrs.field(factory=list)
    sent: list[Any] = attrs.field(factory=list)

    def connection(self) -> Brings:
        return self

    def open(self, timeout: Any) -> None: ...

    def send(self, message: Any) -> None:
        self.sent.append(message)
        if isinstance(message, (InvocationMessage, CommandExecutionMessage)):
            self.waiting += self.messages

    def receive(self, timeout: float) -> Sequence[Any]:
        batch, self.waiting = self.waiting, []
        return batch

    def wake(self) -> None: ...

    def close(self, timeout: float) -> None: ...


RESULT = ResultMessageInterface(data=TextResult(text="done"))


@attrs.define(kw_only=True)
class OwnAssistantMessage(AssistantMessageInterface):
    colour: str = "red"


@attrs.define(kw_only=True)
class OwnResult(ResultMessageInterface):
    score: int = 5


def test_messages_of_a_subclass_reach_the_callback_of_their_base() -> None:
    heard: list[Any] = []
    messages = [OwnAssistantMessage(text_blocks=["a"]), AssistantMessageInterface(text_blocks=["b"])]
    own_result = OwnResult(data=TextResult(text="done"))
    client = Client(transport=Brings([*messages, messages[0], own_result]))
    result = client.invoke(invocation(), heard.append, on_assistant_message=heard.append)
    assert result is own_result
    assert heard == [*messages, messages[0], own_result]


@pytest.mark.parametrize("nonsense", [None, "text", 5])
def test_what_is_no_message_is_a_fault_of_the_transport(nonsense: Any) -> None:
    with pytest.raises(ProtocolError, match=r"^the transport brought a \w+, which is no message of a runtime$"):
        Client(transport=Brings([nonsense])).invoke(invocation())


def test_so_is_a_result_of_another_class_than_was_asked_for() -> None:
    with pytest.raises(ProtocolError, match=r"^the transport brought a ResultMessageInterface, not a OwnResult$"):
        Client(transport=Brings([RESULT])).invoke(invocation(), result_message_cls=OwnResult)


def test_commands_may_be_any_iterable() -> None:
    transport = Brings([])
    with pytest.raises(ValueError, match="got an empty one"):
        Client(transport=transport).execute_commands(iter([]))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"as in \[CommandInterface\(command=\"ls\"\)\]; got a int in it$"):
        Client(transport=transport).execute_commands(["ls", 5])  # type: ignore[list-item]
    for wrong in ("ls", CommandInterface(command="ls"), 5):
        with pytest.raises(TypeError, match=f"got a {type(wrong).__name__}$"):
            Client(transport=transport).execute_commands(wrong)  # type: ignore[arg-type]
    assert transport.sent == []
