"""The table of a call's callbacks, by message class."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Callable, Optional, Union

from .. import messages as m
from .._common.validation import check_callable
from ..options import (
    ExecuteCommandsOptions,
    OnAssistantMessageCallback,
    OnCommandOutputCallback,
    OnHeartbeatCallback,
    QueryOptions,
)

_Callback = Callable[[Any], Any]
_UNKNOWN: Any = object()


class Callbacks:
    """The callbacks of one call, by message class."""

    def __init__(
        self,
        on_assistant_message: Optional[OnAssistantMessageCallback] = None,
        on_command_output: Optional[OnCommandOutputCallback] = None,
        on_heartbeat: Optional[OnHeartbeatCallback] = None,
    ) -> None:
        self._by_class: dict[type, Optional[_Callback]] = {}
        self.add("on_assistant_message", m.AssistantMessageInterface, on_assistant_message)
        self.add("on_command_output", m.CommandOutputMessageInterface, on_command_output)
        self.add("on_heartbeat", m.HeartbeatMessageInterface, on_heartbeat)

    @classmethod
    def of(cls, options: Union[QueryOptions, ExecuteCommandsOptions]) -> Callbacks:
        return cls(options.on_assistant_message, options.on_command_output, options.on_heartbeat)

    def add(self, name: str, message_cls: type, callback: Optional[_Callback]) -> None:
        check_callable(name, callback)
        if callback is not None:
            self._by_class[message_cls] = callback

    def call(self, messages: Iterable[Any]) -> None:
        """Hand each message to its callback, if there is one."""
        find = self._by_class.get
        for message in messages:
            callback = find(type(message), _UNKNOWN)
            if callback is _UNKNOWN:
                callback = self._by_class[type(message)] = self._inherited(type(message))
            if callback is not None:
                callback(message)

    def _inherited(self, cls: type) -> Optional[_Callback]:
        """The callback of the nearest base class: a custom transport may deliver subclasses of a message class."""
        return next((self._by_class[base] for base in cls.__mro__ if base in self._by_class), None)
