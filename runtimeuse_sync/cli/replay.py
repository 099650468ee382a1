"""``runtimeuse-sync replay``: show again what was recorded."""

from __future__ import annotations

import math
import time
from typing import Any, Callable, Optional

import click

from .. import messages as m
from .._titles import title
from ..journal import Entry, RecordedRun, entries, load
from ..transports import RawResult
from ._endings import endings
from ._parameters import json_option
from ._reports import Report, open_report
from ._screen import PROGRAM

EXAMPLE = f"""Examples:

\b
  {PROGRAM} invoke ws://localhost:8080 "Summarise the README" --record run.jsonl
  {PROGRAM} replay run.jsonl --speed 4
"""

# Seconds between two looks at the progress line while nothing happens.
_TICK = 0.1


def _speed(text: str) -> float:
    """``--speed``: a positive number, or "inf"."""
    try:
        speed = float(text)
    except ValueError:
        speed = math.nan
    if not speed > 0:
        raise click.BadParameter("write a positive number, such as 2, or inf for at once")
    return speed


@click.command(epilog=EXAMPLE)
@click.argument("file", metavar="FILE")
@click.option(
    "--speed",
    type=_speed,
    metavar="NUMBER",
    default="1",
    show_default=True,
    help="How fast: 2 is twice as fast as it was, inf at once.",
)
@json_option
def replay(file: str, speed: float, as_json: bool) -> None:
    """Show the runs of a journal again, as "invoke" would have shown them. Nothing is connected.

    The results go to standard output, what led there to standard error. A run that failed says so; the exit code
    is 0 nevertheless.
    """
    report = open_report(as_json=as_json)
    with report.screen, endings(report):
        shown = _Replayed({run.id: run for run in load(file)}, report)
        clock = _Clock(speed, report.screen.tick)
        for entry in entries(file):
            clock.wait_until(entry)
            shown.show(entry)


class _Clock:
    """Waits between two entries as long as when they were recorded, but not while no call was in flight."""

    def __init__(self, speed: float, tick: Optional[Callable[[], bool]]) -> None:
        self._speed = speed
        self._tick = tick
        self._in_flight: set[str] = set()
        self._last: Optional[float] = None
        # What waiting takes too long, showing takes too: the time when the last entry was due.
        self._due = time.monotonic()

    def wait_until(self, entry: Entry) -> None:
        if self._in_flight and self._last is not None:
            self._due += max(0.0, entry.clock - self._last) / self._speed
            self._sleep_until(self._due)
        else:
            self._due = time.monotonic()
        self._last = entry.clock
        if entry.event == "ended":
            self._in_flight.discard(entry.call_id)
        else:
            self._in_flight.add(entry.call_id)

    def _sleep_until(self, due: float) -> None:
        while (left := due - time.monotonic()) > 0:
            time.sleep(left if self._tick is None else min(left, _TICK))
            if self._tick is not None:
                self._tick()


class _Replayed:
    """Passes recorded entries to a report."""

    def __init__(self, runs: dict[str, RecordedRun], report: Report) -> None:
        self._runs = runs
        self._report = report
        self._tellers: dict[type, Callable[[Any], None]] = {
            m.AssistantMessageInterface: report.assistant,
            m.CommandOutputMessageInterface: report.output,
            m.HeartbeatMessageInterface: report.heartbeat,
        }

    def show(self, entry: Entry) -> None:
        run = self._runs.get(entry.call_id)
        if run is None:
            return  # it has begun since
        if entry.event == "began":
            self._report.screen.say(title(run.request), "bold")
        elif entry.event == "received":
            self._show_message(run, entry.message)
        elif entry.error is not None:
            self._report.error(entry.error)

    def _show_message(self, run: RecordedRun, message: Any) -> None:
        if type(message) in self._tellers:
            self._tellers[type(message)](message)
        elif isinstance(message, m.CommandExecutionResultMessageInterface) and message.results:
            self._report.exit(message.results[-1].exit_code)
        elif isinstance(message, RawResult) and isinstance(run.result, m.ResultMessageInterface):
            self._report.result(run.result)
