"""The order in which a map yields its outcomes."""

from __future__ import annotations

from typing import Any, Optional

from ._outcome import Outcome


class Order:
    """Yields outcomes as they come, or in the order of their prompts.

    Args:
        reach: how many prompts may be taken beyond the first that has no outcome yet; None to yield as they come.

    Attributes:
        taken (int): how many prompts have been taken.
    """

    def __init__(self, reach: Optional[int]) -> None:
        self.taken = 0
        self._reach = reach
        self._held: dict[int, Outcome[Any]] = {}
        self._next = 0  # the index of the first that was not yielded

    @property
    def has_room(self) -> bool:
        """Whether another prompt may be taken."""
        return self._reach is None or self.taken < self._next + self._reach

    def put(self, outcome: Outcome[Any]) -> list[Outcome[Any]]:
        """Add ``outcome``; return the outcomes that can be yielded now."""
        if self._reach is None:
            return [outcome]
        self._held[outcome.index], due = outcome, []
        while self._next in self._held:
            due.append(self._held.pop(self._next))
            self._next += 1
        return due
