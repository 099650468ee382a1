"""The keywords of a map that are not options of a query."""

from __future__ import annotations

import math
from typing import Any, Callable, Optional

import attrs

from ._budget import Budget
from ._outcome import Progress


def _must(wanted: str, fits: Callable[[Any], bool]) -> Any:
    def check(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        if not fits(value):
            raise ValueError(f"{attribute.name} must be {wanted}")

    return check


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_rate(value: Any) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value is None or (is_number and 0 < value < math.inf)


@attrs.frozen(kw_only=True)
class How:
    """The keywords of ``Client.map`` that are no options of a query; see there.

    >>> How(at_once=0)
    Traceback (most recent call last):
    ...
    ValueError: at_once must be a whole number of at least 1
    """

    at_once: int = attrs.field(
        default=8, validator=_must("a whole number of at least 1", lambda value: _is_whole(value) and value > 0)
    )
    ordered: bool = False
    return_exceptions: bool = True
    when_stopped: str = attrs.field(
        default="cancel", validator=_must("'cancel' or 'wait'", lambda value: value in ("cancel", "wait"))
    )
    on_progress: Optional[Callable[[Progress], Any]] = attrs.field(
        default=None, validator=_must("a function or None", lambda value: value is None or callable(value))
    )
    budget: Optional[Budget] = attrs.field(
        default=None,
        validator=_must("a Budget or None", lambda value: value is None or isinstance(value, Budget)),
    )
    rate: Optional[float] = attrs.field(
        default=None, validator=_must("a number above 0, of prompts a second, or None for no limit", _is_rate)
    )
    retries: int = attrs.field(
        default=5, validator=_must("a whole number of at least 0", lambda value: _is_whole(value) and value >= 0)
    )
