"""What is written where: plain lines for pipes and files, live progress for a terminal."""

from __future__ import annotations

import logging
import re
import sys
from typing import Optional, TextIO

PROGRAM = "runtimeuse-sync"

_logger = logging.getLogger("runtimeuse_sync")

# What a terminal would obey instead of showing it: escape sequences, then every other control character.
_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]?"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
)


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

    def __exit__(self, *_: object) -> None:
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
