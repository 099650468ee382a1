"""Checks of arguments. Each error names the argument, and says what to write.

Every check is a function ``check(name, value)`` that raises. A function calls it with its argument; a class attaches it
to a field by ``checked_by``, so that assignments are checked as well. Combinations of several values are checked where
they are used.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Callable, Optional

import attrs

Check = Callable[[str, Any], None]


def checked_by(check: Check) -> Any:
    """``check`` as an attrs validator of a field."""

    def validate(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        check(attribute.name, value)

    return validate


def kind(value: object) -> str:
    """The type of ``value``, for an error text. Not the value itself, which may be long or a secret.

    >>> kind("s3cret"), kind(None)
    ('a str', 'None')
    """
    return "None" if value is None else f"a {type(value).__name__}"


def check_type(name: str, value: object, cls: type, example: str) -> None:
    """Raise ``TypeError`` unless ``value`` is an instance of ``cls``.

    >>> check_type("prompt", b"Hello", str, "a str")
    Traceback (most recent call last):
    ...
    TypeError: prompt must be a str; got a bytes
    """
    if not isinstance(value, cls):
        raise TypeError(f"{name} must be {example}; got {kind(value)}")


def _must_be(wanted: str, fits: Callable[[Any], bool]) -> Check:
    """Make a check whose error says what is needed, and never quotes the value, which may be a secret."""

    def check(name: str, value: Any) -> None:
        if not fits(value):
            got = kind(value)
            holds = " that holds something else" if wanted.startswith(f"{got} of") else ""
            raise TypeError(f"{name} must be {wanted}; got {got}{holds}")

    return check


# --- strings and containers -------------------------------------------------------------------------


def _is_string(value: Any) -> bool:
    return isinstance(value, str)


def _are_strings(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(map(_is_string, value))


def _is_env(value: Any) -> bool:
    return isinstance(value, dict) and _are_strings([*value.keys(), *value.values()])


def _holds(value: Any, cls: type) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(item, cls) for item in value)


check_string = _must_be("a str", _is_string)
check_optional_string = _must_be("a str or None", lambda value: value is None or _is_string(value))
check_strings = _must_be("a list of str", _are_strings)
check_optional_strings = _must_be("a list of str, or None", lambda value: value is None or _are_strings(value))
check_env = _must_be("a dict of str to str, or None", lambda value: value is None or _is_env(value))


def check_list_of(cls: type) -> Check:
    """Make a check for a list of ``cls``."""
    return _must_be(f"a list of {cls.__name__}", lambda value: _holds(value, cls))


def check_optional_list_of(cls: type) -> Check:
    """Make a check for a list of ``cls``, or None."""
    return _must_be(f"a list of {cls.__name__}, or None", lambda value: value is None or _holds(value, cls))


def check_transfers(name: str, value: object) -> None:
    """Raise unless ``value`` is None, or a dict from absolute paths in the sandbox to paths here.

    >>> check_transfers("uploads", {"src": "/srv/src"})
    Traceback (most recent call last):
    ...
    ValueError: uploads must have absolute paths in the sandbox as its keys, as in {'/srv/src': 'src/'}
    """
    example = "as in {'/srv/src': 'src/'}"
    wanted = f"{name} must be a dict from paths in the sandbox to paths here, {example}"
    if value is not None and not isinstance(value, dict):
        raise TypeError(f"{wanted}; got {kind(value)}")
    for remote, local in (value or {}).items():
        for path in (remote, local):
            if not isinstance(path, str) and (path is remote or not hasattr(path, "__fspath__")):
                raise TypeError(f"{wanted}; got one that holds {kind(path)}")
        if not remote.startswith("/"):
            raise ValueError(
                f"{name} must have absolute paths in the sandbox as its keys, as in {{'/srv/src': 'src/'}}"
            )


_SCHEMA = "output_format_json_schema_str"


def check_output_schema(text: Optional[str]) -> None:
    """Raise for an output schema to which a runtime answers with a parser's error, or which it silently ignores.

    >>> check_output_schema('{"type": "object"}')
    Traceback (most recent call last):
    ...
    ValueError: output_format_json_schema_str has no wrapper around the schema: write json.dumps({"type": \
"json_schema", "schema": schema})
    """
    if text is None:
        return
    write = 'write json.dumps({"type": "json_schema", "schema": schema})'
    try:
        wrapper = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(f"{_SCHEMA} is not JSON: {write}") from None
    if not isinstance(wrapper, dict) or wrapper.get("type") != "json_schema" or "schema" not in wrapper:
        raise ValueError(f"{_SCHEMA} has no wrapper around the schema: {write}")
    if not isinstance(wrapper["schema"], dict):
        raise TypeError(f"{_SCHEMA} has a schema that is no object: {write}, with a dict as the schema")


# --- numbers ----------------------------------------------------------------------------------------


def check_seconds(name: str, value: object, *, none_means: Optional[str] = "no limit") -> None:
    """Raise unless ``value`` is a duration in seconds. ``none_means`` tells what None does; None: it is refused.

    >>> check_seconds("timeout", float("nan"))
    Traceback (most recent call last):
    ...
    ValueError: timeout must be a positive number of seconds, or None for no limit; got nan
    """
    if value is None and none_means is not None:
        return
    wanted = _or_none(f"{name} must be a positive number of seconds", none_means)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{wanted}; got {kind(value)}")
    if not 0 < value <= sys.float_info.max:
        raise ValueError(f"{wanted}; got {str(value)[:30]}")


def check_size(name: str, value: object, *, none_means: Optional[str] = "no limit") -> None:
    """Raise unless ``value`` is a number of bytes; ``none_means`` as in ``check_seconds``.

    >>> check_size("max_message_size", 0)
    Traceback (most recent call last):
    ...
    ValueError: max_message_size must be a positive whole number of bytes, or None for no limit; got 0
    """
    if value is not None or none_means is None:
        _check_whole(value, 1, math.inf, _or_none(f"{name} must be a positive whole number of bytes", none_means))


def check_port(value: object) -> None:
    """Raise unless ``value`` is a port number; 0 (any free port) is one."""
    _check_whole(value, 0, 65535, "port must be a whole number from 0 to 65535")


def _check_whole(value: object, least: float, most: float, wanted: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{wanted}; got {kind(value)}")
    if not least <= value <= most:
        raise ValueError(f"{wanted}; got {value}")


def _or_none(wanted: str, none_means: Optional[str]) -> str:
    return wanted if none_means is None else f"{wanted}, or None for {none_means}"


# --- functions --------------------------------------------------------------------------------------


def check_callable(name: str, value: object) -> None:
    """Raise for a callback that cannot be called, and for an async or generator function: its body would not run."""
    if value is None:
        return
    if not callable(value):
        raise TypeError(f"{name} must be a function or None; got {kind(value)}")
    flags = _code_flags(value)
    if flags & _ASYNC:
        raise TypeError(f"{name} is an async function, but only plain ones are called: write `def` for `async def`")
    if flags & _GENERATOR:
        raise TypeError(f"{name} is a generator function: calling it runs nothing of it")


# inspect's CO_COROUTINE and CO_ASYNC_GENERATOR: importing it would cost a fifth of this package's import time.
_ASYNC, _GENERATOR = 0x80 | 0x200, 0x20


def _code_flags(function: Any) -> int:
    while isinstance(function, partial):
        function = function.func
    code = getattr(function, "__code__", None) or getattr(type(function).__call__, "__code__", None)
    return 0 if code is None else int(code.co_flags)


def check_is_cancelled(value: object) -> None:
    """Raise unless ``value`` is an Event, a callable or None."""
    if isinstance(value, type) and hasattr(value, "is_set"):
        raise TypeError(f"is_cancelled must be an Event, not its class: write {value.__name__}()")
    if not hasattr(value, "is_set"):
        check_callable("is_cancelled (a threading.Event or a function)", value)


def check_logger(value: object) -> None:
    """Raise unless ``value`` is None, or has the methods of a logger."""
    if value is not None and not callable(getattr(value, "warning", None)):
        raise TypeError(f"logger must be a logging.Logger or LoggerAdapter, or None; got {kind(value)}")


# --- several values ---------------------------------------------------------------------------------


def check_secrets(secrets: Sequence[str]) -> None:
    """Raise for an empty string among the secrets; their types are checked elsewhere."""
    has_empty = isinstance(secrets, (list, tuple)) and "" in secrets  # what else it is, its message says
    del secrets  # a report of the error may show the variables of its frames
    if has_empty:
        raise ValueError("secrets_to_redact has an empty string in it, which would redact nothing: leave it out")


def check_artifacts(directories: Optional[Sequence[str]], callback: object) -> None:
    """Raise unless artifact directories and the callback that answers their requests are both given, or neither."""
    if directories and callback is None:
        raise ValueError("artifacts_dirs needs on_artifact_upload_request: a function that returns where to upload")
    if callback is not None and not directories:
        raise ValueError("on_artifact_upload_request needs artifacts_dirs: the directories in the sandbox to watch")


def strings(values: object, wanted: str) -> tuple[str, ...]:
    """``values`` as a list of strings. A single string is refused: it would be taken for a list of characters.

    >>> strings("/out", "roots must be a list of strings, such as ['/out']")
    Traceback (most recent call last):
    ...
    TypeError: roots must be a list of strings, such as ['/out']; got a str
    """
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"{wanted}; got {kind(values)}")
    found = tuple(values)
    for value in found:
        if not isinstance(value, str):
            raise TypeError(f"{wanted}; it holds {kind(value)}")
    return found
