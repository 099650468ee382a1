"""Reports, which display a run's messages: as text on a screen, or as JSON."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional, Protocol

from .. import messages as m
from ..exceptions import AgentRuntimeError, OutputValidationError
from ._json import to_json
from ._screen import PROGRAM, Screen, shown
from ._screens import open_screen

# Characters: output is shown in whole lines, and a line that is longer in pieces, so that memory is bounded.
_LONGEST_LINE = 64 * 1024


class Report(Protocol):
    """The interface of a report: it is called for each event, and displays it.

    Attributes:
        screen (Screen): where.
    """

    screen: Screen

    def assistant(self, message: m.AssistantMessageInterface) -> None:
        """The agent said something."""

    def output(self, message: m.CommandOutputMessageInterface) -> None:
        """A command printed something."""

    def heartbeat(self, message: m.HeartbeatMessageInterface) -> None:
        """The runtime is alive."""

    def result(self, message: m.ResultMessageInterface) -> None:
        """The agent's result came."""

    def artifact(self, remote: str, local: Path) -> None:
        """An artifact was saved."""

    def exit(self, code: int, failure: Optional[str] = None) -> None:
        """The remote command ended; ``failure`` says how, if ``code`` is not its own."""

    def ready(self, seconds: float) -> None:
        """The runtime accepts connections."""

    def error(self, error: BaseException) -> None:
        """The command failed, or was interrupted."""


class TextReport:
    """The result on standard output; all else in lines on standard error."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen
        self._unfinished = ""

    def assistant(self, message: m.AssistantMessageInterface) -> None:
        """See ``Report``."""
        self.screen.phase = "agent"
        self._finish_line()
        for block in message.text_blocks:
            self._say(block.rstrip("\n"))

    def output(self, message: m.CommandOutputMessageInterface) -> None:
        """See ``Report``."""
        self.screen.phase = "commands"
        lines, line_end, self._unfinished = (self._unfinished + message.text).rpartition("\n")
        if line_end:
            self._say(lines, "dim")
        if len(self._unfinished) > _LONGEST_LINE:
            self._finish_line()

    def _finish_line(self) -> None:
        rest, self._unfinished = self._unfinished, ""
        if rest:
            self._say(rest, "dim")

    def _say(self, text: str, style: str = "") -> None:
        self.screen.say(text, style)

    def heartbeat(self, message: m.HeartbeatMessageInterface) -> None:
        """See ``Report``."""
        self.screen.phase = message.phase

    def result(self, message: m.ResultMessageInterface) -> None:
        """See ``Report``."""
        self.screen.phase = "finishing"
        self._finish_line()
        text = message.text
        if text is None:
            text = to_json(message.output, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None)
        text = shown(text, sys.stdout)
        self.screen.data(text if text.endswith("\n") else f"{text}\n")

    def artifact(self, remote: str, local: Path) -> None:
        """See ``Report``."""
        self.screen.say(f"saved {shown(str(local), self.screen.notes, keep_lines=False)}", "green")

    def exit(self, code: int, failure: Optional[str] = None) -> None:
        """See ``Report``. The command's own code speaks for itself."""
        if failure:
            self._finish_line()
            self.screen.say(f"{PROGRAM}: {failure}", "red")

    def ready(self, seconds: float) -> None:
        """See ``Report``."""
        self.screen.say(f"ready after {seconds:.1f} s", "green")

    def error(self, error: BaseException) -> None:
        """See ``Report``."""
        self._finish_line()
        self.screen.say(f"{PROGRAM}: {describe(error)}", "red")
        for name, value in metadata_of(error).items():
            self.screen.say(f"  {name}: {value}", "red")


class ExecReport(TextReport):
    """The remote command's output as it comes, each stream on its own."""

    def assistant(self, message: m.AssistantMessageInterface) -> None:
        """Output too, of runtimes before 0.14: in pieces, cut anywhere."""
        self.screen.phase = "command"
        for block in message.text_blocks:
            self.screen.data(block)

    def output(self, message: m.CommandOutputMessageInterface) -> None:
        """See ``Report``."""
        self.screen.phase = "command"
        self.screen.data(message.text, sys.stderr if message.stream == "stderr" else sys.stdout)


class JsonReport:
    """One JSON object a line on standard output. The names of events and fields are documented, and stay."""

    def __init__(self) -> None:
        self.screen = open_screen(plain=True)

    def _emit(self, event: str, **fields: Any) -> None:
        self.screen.data(to_json({"event": event, **fields}) + "\n")

    def assistant(self, message: m.AssistantMessageInterface) -> None:
        """See ``Report``."""
        self._emit("assistant", text_blocks=message.text_blocks)

    def output(self, message: m.CommandOutputMessageInterface) -> None:
        """See ``Report``."""
        self._emit("output", stream=message.stream, text=message.text, command=message.command)

    def heartbeat(self, message: m.HeartbeatMessageInterface) -> None:
        """See ``Report``."""
        self._emit("heartbeat", phase=message.phase, elapsed_ms=message.elapsed_ms)

    def result(self, message: m.ResultMessageInterface) -> None:
        """See ``Report``."""
        structured = message.output if message.text is None else None
        self._emit("result", text=message.text, structured_output=structured, metadata=message.metadata)

    def artifact(self, remote: str, local: Path) -> None:
        """See ``Report``."""
        self._emit("artifact", path=remote, saved_to=str(local))

    def exit(self, code: int, failure: Optional[str] = None) -> None:
        """See ``Report``."""
        self._emit("exit", exit_code=code, failure=failure)

    def ready(self, seconds: float) -> None:
        """See ``Report``."""
        self._emit("ready", elapsed_ms=round(seconds * 1000))

    def error(self, error: BaseException) -> None:
        """See ``Report``."""
        self._emit("error", type=type(error).__name__, message=describe(error), metadata=metadata_of(error) or None)


def describe(error: BaseException) -> str:
    """``error`` in a line for the user."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, OSError) and error.strerror:
        # str(error) would begin with "[Errno 2]".
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, OutputValidationError):
        return f"the result does not fit --schema: {error.message} at {error.path}"
    return str(error)


def metadata_of(error: BaseException) -> Mapping[str, Any]:
    """The metadata that the runtime sent with ``error``."""
    return (error.metadata or {}) if isinstance(error, AgentRuntimeError) else {}


def open_report(*, as_json: bool, of: type[TextReport] = TextReport) -> Report:
    """The report that the option ``--json`` asks for."""
    return JsonReport() if as_json else of(open_screen())
