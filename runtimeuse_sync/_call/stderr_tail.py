"""The last part of a command's standard error, which is shown in the error when it fails."""

from __future__ import annotations

from typing import Any, Callable, Optional

from ..messages import CommandOutputMessageInterface

# Characters that are kept: the most that an exception's text shows.
_KEPT = 2_000


class StderrTail:
    """A callback for command output that keeps the end of the latest command's stderr, and calls ``callback``."""

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
        """The kept stderr of ``command``, if it was the last command that wrote; else an empty string."""
        return self._text if command == self._command else ""
