"""An invocation with an output type, which is repeated while the answer does not fit."""

from __future__ import annotations

import json
from typing import Any, Optional

import attrs

from .. import InvocationMessage, OutputValidationError, ResultMessageInterface
from ._output import Output

# Characters of an answer that does not fit which the agent is shown again: what a model can take in.
LONGEST_ANSWER = 100_000

# Fields that a repeated request leaves out: only the question is repeated.
_ONCE: dict[str, Any] = {
    "pre_agent_downloadables": None,
    "pre_agent_invocation_commands": None,
    "post_agent_invocation_commands": None,
    "artifacts_dirs": None,
    "artifacts_ignore_content": None,
}


class Asking:
    """An invocation whose answer is to be of a type.

    Args:
        repairs: how often it is asked again while the answer does not fit.

    Attributes:
        request (InvocationMessage): the invocation, with the schema of ``output_type``.

    Raises:
        TypeError, ValueError: for what cannot be asked for.
    """

    def __init__(self, invocation: InvocationMessage, output_type: Any, repairs: int = 0) -> None:
        _check_repairs(output_type, repairs)
        if invocation.output_format_json_schema_str is not None:
            raise ValueError("give output_type or output_format_json_schema_str, not both")
        self._output = Output(output_type)
        self._left = repairs
        self.request = attrs.evolve(invocation, output_format_json_schema_str=self._output.text)

    @property
    def may_follow(self) -> bool:
        """Whether the agent may be asked again."""
        return self._left > 0

    def read(self, result: ResultMessageInterface[Any]) -> Any:
        """Convert the answer to the type; raises ``OutputValidationError`` if it does not fit."""
        return self._output.read(result)

    def again(self, error: OutputValidationError) -> Optional[InvocationMessage]:
        """The request that asks again after ``error``; None if no repairs are left."""
        if self._left == 0:
            return None
        self._left -= 1
        return attrs.evolve(self.request, user_prompt=_repair_prompt(self.request.user_prompt, error), **_ONCE)


def _check_repairs(output_type: Any, repairs: Any) -> None:
    wanted = "output_repairs must be a whole number of at least 0"
    if isinstance(repairs, bool) or not isinstance(repairs, int):
        raise TypeError(f"{wanted}; got a {type(repairs).__name__}")
    if repairs < 0:
        raise ValueError(f"{wanted}; got {repairs}")
    if output_type is None:
        raise ValueError("output_repairs needs output_type: without one, any answer fits")


def _repair_prompt(prompt: str, error: OutputValidationError) -> str:
    """All that the agent needs: it may not remember anything of the request before."""
    data = None if error.result is None else error.result.data
    text = getattr(data, "text", None)
    came = text if text is not None else json.dumps(getattr(data, "structured_output", None), ensure_ascii=False)
    if len(came) > LONGEST_ANSWER:
        came = came[:LONGEST_ANSWER] + "…"
    said = f" ({error.detail})" if error.detail else ""
    return (
        f"{prompt}\n\n"
        f"You have already worked on this, and your answer was:\n\n{came}\n\n"
        f"It does not fit the output schema: at {error.path}: {error.message}{said}. "
        "Give the whole answer again, corrected. Do not do work again that is done."
    )
