"""Screens, to which commands write: plain lines here, for pipes and files; ``_terminal`` has live progress."""

from __future__ import annotations

import logging
import sys
from typing import Callable, Optional, TextIO

from .._common.words import harmless

PROGRAM = "runtimeuse-sync"

_logger = logging.getLogger("runtimeuse_sync")


class _Warnings(logging.Handler):
    """Shows the library's warnings on a screen, where they do not get into the progress line."""

    def __init__(self, screen: Screen) -> None:
        super().__init__(logging.WARNING)
        self._screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        self._screen.say(f"{PROGRAM}: {record.getMessage()}", "yellow")


class Screen:
    """Plain lines: the command's output on standard output, what is said about it on ``notes``.

    Attributes:
        phase (str): what the runtime is doing.
    """

    def __init__(self, notes: TextIO) -> None:
        self.notes = notes
        self.phase = "waiting for the runtime"
        self._warnings = _Warnings(self)

    def __enter__(self) -> Screen:
        _logger.addHandler(self._warnings)
        return self

    def __exit__(self, *_: object) -> None:
        _logger.removeHandler(self._warnings)

    def data(self, text: str, stream: Optional[TextIO] = None) -> None:
        """Write ``text`` as it is, at once; to standard output unless told otherwise."""
        _write(sys.stdout if stream is None else stream, text)

    def say(self, text: str, style: str = "") -> None:
        """Write a line, or several, about what happens."""
        _write(self.notes, f"{shown(text, self.notes)}\n")

    def show_progress(self) -> None:
        """Show from now on that something is going on, until ``data`` is written."""

    @property
    def tick(self) -> Optional[Callable[[], bool]]:
        """To be called often, if there is something to move. Returns False: it is passed as ``is_cancelled``.

        None where nothing moves, so that a call that waits is not woken.
        """
        return None


def shown(text: str, stream: TextIO, *, keep_lines: bool = True) -> str:
    """``text`` as it is written to ``stream``: as it is, unless that is a terminal, which would obey some of it."""
    return harmless(text, keep_lines=keep_lines) if stream.isatty() else text


def _write(stream: TextIO, text: str) -> None:
    stream.write(text)
    stream.flush()
