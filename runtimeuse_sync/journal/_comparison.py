"""Comparison of a request with a recorded one, both without secrets, so that differences can be shown in full."""

from __future__ import annotations

import difflib
import json
import pprint
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Optional

import attrs

from .. import CommandExecutionMessage, EndSessionMessage, InvocationMessage
from ._secrets import Secrets

_REQUESTS = (InvocationMessage, CommandExecutionMessage, EndSessionMessage)
# Fields that are never written are not compared.
_NEVER = frozenset({"message_type", "agent_env", "secrets_to_redact"})
_KNOWN = {cls: {field.name for field in attrs.fields(cls)} - _NEVER for cls in _REQUESTS}


def checked_fields(fields: Optional[Iterable[str]]) -> Optional[frozenset[str]]:
    """The names of fields that count; raises ``ValueError`` for one that no request has, or that is never written."""
    if fields is None:
        return None
    known, asked = frozenset().union(*_KNOWN.values()), frozenset(fields)
    for name in asked - known:
        raise ValueError(f"no field {name!r} of a request can be compared, but {', '.join(sorted(known))}")
    return asked


def written(request: Any) -> dict[str, Any]:
    """The wire's JSON of ``request``, as a journal has it."""
    fields: dict[str, Any] = json.loads(Secrets().including(request).as_json(request))
    return fields


def difference(recorded: Mapping[str, Any], asked: Mapping[str, Any], fields: Optional[frozenset[str]]) -> str:
    """The differences between ``asked`` and ``recorded``, as text; "" if all ``fields`` (None: all) are equal."""
    kinds = recorded.get("message_type"), asked.get("message_type")
    if kinds[0] != kinds[1]:
        return "\n".join(_compare("message_type", *kinds))
    cls = next(cls for cls in _REQUESTS if attrs.fields_dict(cls)["message_type"].default == kinds[1])
    names = sorted(_KNOWN[cls] if fields is None else _KNOWN[cls] & fields)
    return "\n".join(line for name in names for line in _compare(name, recorded.get(name), asked.get(name)))


def _compare(name: str, recorded: Any, asked: Any) -> Iterator[str]:
    recorded, asked = _without_env(recorded), _without_env(asked)
    if recorded == asked:
        return
    yield f"{name}:"
    before, after = (pprint.pformat(value).splitlines() for value in (recorded, asked))
    yield from ("  " + line.rstrip("\n") for line in difflib.ndiff(before, after))


def _without_env(value: Any) -> Any:
    """Commands without their environments."""
    if not isinstance(value, list):
        return value
    return [{k: v for k, v in item.items() if k != "env"} if isinstance(item, dict) else item for item in value]
