"""The contract between a runtime and the agent that it hosts."""

from __future__ import annotations

import threading
from typing import Any, Callable, Optional, Protocol, Union

from attrs import field, frozen

from .._common.validation import kind
from ..messages import InvocationMessage


class Sender(Protocol):
    """The handler's way to send messages to the client while it works. May be used from any thread.

    Attributes:
        cancelled (threading.Event): set when the client cancels, disconnects, or the runtime stops. A handler
            that works long between two messages looks at it, and returns: what it returns then is ignored.

    >>> def handler(invocation, sender):
    ...     for step in ("reading", "writing"):
    ...         if sender.cancelled.is_set():
    ...             return ""
    ...         sender.assistant(step)
    ...     return "done"
    """

    cancelled: threading.Event

    def assistant(self, *text_blocks: str) -> None:
        """Send text of the agent.

        Args:
            text_blocks: the blocks of one message.

        Raises:
            CancelledException: if the request was cancelled. Let it pass: it ends the handler.
        """

    def error(self, error: str, metadata: Optional[dict[str, Any]] = None) -> None:
        """Report an error and work on. To fail for good, raise an exception instead.

        Most clients take the first error as the end of the run.

        Args:
            error: what went wrong.
            metadata: details, as JSON.

        Raises:
            CancelledException: if the request was cancelled.
        """


def _output(_: object, __: object, value: Any) -> None:
    if not isinstance(value, (str, dict)):
        raise TypeError(f"HandlerResult's output must be a str or a dict; got {kind(value)}")


def _metadata(_: object, __: object, value: Any) -> None:
    if value is not None and not isinstance(value, dict):
        raise TypeError(f"HandlerResult's metadata must be a dict or None; got {kind(value)}")


@frozen
class HandlerResult:
    """A handler's return value with metadata in addition to the answer.

    Attributes:
        output (str or dict): text, or structured output.
        metadata (dict or None): cost, duration, whatever the client may want to know. Default None.

    Raises:
        TypeError: for an output or metadata of another type.

    >>> HandlerResult({"files": 3}, metadata={"cost_usd": 0.02}).output
    {'files': 3}
    """

    output: Union[str, dict[str, Any]] = field(validator=_output)
    metadata: Optional[dict[str, Any]] = field(default=None, validator=_metadata, kw_only=True)


Handler = Callable[[InvocationMessage, Sender], Union[str, dict[str, Any], HandlerResult]]
