"""Which screen there is: a terminal's, where there is a terminal."""

from __future__ import annotations

import sys
from typing import Optional, TextIO

from ._screen import Screen


def open_screen(notes: Optional[TextIO] = None, *, plain: bool = False) -> Screen:
    """The screen that fits where ``notes`` lead; standard error by default."""
    notes = sys.stderr if notes is None else notes
    # Asked before rich is: it takes FORCE_COLOR for a terminal, and a pipe pays nothing for its import.
    if not plain and notes.isatty():
        from ._terminal import open_terminal

        return open_terminal(notes) or Screen(notes)
    return Screen(notes)
