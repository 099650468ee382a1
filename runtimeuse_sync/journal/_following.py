"""``follow``: a journal while another process writes it."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from typing import IO, Any, Optional, overload

from ._entries import Entry, Lines, Path
from ._locking import may_be_locked

# Seconds between two looks at a file that does not grow: one call of the system each. Notices of the system (inotify)
# would need a dependency, and do not come from other machines. After a while of silence, a longer pause is not noticed.
_SOON, _LATER = 0.1, 0.5
_AWHILE = 5.0


@overload
def follow(
    path: Path, *, after: int = ..., call_id: Optional[str] = ..., timeout: Optional[float] = ..., tick: None = ...
) -> Iterator[Entry]: ...


@overload
def follow(
    path: Path, *, after: int = ..., call_id: Optional[str] = ..., timeout: Optional[float] = ..., tick: float
) -> Iterator[Optional[Entry]]: ...


def follow(
    path: Path,
    *,
    after: int = 0,
    call_id: Optional[str] = None,
    timeout: Optional[float] = None,
    tick: Optional[float] = None,
) -> Iterator[Any]:
    """The entries of a journal, those to come as well, until its calls have ended.

    It ends when all calls that have begun have ended; when no process writes the file any more (on POSIX systems: the
    lock of ``record`` tells, however a process has died); or when nothing came for ``timeout`` seconds. Then the last
    entry of a call that has not ended is none of ``"ended"``. While nothing comes, the file is looked at ten times a
    second, and twice a second after five seconds.

    Args:
        path (str or path): the file. With a ``timeout``, it need not be there yet.
        after (int): the number of the last entry that is known already: a browser's ``Last-Event-ID``. Default 0.
        call_id (str or None): follow this call alone, to its end. Default: all of the file.
        timeout (float or None): seconds in which something has to come. Default None: as long as somebody writes.
        tick (float or None): seconds of silence after which it yields None, so that its reader can look at the world
            outside. Default None: it yields none.

    Raises:
        FileNotFoundError: there is no such file, and none came within ``timeout``.
        JournalError: a line is none of a journal's.

    >>> from runtimeuse_sync.journal import follow, record
    >>> with record(client, "run.jsonl") as recorded:
    ...     answer = recorded.query("hello")
    >>> [(entry.number, entry.event) for entry in follow("run.jsonl", after=3)]
    [(4, 'received'), (5, 'ended')]
    """
    patience, silence = _Patience(timeout), _Silence(tick)
    with _opened(path, patience) as file:
        lines, in_flight = Lines(file, path), _InFlight(call_id)
        while True:
            # Asked first: what its last writer has written is read below.
            is_written = may_be_locked(file.fileno())
            for entry in lines:
                patience.renew()
                silence.renew()
                in_flight.note(entry)
                if entry.number > after and call_id in (None, entry.call_id):
                    yield entry
            if in_flight.is_over or not is_written or not patience.wait():
                break
            if silence.is_due():
                yield None
        lines.warn_of_torn_end()


def _opened(path: Path, patience: _Patience) -> IO[bytes]:
    while True:
        with contextlib.suppress(FileNotFoundError):
            return open(path, "rb")
        if patience.timeout is None or not patience.wait():
            return open(path, "rb")


class _InFlight:
    """The calls that have begun and not ended."""

    def __init__(self, wanted: Optional[str]) -> None:
        self._wanted = wanted
        self._calls: set[str] = set()
        self._has_begun = False

    def note(self, entry: Entry) -> None:
        if self._wanted not in (None, entry.call_id):
            return
        self._has_begun = True
        if entry.event == "ended":
            self._calls.discard(entry.call_id)
        else:
            self._calls.add(entry.call_id)

    @property
    def is_over(self) -> bool:
        return self._has_begun and not self._calls


class _Silence:
    """Tells when the next tick is due."""

    def __init__(self, tick: Optional[float]) -> None:
        self._tick = math.inf if tick is None else tick
        self.renew()

    def renew(self) -> None:
        self._since = time.monotonic()

    def is_due(self) -> bool:
        is_due = time.monotonic() >= self._since + self._tick
        if is_due:
            self.renew()
        return is_due


class _Patience:
    """The pauses between two checks of the file, and the time limit for silence."""

    def __init__(self, timeout: Optional[float]) -> None:
        self.timeout = timeout
        self.renew()

    def renew(self) -> None:
        self._since = time.monotonic()

    def wait(self) -> bool:
        """Wait until the next check; return False if the silence has reached the timeout."""
        silence = time.monotonic() - self._since
        if self.timeout is not None and silence >= self.timeout:
            return False
        time.sleep(_SOON if silence < _AWHILE else _LATER)
        return True
