"""The output of a program that prints events, each a line of JSON."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Optional, Union

from .._common.redaction import Redactor
from ..exceptions import AgentRuntimeError
from ..messages import InvocationMessage
from ._processes.output import Collected
from .agents import TOO_LONG, json_object
from .handlers import HandlerResult, Sender

Event = Mapping[str, Any]


class Events(ABC):
    """Reads the events. What is no JSON object (a warning, a line without end) is skipped.

    Secrets are taken out of what an event says, and not out of its text: there they may stand in another spelling, and
    a mark in the middle of a number would make it unreadable.
    """

    def __init__(self, invocation: InvocationMessage, sender: Sender) -> None:
        self._redactor = Redactor(invocation.secrets_to_redact)
        self._wants_object = invocation.output_format_json_schema_str is not None
        self._sender = sender
        self._line = Collected()
        self._is_cut = False

    @abstractmethod
    def _take(self, event: Event) -> None:
        """Take in one event."""

    @abstractmethod
    def _failure(self, code: int) -> Optional[str]:
        """Why there is no result, in the program's own words as far as it had any; None if there is one."""

    @abstractmethod
    def _output(self) -> object:
        """The result: a text; the object that was asked for, or its text."""

    @abstractmethod
    def _metadata(self) -> dict[str, Any]:
        """The usage of the run, with the field names of a runtime."""

    def add(self, text: str) -> None:
        """Take in more output."""
        beginning, *others = text.split("\n")
        self._line.add(beginning)
        for piece in others:
            self._end_line()
            self._line.add(piece)

    def _end_line(self) -> None:
        line, self._line = self._line, Collected()
        self._is_cut = self._is_cut or line.is_cut
        event = None if line.is_cut else _parsed(line.text)
        if isinstance(event, dict):
            self._take(self._redactor.value(event))

    def answer(self, code: int, stderr: str) -> HandlerResult:
        """The result, with what it took."""
        self._end_line()
        failure, metadata = self._failure(code), self._metadata()
        if failure is not None:
            text = TOO_LONG if self._is_cut and code == 0 else failure
            raise AgentRuntimeError(text, {**metadata, "exit_code": code, "stderr": stderr})
        output = self._output()
        return HandlerResult(json_object(output) if self._wants_object else str(output), metadata=metadata)

    def _say(self, *texts: object) -> None:
        blocks = [text for text in texts if isinstance(text, str) and text.strip()]
        if blocks:
            self._sender.assistant(*blocks)


def _parsed(line: str) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def part(event: Event, name: str) -> Event:
    """The object that ``event`` has under ``name``; an empty one if it has none."""
    value = event.get(name)
    return value if isinstance(value, Mapping) else {}


def schema_of(invocation: InvocationMessage) -> Union[dict[str, Any], None]:
    """The schema that the client sent, without its wrapper."""
    wrapper = _parsed(invocation.output_format_json_schema_str or "")
    schema = wrapper.get("schema") if isinstance(wrapper, dict) else None
    return schema if isinstance(schema, dict) else None
