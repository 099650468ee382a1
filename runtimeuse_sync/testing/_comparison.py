"""Comparison of a message with the expected one."""

from __future__ import annotations

import difflib
import pprint
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs

_HIDDEN = "differs; not shown, as it may hold secrets"


def check_fields(message_class: type, fields: Iterable[str]) -> None:
    """Raise ``TypeError`` for a field that ``message_class`` has not."""
    known = {field.name for field in attrs.fields(message_class)}
    for name in fields:
        if name not in known:
            raise TypeError(f"{message_class.__name__} has no field {name!r}, but {sorted(known)}")


def difference(message: Any, expected: Mapping[str, Any]) -> str:
    """The fields of ``message`` that differ from ``expected``, as text; "" if none. Secret values are not shown."""
    fields = attrs.fields_dict(type(message))
    lines: list[str] = []
    for name, value in expected.items():
        actual = getattr(message, name)
        if actual == value:
            continue
        lines.append(f"{name}:")
        lines += _compare(value, actual) if fields[name].repr else [f"  {_HIDDEN}"]
    return "\n".join(lines)


def _compare(expected: Any, actual: Any) -> list[str]:
    before, after = (pprint.pformat(value).splitlines() for value in (expected, actual))
    shown = difflib.ndiff(before, after) if before != after else ()
    hidden = (f"{path} {_HIDDEN}" for path in _hidden_differences("", expected, actual))
    return ["  " + line.rstrip("\n") for line in (*shown, *hidden)]


def _hidden_differences(path: str, expected: Any, actual: Any) -> Iterator[str]:
    """The places in two values, item by item, where fields differ that are in no ``repr``."""
    if isinstance(expected, list) and isinstance(actual, list):
        for number, pair in enumerate(zip(expected, actual)):
            yield from _hidden_differences(f"{path}[{number}]", *pair)
    elif attrs.has(type(expected)) and type(expected) is type(actual):
        for field in attrs.fields(type(expected)):
            if not field.repr and getattr(expected, field.name) != getattr(actual, field.name):
                yield f"{path}.{field.name}"
