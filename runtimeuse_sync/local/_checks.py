"""What several arguments have to be; the errors say what to write."""

from __future__ import annotations

import math
from collections.abc import Iterable


def kind(value: object) -> str:
    """What ``value`` is, for an error; not its text, which may be long or a secret.

    >>> kind("s3cret"), kind(None)
    ('a str', 'None')
    """
    return "None" if value is None else f"a {type(value).__name__}"


def check_size(name: str, value: object, *, none_means: str = "") -> None:
    """Refuse what cannot be a number of bytes.

    >>> check_size("max_message_size", 0)
    Traceback (most recent call last):
    ...
    ValueError: max_message_size must be a positive number of bytes; got 0
    """
    or_none = f", or None for {none_means}" if none_means else ""
    if not (none_means and value is None):
        _check_whole(value, 1, math.inf, f"{name} must be a positive number of bytes{or_none}")


def check_port(value: object) -> None:
    """Refuse what cannot be a port, 0 for any free one among them."""
    _check_whole(value, 0, 65535, "port must be a whole number from 0 to 65535")


def _check_whole(value: object, least: float, most: float, wanted: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{wanted}; got {kind(value)}")
    if not least <= value <= most:
        raise ValueError(f"{wanted}; got {value}")


def strings(values: object, wanted: str) -> tuple[str, ...]:
    """``values``, if they are strings; a string is none: it would be taken for a list of characters.

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
