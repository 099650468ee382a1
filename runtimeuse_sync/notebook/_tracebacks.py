"""Tracebacks in IPython without the frames of this library."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any, Optional

# Of the package that this module is in.
_INNER = __name__.split(".", 1)[0]


def rendered(error: BaseException) -> list[str]:
    """The lines that IPython prints for ``error``: what its hook ``_render_traceback_`` returns.

    With ``%xmode Verbose`` all frames are there, as they are for ``%debug`` and for everything but IPython's printing.
    """
    printer: Any = sys.modules["IPython"].get_ipython().InteractiveTB
    trace = error.__traceback__
    if printer.mode != "Verbose":
        trace = outside(trace) or trace
    lines: list[str] = printer.structured_traceback(type(error), error, trace)
    return lines


def outside(trace: Optional[TracebackType]) -> Optional[TracebackType]:
    """A copy of ``trace`` without this library's frames; None if it has no other."""
    kept = []
    while trace is not None:
        if trace.tb_frame.f_globals.get("__name__", "").split(".", 1)[0] != _INNER:
            kept.append(trace)
        trace = trace.tb_next
    copy: Optional[TracebackType] = None
    for entry in reversed(kept):
        copy = TracebackType(copy, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return copy
