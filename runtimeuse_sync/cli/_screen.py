"""What is written where: plain lines for pipes and files, live progress for a terminal."""

from __future__ import annotations

import logging
import re
import sys
import time
from types import TracebackType
from typing import Optional, TextIO

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

PROGRAM = "runtimeuse-sync"

_logger = logging.getLogger("runtimeuse_sync")

# Seconds of silence after which the progress line shows up: what is quick needs none.
_SILENCE = 0.4

# What a terminal would obey instead of showing it: escape sequences, then every other control character.
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def harmless(text: str) -> str:
    r"""``text`` without what a terminal would obey.

    >>> harmless("\x1b[2Jclean \x1b]0;title\x07\x1b[31mslate\x1b[0m\r\n")
    'clean slate\n'
    """
    return _ESCAPES.sub("", text)


class _Warnings(logging.Handler):
    """What the library warns of, said on a screen: its progress line must not be written over."""

    def __init__(self, screen: Screen) -> None:
        super().__init__(logging.WARNING)
        self._screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        self._screen.say(f"{PROGRAM}: {record.getMessage()}", "yellow")


class Screen:
    """Plain lines: the command's output on standard output, what is said about it on ``notes``.

    Attributes:
        phase (str): what the runtime is doing.
        last (str): the last message.
    """

    def __init__(self, notes: TextIO) -> None:
        self.notes = notes
        self.phase = "waiting for the runtime"
        self.last = ""
        self._warnings = _Warnings(self)

    def __enter__(self) -> Screen:
        _logger.addHandler(self._warnings)
        return self

    def __exit__(
        self,
        exc_type: Optional[type[BaseException]],
        exc: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        _logger.removeHandler(self._warnings)

    def data(self, text: str, stream: Optional[TextIO] = None) -> None:
        """Write ``text`` as it is, at once; to standard output unless told otherwise."""
        _write(sys.stdout if stream is None else stream, text)

    def say(self, text: str, style: str = "") -> None:
        """Write a line, or several, about what happens."""
        _write(self.notes, f"{text}\n")

    def show_progress(self) -> None:
        """Show from now on that something is going on, until ``data`` is written."""

    def tick(self) -> bool:
        """To be called often. Returns False, which makes it fit for ``is_cancelled``: asked while nothing comes."""
        return False


def _write(stream: TextIO, text: str) -> None:
    stream.write(text)
    stream.flush()


class Terminal(Screen):
    """A terminal: a line at the bottom tells what is going on."""

    def __init__(self, notes: TextIO, console: Console) -> None:
        super().__init__(notes)
        self._console = console
        self._spinner = Spinner("line" if console.options.ascii_only else "dots", style="cyan")
        self._began = self._written = time.monotonic()
        self._at_line_start = True
        # The standard streams are left alone: remote output goes by as it is.
        self._live = Live(
            console=console,
            get_renderable=self._line,
            transient=True,
            refresh_per_second=10,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __exit__(
        self,
        exc_type: Optional[type[BaseException]],
        exc: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self._live.stop()
        # A signal may have cut short an earlier stop().
        self._console.show_cursor()
        super().__exit__(exc_type, exc, traceback)

    def data(self, text: str, stream: Optional[TextIO] = None) -> None:
        """As ``Screen.data``; the progress line gives way, if ``text`` goes to a terminal."""
        stream = sys.stdout if stream is None else stream
        if stream.isatty():
            self._live.stop()
            self._at_line_start = text.endswith("\n")
        super().data(text, stream)
        self._written = time.monotonic()

    def say(self, text: str, style: str = "") -> None:
        """As ``Screen.say``, above the progress line."""
        if not self._at_line_start:
            self._console.line()
            self._at_line_start = True
        self._console.print(Text(harmless(text), style), soft_wrap=True)
        self._written = time.monotonic()

    def show_progress(self) -> None:
        """As ``Screen.show_progress``."""
        self._live.start(refresh=True)

    def tick(self) -> bool:
        """As ``Screen.tick``; brings back the progress line after a silence."""
        if self._at_line_start and time.monotonic() - self._written >= _SILENCE:
            self.show_progress()
        return False

    def _line(self) -> Table:
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        parts = (f"{minutes}:{seconds:02}", self.phase, harmless(self.last))
        line = Table.grid(padding=(0, 1))
        line.add_column(width=1)
        line.add_column(no_wrap=True, overflow="ellipsis")
        line.add_row(self._spinner, Text(" · ".join(part for part in parts if part), style="dim"))
        return line


def open_screen(notes: Optional[TextIO] = None, *, plain: bool = False) -> Screen:
    """The screen that fits where ``notes`` lead; standard error by default."""
    notes = sys.stderr if notes is None else notes
    # rich takes a FORCE_COLOR for a terminal, which a pipe must not be.
    if not plain and notes.isatty():
        console = Console(file=notes, highlight=False)
        if console.is_interactive:
            return Terminal(notes, console)
    return Screen(notes)
