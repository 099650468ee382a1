"""The settings of a runtime, checked once, and passed to each of its connections."""

from __future__ import annotations

from typing import Any

from attrs import field, frozen

from ..._common.validation import check_callable, check_seconds, check_size, kind
from ..handlers import Handler


def _seconds(_: object, attribute: Any, value: Any) -> None:
    check_seconds(attribute.name, value, none_means=None)


def _bytes(_: object, attribute: Any, value: Any) -> None:
    check_size(attribute.name, value, none_means=None)


def _count(_: object, attribute: Any, value: Any) -> None:
    wanted = f"{attribute.name} must be a positive whole number"
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{wanted}; got {kind(value)}")
    if value < 1:
        raise ValueError(f"{wanted}; got {value}")


def _handler(_: object, __: object, value: Any) -> None:
    if not callable(value):
        raise TypeError(f"handler must be a function of (invocation, sender); got {kind(value)}")
    check_callable("handler", value)


@frozen(kw_only=True)
class Settings:
    """The part of ``LocalRuntime``'s arguments that its connections need; described there."""

    handler: Handler = field(validator=_handler)
    heartbeat_interval: float = field(validator=_seconds)
    settle_seconds: float = field(validator=_seconds)
    drain_timeout: float = field(validator=_seconds)
    max_connections: int = field(validator=_count)
    max_message_size: int = field(validator=_bytes)
    max_download_size: int = field(validator=_bytes)
