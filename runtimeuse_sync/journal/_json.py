"""Messages as JSON text: the wire's own, made quickly for what comes in thousands."""

from __future__ import annotations

from json.encoder import encode_basestring_ascii as quoted
from typing import Any, Callable

from .. import AssistantMessageInterface, CommandOutputMessageInterface, encode_message


def as_json(message: Any) -> str:
    """``message`` as the wire's JSON, in ASCII, on one line.

    >>> as_json(AssistantMessageInterface(text_blocks=["a", "b"]))
    '{"text_blocks":["a","b"],"message_type":"assistant_message"}'
    """
    quick = _QUICK.get(type(message))
    return encode_message(message).decode() if quick is None else quick(message)


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
