"""``Usage``: the tokens, cost, turns and time of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional, Union

import attrs

from ._common.plain import Plain


@attrs.frozen(kw_only=True)
class Usage(Plain):
    """The usage of one run, or of several together. None: the runtime did not report it.

    Two add up field by field with ``+``, many with ``sum``; what one of them did not tell is taken as nothing.

    Attributes:
        input_tokens (int or None): tokens that the model read, without those from its cache.
        output_tokens (int or None): tokens that it wrote.
        cache_read_tokens (int or None): tokens that came from its cache.
        cache_write_tokens (int or None): tokens that went into it.
        cost_usd (float or None): US dollars.
        turns (int or None): turns of the agent.
        duration_seconds (float or None): seconds.
        session_id (str or None): the agent's own session; of a sum, the last one told.

    >>> Usage(input_tokens=10, turns=1) + Usage(input_tokens=5, cost_usd=0.5)
    Usage(input_tokens=15, output_tokens=None, cache_read_tokens=None, cache_write_tokens=None, cost_usd=0.5, turns=1, \
duration_seconds=None, session_id=None)
    """

    input_tokens: Optional[int] = None
    output_tokens: Optional[int] = None
    cache_read_tokens: Optional[int] = None
    cache_write_tokens: Optional[int] = None
    cost_usd: Optional[float] = None
    turns: Optional[int] = None
    duration_seconds: Optional[float] = None
    session_id: Optional[str] = None

    @classmethod
    def of(cls, metadata: Optional[Mapping[str, Any]]) -> Usage:
        """The usage in the metadata of a result or an error, with the field names of a Claude or an OpenAI agent.

        A value of the wrong type is taken as not told.

        >>> Usage.of({"total_cost_usd": 0.25, "duration_ms": 1500, "usage": {"inputTokens": 7}}).input_tokens
        7
        """
        told = metadata if isinstance(metadata, Mapping) else {}
        tokens = told.get("usage")
        tokens = tokens if isinstance(tokens, Mapping) else {}
        milliseconds = _amount(told.get("duration_ms"))
        session = told.get("session_id")
        return cls(
            input_tokens=_count(tokens, "input_tokens", "inputTokens"),
            output_tokens=_count(tokens, "output_tokens", "outputTokens"),
            cache_read_tokens=_count(tokens, "cache_read_input_tokens"),
            cache_write_tokens=_count(tokens, "cache_creation_input_tokens"),
            cost_usd=_amount(told.get("total_cost_usd")),
            turns=_count(told, "num_turns"),
            duration_seconds=None if milliseconds is None else milliseconds / 1000,
            session_id=session if isinstance(session, str) else None,
        )

    def __add__(self, other: Usage) -> Usage:
        if not isinstance(other, Usage):
            return NotImplemented
        sums: dict[str, Any] = {
            name: _sum(getattr(self, name), getattr(other, name))
            for name in (field.name for field in attrs.fields(Usage))
            if name != "session_id"
        }
        return Usage(**sums, session_id=self.session_id if other.session_id is None else other.session_id)

    def __radd__(self, other: int) -> Usage:
        # The start value of sum().
        return self if other == 0 else NotImplemented


def _count(told: Mapping[str, Any], *names: str) -> Optional[int]:
    for name in names:
        value = told.get(name)
        if type(value) is int and value >= 0:
            return value
    return None


# The largest float: beyond it a number that JSON can write has become infinite, or cannot become a float.
_MOST = 1.7976931348623157e308


def _amount(value: object) -> Optional[float]:
    is_number = type(value) is int or type(value) is float
    return value if is_number and 0 <= value <= _MOST else None  # type: ignore[operator, return-value]


def _sum(one: Union[int, float, None], other: Union[int, float, None]) -> Union[int, float, None]:
    if one is None or other is None:
        return other if one is None else one
    return one + other
