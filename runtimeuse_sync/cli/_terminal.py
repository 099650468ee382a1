"""Live progress on a terminal."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from typing import Callable, Optional, TextIO, cast

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from .._common.words import harmless
from ._screen import Screen

# Seconds of silence after which the progress line appears; a quick command shows none.
_SILENCE = 0.4

# Columns that the progress line leaves free at its end, for the terminal to write a ^C there for each Ctrl-C. On a full
# line that would go to the next one, and the progress line could not be erased any more.
_ROOM = 8

# Characters of a phase that are looked at: more do not fit on any terminal.
_LONGEST_PHASE = 200


class Terminal(Screen):
    """A terminal: a line at the bottom tells what is going on."""

    def __init__(self, notes: TextIO, console: Console) -> None:
        super().__init__(notes)
        self._console = console
        self._spinner = Spinner("line" if console.options.ascii_only else "dots", style="cyan")
        self._began = self._written = time.monotonic()
        self._at_line_start = True
        # rich must not replace the standard streams: remote output is written to them unchanged.
        self._live = Live(
            console=console,
            get_renderable=self._line,
            transient=True,
            refresh_per_second=10,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __exit__(self, *_: object) -> None:
        # The terminal may be gone: that is what SIGHUP says.
        with suppress(OSError):
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
        """As ``Screen.say``, above the progress line; lines are broken between words."""
        if not self._at_line_start:
            self._console.line()
            self._at_line_start = True
        self._console.print(Text(harmless(text, keep_lines=True), style))
        self._written = time.monotonic()

    def show_progress(self) -> None:
        """As ``Screen.show_progress``."""
        self._live.start(refresh=True)

    @property
    def tick(self) -> Callable[[], bool]:
        """As ``Screen.tick``."""
        return self._show_after_silence

    def _show_after_silence(self) -> bool:
        if self._at_line_start and time.monotonic() - self._written >= _SILENCE:
            self.show_progress()
        return False

    def _line(self) -> Text:
        now = time.monotonic()
        minutes, seconds = divmod(int(now - self._began), 60)
        words = f"{minutes}:{seconds:02} · {harmless(self.phase, _LONGEST_PHASE)}"
        line = Text.assemble(cast("Text", self._spinner.render(now)), " ", (words, "dim"))
        line.truncate(max(1, self._console.width - _ROOM), overflow="ellipsis")
        return line


def open_terminal(notes: TextIO) -> Optional[Terminal]:
    """The terminal that ``notes`` lead to; None if it cannot move its cursor."""
    console = Console(file=notes, highlight=False)
    return Terminal(notes, console) if console.is_interactive else None
