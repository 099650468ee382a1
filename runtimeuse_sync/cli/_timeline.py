"""The timeline of a recorded call: its parts and the number of messages, in time cells of equal length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

import attrs

from .._common.words import harmless
from ..journal import Entry, RecordedRun

# Characters of a phase, and how many parts of a call are told apart: a peer names the phases.
_LONGEST_PHASE = 20
_MOST = 12
_OTHERS = "other phases"

_HEARTBEAT = "heartbeat_message"
# What a call is at from when such a message is sent.
_BY_SENT = {"end_session_message": "drain", "cancel_message": "cancel"}


@attrs.define
class Part:
    """One part of a call (such as connecting), which may occur several times.

    Attributes:
        name: ``connect``, a phase that heartbeats tell of, ``drain`` or ``cancel``; ``run`` where nothing is known.
        seconds: how long.
        cells: in which cells of the picture.
    """

    name: str
    seconds: float = 0.0
    cells: set[int] = attrs.field(factory=set)


@attrs.frozen
class Timeline:
    """A call from its beginning to its end.

    Attributes:
        parts: in the order in which they began.
        counts: how many messages came in each cell.
    """

    parts: Sequence[Part]
    counts: Sequence[int]


def timeline(run: RecordedRun, cells: int) -> Timeline:
    """The timeline of a call in so many cells. Its messages are read one by one, however many there are."""
    drawing = _Drawing(run, cells)
    for entry in run.entries():
        drawing.add(entry)
    return drawing.finished()


class _Drawing:
    def __init__(self, run: RecordedRun, cells: int) -> None:
        self._run = run
        self._counts = [0] * cells
        self._parts: dict[str, Part] = {}
        self._began: Optional[float] = None  # on the recording's clock
        self._at: Optional[str] = None
        self._since = 0.0

    def add(self, entry: Entry) -> None:
        if self._began is None:
            self._began = entry.clock
        now = min(max(0.0, entry.clock - self._began), self._run.duration)
        if entry.event == "received":
            self._counts[self._cell(now)] += 1
        self._enter(self._part(entry), now)

    def finished(self) -> Timeline:
        self._leave(self._run.duration)
        return Timeline(list(self._parts.values()), self._counts)

    def _cell(self, now: float) -> int:
        share = now / self._run.duration if self._run.duration else 0.0
        return min(int(share * len(self._counts)), len(self._counts) - 1)

    def _part(self, entry: Entry) -> Optional[str]:
        """The part of the call that begins with this entry."""
        if entry.event == "began":
            return "connect" if self._run.session_id is None else "wait"
        if entry.event == "connected":
            return "run"
        if entry.event == "sent":
            return _BY_SENT.get(str(entry.wire.get("message_type")), self._at)
        is_heartbeat = entry.event == "received" and entry.wire.get("message_type") == _HEARTBEAT
        if is_heartbeat and self._at not in _BY_SENT.values():
            return harmless(entry.message.phase, 10 * _LONGEST_PHASE)[:_LONGEST_PHASE].strip() or "?"
        return self._at

    def _enter(self, name: Optional[str], now: float) -> None:
        if name not in self._parts and len(self._parts) >= _MOST:
            name = _OTHERS
        if name != self._at:
            self._leave(now)
            self._at, self._since = name, now

    def _leave(self, now: float) -> None:
        if self._at is not None:
            part = self._parts.setdefault(self._at, Part(self._at))
            part.seconds += now - self._since
            first = self._cell(self._since)
            behind = self._cell(now) if now < self._run.duration else len(self._counts)
            part.cells.update(range(first, max(behind, first + 1)))
