"""The output schema of an invocation, judged as the real runtime judges it: by its JSON parser alone."""

from __future__ import annotations

import json

# What Python's parser says, and what the one of Node 20 does: for the most frequent faults, as releases differ.
_WORDS = {
    "Extra data": "Unexpected non-whitespace character after JSON",
    "Expecting ':' delimiter": "Expected ':' after property name in JSON",
    "Expecting property name enclosed in double quotes": "Expected double-quoted property name in JSON",
}

# Characters that it shows on either side of the one that it did not expect.
_CONTEXT = 10


def check_schema(text: str) -> None:
    """Raise ``ValueError``, in the words of the real runtime's parser, for what is no JSON.

    What lacks the wrapper ``{"type": "json_schema", "schema": …}`` is taken in silence, as there.

    >>> check_schema('{"type": "json_schema"}')
    >>> check_schema("<schema>")
    Traceback (most recent call last):
    ...
    ValueError: Unexpected token '<', "<schema>" is not valid JSON
    """
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(_words(text, error.msg, error.pos)) from None
    except (ValueError, RecursionError):  # more digits, or brackets, than are taken here
        raise ValueError("the output schema is too large to be read as JSON") from None


def _words(text: str, fault: str, at: int) -> str:
    if at >= len(text):
        return "Unexpected end of JSON input"
    if fault in _WORDS:
        return f"{_WORDS[fault]} at position {at}"
    start, end = at - _CONTEXT, at + _CONTEXT
    if len(text) <= 2 * _CONTEXT:
        start, end = 0, len(text)
    shown = f'{"..." if start > 0 else ""}"{text[max(0, start) : end]}"{"..." if end < len(text) else ""}'
    return f"Unexpected token '{text[at]}', {shown} is not valid JSON"
