"""Span attributes for requests, results and errors. Content (prompts, answers, commands) is separate."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Optional, Union
from urllib.parse import urlsplit

from .. import (
    CommandExecutionMessage,
    EndSessionMessage,
    InvocationMessage,
    Redactor,
    ResultMessageInterface,
    RuntimeUseError,
    Usage,
)
from . import _names as n

Attributes = dict[str, Union[str, int, float, tuple[str, ...]]]
Request = Union[InvocationMessage, CommandExecutionMessage, EndSessionMessage]

_PORTS = {"ws": 80, "wss": 443}

# Characters of a phase, which a peer names.
_LONGEST_PHASE = 60


def of_call(request: Request, url: Optional[str], provider: str) -> Attributes:
    """The attributes known when a call begins, which the metrics have as well."""
    found: Attributes = {n.OPERATION: _operation(request), n.PROVIDER: provider}
    model = getattr(request, "model", None)
    if model:
        found[n.MODEL] = model
    if url is not None:
        parts = urlsplit(url)
        found[n.SERVER_ADDRESS] = parts.hostname or ""
        found[n.SERVER_PORT] = parts.port or _PORTS[parts.scheme]
    return found


def _operation(request: Request) -> str:
    if isinstance(request, InvocationMessage):
        return n.INVOKE_AGENT
    return n.EXECUTE_COMMANDS if isinstance(request, CommandExecutionMessage) else n.END_SESSION


def of_request(request: Request) -> Attributes:
    """The further attributes of a request."""
    found: Attributes = {}
    if getattr(request, "output_format_json_schema_str", None):
        found[n.OUTPUT_TYPE] = n.OUTPUT_IS_JSON
    source = getattr(request, "source_id", None)
    if source:
        found[n.SOURCE] = source
    return found


def of_usage(usage: Usage) -> Attributes:
    """The attributes of a run's usage."""
    told = {
        n.INPUT_TOKENS: input_tokens(usage),
        n.OUTPUT_TOKENS: usage.output_tokens,
        n.CACHE_READ_TOKENS: usage.cache_read_tokens,
        n.CACHE_WRITE_TOKENS: usage.cache_write_tokens,
        n.CONVERSATION: usage.session_id,
        n.COST: usage.cost_usd,
        n.TURNS: usage.turns,
    }
    return {name: value for name, value in told.items() if value is not None}


def input_tokens(usage: Usage) -> Optional[int]:
    """All that the model read: the conventions count what went into and came from its cache as well."""
    told = (usage.input_tokens, usage.cache_read_tokens, usage.cache_write_tokens)
    return None if usage.input_tokens is None else sum(filter(None, told))


def error_type(error: BaseException) -> str:
    """The name of its class: ours as they are documented, others with their module."""
    cls = type(error)
    is_known = cls.__module__ == "builtins" or isinstance(error, RuntimeUseError)
    return cls.__qualname__ if is_known else f"{cls.__module__}.{cls.__qualname__}"


def phase_of(words: str) -> str:
    """A peer's name for a phase as a part of a span's name: short, and nothing that a screen obeys."""
    return re.sub(r"[^\w .:-]", "?", words[:_LONGEST_PHASE])


# --- content, for those who ask for it ------------------------------------------------------------------


def content_of_request(request: Request) -> Attributes:
    """The content attributes of a request: the prompt, or the commands."""
    if isinstance(request, InvocationMessage):
        prompt, system = (redacted(text, request) for text in (request.user_prompt, request.system_prompt))
        return {
            n.SYSTEM_INSTRUCTIONS: json.dumps([_text(system)]),
            n.INPUT_MESSAGES: json.dumps([{"role": "user", "parts": [_text(prompt)]}]),
        }
    if isinstance(request, CommandExecutionMessage):
        return {n.COMMANDS: tuple(redacted(command.command, request) for command in request.commands)}
    return {}


def content_of_result(result: Any, request: Request) -> Attributes:
    """The content attributes of the agent's answer."""
    if not isinstance(result, ResultMessageInterface):
        return {}
    answer = json.dumps(result.structured_output) if result.text is None else result.text
    message = {"role": "assistant", "parts": [_text(redacted(answer, request))], "finish_reason": "stop"}
    return {n.OUTPUT_MESSAGES: json.dumps([message])}


def _text(content: str) -> Mapping[str, str]:
    return {"type": "text", "content": content}


def redacted(text: str, request: Request) -> str:
    """``text`` without the secrets that ``request`` names."""
    return Redactor(getattr(request, "secrets_to_redact", ())).text(text)
