"""The end of what a command writes to its standard error, for the error that says how it failed."""

from __future__ import annotations

from typing import Any, Callable, Optional

from ..messages import CommandOutputMessageInterface

# Characters that are kept: what a message of an exception shows at most.
_KEPT = 2_000


class StderrTail:
    """A callback for a command's output that hands on to ``callback``, and remembers the newest command's stderr."""

    def __init__(self, callback: Optional[Callable[[CommandOutputMessageInterface], Any]]) -> None:
        self._callback = callback
        self._command = ""
        self._text = ""

    def __call__(self, message: CommandOutputMessageInterface) -> None:
        if message.command != self._command:
            self._command, self._text = message.command, ""
        if message.stream == "stderr":
            self._text = (self._text + message.text[-_KEPT:])[-_KEPT:]
        if self._callback is not None:
            self._callback(message)

    def of(self, command: str) -> str:
        """What ``command`` has written, if it was the last one that wrote; else nothing."""
        return self._text if command == self._command else ""
