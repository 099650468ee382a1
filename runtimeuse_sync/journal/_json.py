"""Encoding of messages as JSON, as on the wire, fast for frequent messages."""

from __future__ import annotations

from collections.abc import Iterable
from json.encoder import encode_basestring_ascii as quoted
from typing import Any, Callable

from .. import AssistantMessageInterface, CommandOutputMessageInterface, encode_message


def all_as_json(messages: Iterable[Any]) -> list[str]:
    """``messages`` as the wire's JSON, in ASCII, each on one line.

    >>> all_as_json([AssistantMessageInterface(text_blocks=["a", "b"])])
    ['{"text_blocks":["a","b"],"message_type":"assistant_message"}']
    """
    return [_QUICK.get(type(message), _any)(message) for message in messages]


def _any(message: Any) -> str:
    return encode_message(message).decode()


def _assistant(message: AssistantMessageInterface) -> str:
    blocks = ",".join([quoted(block) for block in message.text_blocks])
    return f'{{"text_blocks":[{blocks}],"message_type":"assistant_message"}}'


def _output(message: CommandOutputMessageInterface) -> str:
    stream, text, command = quoted(message.stream), quoted(message.text), quoted(message.command)
    return f'{{"stream":{stream},"text":{text},"command":{command},"message_type":"command_output_message"}}'


_QUICK: dict[type, Callable[[Any], str]] = {
    AssistantMessageInterface: _assistant,
    CommandOutputMessageInterface: _output,
}
