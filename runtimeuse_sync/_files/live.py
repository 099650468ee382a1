"""Separates the live output of a command from the report that a script prints after it."""

from __future__ import annotations

from typing import Any, Callable, Optional

from .. import AssistantMessageInterface, CommandOutputMessageInterface
from .sandbox import Output, Script

OnOutput = Callable[[CommandOutputMessageInterface], Any]


class Live:
    """Takes the messages of a run: hands on what the command prints, and keeps what the report says.

    >>> live = Live("make", report := Script("", mark="m"), lambda message: print(message.text))
    >>> live.assistant(AssistantMessageInterface(text_blocks=["compiling<", "m:0 1 0 0 0:m>"]))
    compiling
    >>> report.answer_in(live.report)
    '0 1 0 0 0'
    """

    def __init__(self, line: str, report: Script, on_output: Optional[OnOutput]) -> None:
        self._line = line
        self._script = report
        self._on_output = on_output
        self._report = Output()
        self._held_back = ""
        self._is_reporting = False

    @property
    def report(self) -> str:
        """The output that belongs to the report."""
        return self._report.text

    def command(self, message: CommandOutputMessageInterface) -> None:
        """Since 0.14: it says which command has printed it."""
        if message.command == self._script.command:
            self._report.command(message)
        else:
            self._hand_on(message.stream, message.text)

    def assistant(self, message: AssistantMessageInterface) -> None:
        """Until 0.13: what stands before the mark is the command's, of either stream."""
        if self._is_reporting:
            self._report.assistant(message)
            return
        text = self._held_back + "".join(message.text_blocks)
        place = text.find(self._script.begin)
        self._is_reporting = place >= 0
        if place < 0:
            place = len(text) - _overlap(text, self._script.begin)
        self._held_back = text[place:]
        self._hand_on("stdout", text[:place])
        if self._is_reporting:
            self._report.assistant(AssistantMessageInterface(text_blocks=[self._held_back]))

    def _hand_on(self, stream: str, text: str) -> None:
        if self._on_output and text:
            self._on_output(CommandOutputMessageInterface(stream=stream, text=text, command=self._line))


def _overlap(text: str, mark: str) -> int:
    """The length of the longest end of ``text`` that is a beginning of ``mark``.

    >>> _overlap("a <m", "<m:")
    2
    """
    return next((size for size in range(min(len(mark), len(text)), 0, -1) if text.endswith(mark[:size])), 0)
