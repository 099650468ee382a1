"""Conversion of a call's error to plain data and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import (
    AgentRuntimeError,
    CancelledException,
    ConnectionFailedError,
    ConnectionLostError,
    IdleTimeoutError,
    InvocationTimeoutError,
    MessageTooLargeError,
    ProtocolError,
    RuntimeUseError,
)

# The attributes of each class, beside its text.
_FIELDS: dict[type[RuntimeUseError], tuple[str, ...]] = {
    AgentRuntimeError: ("metadata",),
    CancelledException: (),
    ConnectionFailedError: ("status", "reason", "retry_after"),
    ConnectionLostError: ("code", "reason"),
    IdleTimeoutError: ("timeout",),
    InvocationTimeoutError: ("timeout",),
    MessageTooLargeError: ("size", "limit"),
    ProtocolError: ("close_code",),
    RuntimeUseError: (),
}
_BY_NAME = {cls.__name__: cls for cls in _FIELDS}


def as_fields(error: BaseException) -> dict[str, Any]:
    """``error`` as plain data. Of one that is not this library's own, its type alone: a text may say anything."""
    if not isinstance(error, RuntimeUseError):
        return {"type": type(error).__name__}
    cls = next(cls for cls in type(error).__mro__ if cls in _FIELDS)
    text = getattr(error, "error", str(error))
    return {"type": cls.__name__, "text": text, **{name: getattr(error, name) for name in _FIELDS[cls]}}


def from_fields(fields: Mapping[str, Any]) -> RuntimeUseError:
    """The error that ``as_fields`` made ``fields`` of; raises ``ValueError``, ``TypeError`` or ``KeyError``.

    >>> from_fields({"type": "ConnectionLostError", "text": "lost", "code": 1006, "reason": ""}).code
    1006
    """
    name = fields["type"]
    cls = _BY_NAME.get(name)
    if cls is None:
        return RuntimeUseError(f"the caller's own {_text(name)}")
    return cls(_text(fields["text"]), **{name: _checked(name, fields.get(name)) for name in _FIELDS[cls]})


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _checked(name: str, value: Any) -> Any:
    types = {"metadata": dict, "reason": str, "timeout": (int, float), "retry_after": (int, float)}.get(name, int)
    if value is not None and (not isinstance(value, types) or isinstance(value, bool)):  # type: ignore[arg-type]
        raise TypeError(f"{name} is of another type")
    return value
