"""Conversion of recorded messages to those that a runtime of another release would have sent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Optional

import attrs

from .. import CommandExecutionMessage
from ._entries import Entry

# The releases (0.x) in which behaviour changed, each named after what it brought.
_OLDEST, _DATA, _COMMANDS, _EXIT_CODES, SESSIONS, _STDOUT, _CONFIRMATION, _OUTPUT, _NEWEST = (
    4,
    5,
    8,
    10,
    11,
    12,
    13,
    14,
    15,
)

_OF_COMMANDS = ("assistant_message", "command_output_message")


@attrs.frozen
class Said:
    """A message of the runtime as JSON, and the entry that it comes from."""

    entry: Entry
    fields: dict[str, Any]

    @property
    def kind(self) -> Any:
        return self.fields.get("message_type")

    def instead(self, **fields: Any) -> Said:
        return attrs.evolve(self, fields={name: value for name, value in fields.items() if value is not None})


def minor_of(release: Optional[str]) -> Optional[int]:
    """The number behind the point; raises ``ValueError`` for what is no release."""
    known = {f"0.{minor}": minor for minor in range(_OLDEST, _NEWEST + 1)}
    if release is not None and release not in known:
        raise ValueError(f"no such release: {release!r}, but {', '.join(known)}")
    return None if release is None else known[release]


def as_generation(said: Iterable[Said], minor: int, request: Any) -> Iterator[Said]:
    """The messages of a runtime 0.``minor`` in place of those that another has ``said`` in answer to ``request``."""
    if isinstance(request, CommandExecutionMessage) and minor < _COMMANDS:
        for one in said:
            yield one.instead(message_type="error_message", error="Unknown message type: command_execution_message")
            return
    if minor >= SESSIONS and getattr(request, "post_agent_invocation_commands", None):
        said = _post_agent_first(said)
    for one in said:
        changed = _in_the_words_of(minor, one)
        if changed is not None:
            yield changed


def _post_agent_first(said: Iterable[Said]) -> Iterator[Said]:
    """Since 0.11 post-agent commands run before the result, and one that fails is told in its place."""
    stream = iter(said)
    for one in stream:
        if one.kind == "result_message":
            behind = list(stream)
            yield from (other for other in behind if other.kind in _OF_COMMANDS)
            yield next((other for other in behind if other.kind == "error_message"), one)
            yield from (other for other in behind if other.kind not in (*_OF_COMMANDS, "error_message"))
        else:
            yield one


def _in_the_words_of(minor: int, one: Said) -> Optional[Said]:
    """A message as a release would send it; None if it sends nothing for it."""
    fields = one.fields
    if one.kind == "command_output_message" and minor < _OUTPUT:
        return one.instead(message_type="assistant_message", text_blocks=[fields.get("text")])
    if one.kind == "heartbeat_message" and minor < _OUTPUT:
        return None
    if one.kind == "end_session_confirm_message" and minor < _CONFIRMATION:
        return None
    if one.kind == "result_message":
        return _result(minor, one)
    if one.kind == "command_execution_result_message":
        return _command_result(minor, one)
    return one


def _result(minor: int, one: Said) -> Said:
    fields = {name: value for name, value in one.fields.items() if name not in ("data", "structured_output")}
    data = one.fields.get("data")
    data = data if isinstance(data, dict) else {}
    output = one.fields.get("structured_output", data.get("structured_output"))
    if minor < _DATA:
        if output is None:
            raise one.entry.fault(f"a runtime 0.{minor} has no results in text")
        return one.instead(**fields, structured_output=output)
    if data or output is None:
        return one
    return one.instead(**fields, data={"type": "structured_output", "structured_output": output})


def _command_result(minor: int, one: Said) -> Said:
    results = one.fields.get("results")
    items = [item for item in results if isinstance(item, dict)] if isinstance(results, list) else []
    failed = next((item for item in items if item.get("exit_code")), None)
    if failed is not None and minor < _EXIT_CODES:
        error = f"command failed with exit code: {failed['exit_code']}"
        return one.instead(message_type="error_message", error=error)
    if minor < _STDOUT:
        items = [{name: value for name, value in item.items() if name != "stdout"} for item in items]
        return one.instead(**{**one.fields, "results": items})
    return one
