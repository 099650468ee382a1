"""Checks of a call's arguments (those that are not options), made before anything is sent."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import attrs

from .. import messages as m
from .._common.validation import check_artifacts, check_output_schema, check_secrets, check_type, kind
from .._protocol import codec
from ..options import CallOptions


def check_invocation(invocation: Any, result_message_cls: Any, options: CallOptions) -> None:
    """Raise for arguments of ``invoke`` and ``stream`` that are not usable."""
    check_type("invocation", invocation, m.InvocationMessage, "a str or an InvocationMessage")
    check_result_class(result_message_cls)
    check_artifacts(invocation.artifacts_dirs, options.on_artifact_upload_request)
    check_secrets(invocation.secrets_to_redact)
    check_output_schema(invocation.output_format_json_schema_str)


def check_result_class(cls: Any) -> None:
    """Refuse a result class whose fields attrs does not know of: they would silently stay empty."""
    if not (isinstance(cls, type) and issubclass(cls, m.ResultMessageInterface)):
        raise TypeError("result_message_cls must be ResultMessageInterface or a subclass of it")
    known = attrs.fields_dict(cls)
    for base in cls.__mro__[: cls.__mro__.index(m.ResultMessageInterface)]:
        unknown = [name for name in _annotated(base) if name not in known]
        if unknown:
            raise TypeError(f"{base.__name__} annotates {unknown[0]} but is no attrs class: put @attrs.define above it")
    if cls is not m.ResultMessageInterface:
        codec.check_readable(cls)


def _annotated(cls: type) -> list[str]:
    # Up to Python 3.9, getattr returns a base class's annotations; from 3.14 on, they are not in ``__dict__``.
    own = cls.__annotations__ if sys.version_info >= (3, 10) else cls.__dict__.get("__annotations__", {})  # noqa: RUF063
    return [name for name, kind in own.items() if "ClassVar" not in str(kind)]


def checked_commands(commands: Any) -> list[m.CommandInterface]:
    wanted = 'commands must be a list of CommandInterface, as in [CommandInterface(command="ls")]'
    if isinstance(commands, (str, m.CommandInterface)) or not isinstance(commands, Iterable):
        raise TypeError(f"{wanted}; got {kind(commands)}")
    found = [m.CommandInterface(command) if isinstance(command, str) else command for command in commands]
    for command in found:
        if not isinstance(command, m.CommandInterface):
            raise TypeError(f"{wanted}; got {kind(command)} in it")
    if not found:
        raise ValueError(f"{wanted}; got an empty one")
    return found
