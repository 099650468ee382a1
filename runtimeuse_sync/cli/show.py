"""``runtimeuse-sync show``: prints a summary of a journal."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import Optional

import click

from .._common.words import harmless
from .._titles import title
from ..journal import RecordedRun, load
from ..usage import Usage
from ._endings import endings
from ._pictures import BEFORE, bars, can_draw
from ._reports import open_report
from ._screen import PROGRAM
from ._timeline import timeline

EXAMPLE = f"""Example:

\b
  {PROGRAM} exec ws://localhost:8080 --record run.jsonl -- make test
  {PROGRAM} show run.jsonl
"""

_HEADS = ("#", "outcome", "seconds", "messages", "tokens in", "tokens out", "cost")

_LONGEST_ERROR = 200  # characters

# Columns of a bar, at least and at most.
_NARROWEST, _WIDEST = 20, 80


@click.command(epilog=EXAMPLE)
@click.argument("file", metavar="FILE")
def show(file: str) -> None:
    """Sum up the runs of a journal: how they ended, how long they took and what they cost; and what they were at when.

    What the runtime's heartbeats tell of is known from the first heartbeat that does: every 15 seconds there is one.
    """
    report = open_report(as_json=False)
    with report.screen, endings(report):
        runs = load(file)
        lines = [*_table(runs), *_timelines(runs)] if runs else ["no calls"]
        report.screen.data("".join(f"{line}\n" for line in lines))


def _table(runs: Sequence[RecordedRun]) -> Iterable[str]:
    rows = [_row(str(number), run.outcome, [run]) for number, run in enumerate(runs, 1)]
    if len(runs) > 1:
        rows.append(_row("", "total", runs))
    widths = [max(map(len, column)) for column in zip(_HEADS, *rows)]
    # What may hold characters of any width comes last.
    titles = ["call", *(title(run.request) for run in runs), ""]
    for (number, outcome, *figures), what in zip([_HEADS, *rows], titles):
        cells = [number.rjust(widths[0]), outcome.ljust(widths[1])]
        cells += [figure.rjust(width) for figure, width in zip(figures, widths[2:])]
        yield "  ".join([*cells, what]).rstrip()


def _row(number: str, outcome: Optional[str], runs: Sequence[RecordedRun]) -> tuple[str, ...]:
    usage: Usage = sum((run.usage for run in runs), Usage())
    return (
        number,
        outcome or "unfinished",
        f"{sum(run.duration for run in runs):,.2f}",
        f"{sum(len(run.messages) for run in runs):,}",
        _count(usage.input_tokens),
        _count(usage.output_tokens),
        "" if usage.cost_usd is None else f"${usage.cost_usd:,.4f}",
    )


def _count(number: Optional[int]) -> str:
    return "" if number is None else f"{number:,}"


def _timelines(runs: Sequence[RecordedRun]) -> Iterable[str]:
    width = min(max(shutil.get_terminal_size().columns - BEFORE, _NARROWEST), _WIDEST)
    plain = not can_draw(sys.stdout.encoding)
    for number, run in enumerate(runs, 1):
        yield ""
        yield f"{number}  {title(run.request)}"
        if run.error is not None:
            yield f"   {type(run.error).__name__}: {harmless(str(run.error), _LONGEST_ERROR)}"
        yield from bars(timeline(run, width), plain=plain)
