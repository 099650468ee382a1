"""The choice of the screen: a ``Terminal`` if the output is a terminal, else plain lines."""

from __future__ import annotations

import sys
from typing import Optional, TextIO

from ._screen import Screen


def open_screen(notes: Optional[TextIO] = None, *, plain: bool = False) -> Screen:
    """The screen that fits where ``notes`` lead; standard error by default."""
    notes = sys.stderr if notes is None else notes
    # isatty() decides, not rich, which takes a pipe for a terminal if FORCE_COLOR is set, and takes long to import.
    if not plain and notes.isatty():
        from ._terminal import open_terminal

        return open_terminal(notes) or Screen(notes)
    return Screen(notes)
