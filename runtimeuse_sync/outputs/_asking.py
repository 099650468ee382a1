"""Asking until the answer fits."""

from __future__ import annotations

import json
import time
from typing import Any, Callable, Optional

import attrs

from .. import IdleTimeoutError, InvocationMessage, InvocationTimeoutError, OutputValidationError
from ._output import Output

# Characters of an answer that does not fit which the agent is shown again: what a model can take in.
LONGEST_ANSWER = 100_000

Ask = Callable[..., Any]

# A repair asks, and does nothing else again.
_ONCE: dict[str, Any] = {
    "pre_agent_downloadables": None,
    "pre_agent_invocation_commands": None,
    "post_agent_invocation_commands": None,
    "artifacts_dirs": None,
    "artifacts_ignore_content": None,
}


def prepare(invocation: InvocationMessage, output_type: Any) -> tuple[InvocationMessage, Callable[[Any], Any]]:
    """``invocation`` with the schema of ``output_type``, and what reads the answer from a result.

    Raises:
        TypeError, ValueError: for what cannot be asked for.
    """
    if invocation.output_format_json_schema_str is not None:
        raise ValueError("give output_type or output_format_json_schema_str, not both")
    output = Output(output_type)
    return attrs.evolve(invocation, output_format_json_schema_str=output.text), output.read


def answer(ask: Ask, invocation: InvocationMessage, options: Any, output_type: Any, repairs: int) -> Any:
    """The result of ``ask(invocation, options, read)``, asked for again up to ``repairs`` times while it does not fit.

    Args:
        options: with ``timeout``, seconds for all of it, and ``on_artifact_upload_request``.

    Raises:
        OutputValidationError: the last answer does not fit either.
        InvocationTimeoutError: ``timeout`` ran out.
        TypeError, ValueError: for arguments that cannot be meant, before anything is sent.
    """
    _check_repairs(output_type, repairs)
    prepared, read = prepare(invocation, output_type)
    began = time.monotonic()
    request, limits = prepared, options
    for left in range(repairs, -1, -1):
        try:
            return ask(request, limits, read)
        except OutputValidationError as error:
            if left == 0:
                raise
            request = attrs.evolve(prepared, user_prompt=_repair_prompt(invocation.user_prompt, error), **_ONCE)
        except InvocationTimeoutError as error:
            if limits is options or isinstance(error, IdleTimeoutError):
                raise
            raise InvocationTimeoutError(timeout=options.timeout) from None  # that one names what was left of it
        limits = attrs.evolve(options, on_artifact_upload_request=None, timeout=_time_left(options.timeout, began))
    raise AssertionError("the last round returns or raises")


def _check_repairs(output_type: Any, repairs: Any) -> None:
    wanted = "output_repairs must be a whole number of at least 0"
    if isinstance(repairs, bool) or not isinstance(repairs, int):
        raise TypeError(f"{wanted}; got a {type(repairs).__name__}")
    if repairs < 0:
        raise ValueError(f"{wanted}; got {repairs}")
    if output_type is None:
        raise ValueError("output_repairs needs output_type: without one, any answer fits")


def _time_left(timeout: Optional[float], began: float) -> Optional[float]:
    if timeout is None:
        return None
    left = timeout - (time.monotonic() - began)
    if left <= 0:
        raise InvocationTimeoutError(timeout=timeout)
    return left


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
