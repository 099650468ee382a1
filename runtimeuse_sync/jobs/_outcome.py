"""``Outcome`` of one prompt of a map, and ``Progress`` of all so far."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Optional, TypeVar, Union

import attrs

from .. import QueryResult, Usage

if TYPE_CHECKING:  # type checkers know defaults of type variables for every version, Python from 3.13 on
    from typing_extensions import TypeVar as TypeVarWithDefault

    OutputT = TypeVarWithDefault("OutputT", default=Union[str, dict[str, Any]])
else:
    OutputT = TypeVar("OutputT")


@attrs.frozen(kw_only=True)
class Outcome(Generic[OutputT]):
    """The result or the error of one prompt of a ``map``.

    Attributes:
        prompt (str): the prompt. Not in ``repr``.
        index (int): its place among the prompts, from 0.
        result (QueryResult or None): what ``query`` would have returned. Not in ``repr``.
        error (BaseException or None): what it would have raised, if there is no result.
        usage (Usage): what it took, as far as the runtime tells; also of a failure.
        duration (float): seconds from its begin to its end, attempts to connect included.

    >>> for outcome in client.map(["hello"]):
    ...     print(outcome.index, outcome.prompt, outcome.output, outcome.error)
    0 hello hello None
    """

    prompt: str = attrs.field(repr=False)
    index: int
    result: Optional[QueryResult[OutputT]] = attrs.field(repr=False)
    error: Optional[BaseException]
    usage: Usage
    duration: float

    @property
    def output(self) -> OutputT:
        """The answer, as of ``QueryResult.output``; raises ``error`` if there is none.

        >>> [outcome.output for outcome in client.map(["hello"])]
        ['hello']
        """
        if self.error is not None:
            raise self.error
        assert self.result is not None
        return self.result.output


@attrs.frozen(kw_only=True)
class Progress:
    """The progress of a ``map``, for its ``on_progress``.

    Attributes:
        done (int): outcomes so far, ``failed`` ones included.
        failed (int): outcomes with an ``error``.
        running (int): prompts that have begun and have no outcome yet.
        total (int or None): how many prompts there are, if they have a length.
        usage (Usage): what all of them took.
        elapsed_seconds (float): since the map began.

    >>> progress = Progress(done=50, failed=1, running=8, total=200, usage=Usage(), elapsed_seconds=25.0)
    >>> progress.rate, progress.seconds_left
    (2.0, 75.0)
    """

    done: int
    failed: int
    running: int
    total: Optional[int]
    usage: Usage
    elapsed_seconds: float

    @property
    def rate(self) -> float:
        """Outcomes in a second, so far."""
        return self.done / self.elapsed_seconds if self.elapsed_seconds > 0 else 0.0

    @property
    def seconds_left(self) -> Optional[float]:
        """Seconds that the rest will take at that rate; None if that is not known."""
        if self.total is None or not self.rate:
            return None
        return max(0, self.total - self.done) / self.rate
