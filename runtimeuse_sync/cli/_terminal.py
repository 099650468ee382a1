"""Live progress on a terminal."""

from __future__ import annotations

import sys
import time
from typing import Optional, TextIO

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from ._screen import Screen, harmless

# Seconds of silence after which the progress line shows up: what is quick needs none.
_SILENCE = 0.4


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

    def __exit__(self, *_: object) -> None:
        self._live.stop()
        # A signal may have cut short an earlier stop().
        self._console.show_cursor()
        super().__exit__()

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


def open_terminal(notes: TextIO) -> Optional[Terminal]:
    """The terminal that ``notes`` lead to; None if it cannot move its cursor."""
    console = Console(file=notes, highlight=False)
    return Terminal(notes, console) if console.is_interactive else None
