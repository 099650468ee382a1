"""The options of ``submit`` and ``map`` that apply to each prompt."""

from __future__ import annotations

from typing import Any, Union

import attrs

from .. import Client, QueryOptions, Run, Usage


@attrs.frozen
class Asks:
    """The options of ``submit`` and ``map`` that are those of a query.

    >>> Asks(QueryOptions(), None, 0).run(client, "hello")
    <Run: not entered>
    """

    options: QueryOptions
    output_type: Any
    output_repairs: int

    def run(self, client: Client, prompt: str) -> Run[Any]:
        """The run of ``prompt``; raises for what cannot be meant."""
        kinds: dict[str, Any] = {"output_type": self.output_type, "output_repairs": self.output_repairs}
        if self.output_type is None and self.output_repairs == 0:
            kinds = {}
        return client.stream(prompt, self.options, **kinds)

    def run_of_any(self, client: Client, prompt: Any) -> Union[Run[Any], RefusedRun]:
        """The same, but for a value that is not a prompt: a run that fails when it is entered."""
        try:
            return self.run(client, prompt)
        except TypeError as error:
            return RefusedRun(error)


class RefusedRun:
    """A stand-in for a run that could not be made: it raises when it is entered.

    >>> with RefusedRun(TypeError("no prompt")):
    ...     pass
    Traceback (most recent call last):
    ...
    TypeError: no prompt
    """

    usage, was_opened = Usage(), False

    def __init__(self, error: TypeError) -> None:
        self._error = error

    def __enter__(self) -> Run[Any]:
        raise self._error

    def __exit__(self, *_: object) -> None:
        pass

    def cancel(self) -> None:
        """There is nothing to cancel.

        >>> RefusedRun(TypeError("no prompt")).cancel()
        """
