"""``Budget``: a limit for the cost or the tokens of a map."""

from __future__ import annotations

import math
from typing import Any, Optional

import attrs

from .. import Usage


def _check(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if value is not None and not (is_number and 0 < value < math.inf):
        raise ValueError(f"{attribute.name} of a Budget must be a number above 0, or None for no limit")


@attrs.frozen(kw_only=True)
class Budget:
    """A limit for what all runs of a ``map`` use together. Once it is reached, no further run begins.

    It is known when a run has ended what that took, so that what runs by then may go beyond it.

    Attributes:
        cost_usd (float or None): US dollars. Default None: no limit.
        tokens (int or None): tokens that were read, but from a cache, and written. Default None: no limit.

    Raises:
        ValueError: it has no limit, or one that cannot be meant.

    >>> budget = Budget(cost_usd=5)
    >>> budget.is_spent(Usage(cost_usd=4.99)), budget.is_spent(Usage(cost_usd=5.01))
    (False, True)
    """

    cost_usd: Optional[float] = attrs.field(default=None, validator=_check)
    tokens: Optional[int] = attrs.field(default=None, validator=_check)

    def __attrs_post_init__(self) -> None:
        if self.cost_usd is None and self.tokens is None:
            raise ValueError("a Budget needs a limit, as in Budget(cost_usd=5)")

    def is_spent(self, usage: Usage) -> bool:
        """Whether ``usage`` reaches it. What the runtime did not tell counts as nothing.

        >>> Budget(tokens=1000).is_spent(Usage(input_tokens=900, output_tokens=100))
        True
        """
        tokens = sum(
            filter(None, (usage.input_tokens, usage.output_tokens, usage.cache_write_tokens)),
        )
        is_paid = self.cost_usd is not None and (usage.cost_usd or 0.0) >= self.cost_usd
        return is_paid or (self.tokens is not None and tokens >= self.tokens)

    def is_measured_by(self, usage: Usage) -> bool:
        """Whether ``usage`` tells what there is a limit for.

        >>> Budget(cost_usd=5).is_measured_by(Usage(input_tokens=10))
        False
        """
        if self.cost_usd is not None and usage.cost_usd is None:
            return False
        return self.tokens is None or usage.input_tokens is not None or usage.output_tokens is not None
