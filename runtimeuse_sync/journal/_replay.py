"""``Replay``: a transport that plays a journal."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Optional

from .. import (
    CancelMessage,
    CommandExecutionMessage,
    ConnectionLostError,
    EndSessionMessage,
    ErrorMessageInterface,
    InvocationMessage,
    RuntimeUseError,
)
from ._comparison import checked_fields, difference, written
from ._entries import Path
from ._exceptions import ReplayError
from ._faults import Fault
from ._generations import SESSIONS, minor_of
from ._playing import HERE_IT_ENDS, Step, steps
from ._runs import RecordedRun, load

# The most messages in one batch.
_BATCH = 500


class Replay:
    """Plays the calls of a journal to a client: ``Client(transport=Replay("run.jsonl"))``. Nothing is connected.

    A request gets the answer of the first recorded call that asked for the same and was not played yet; each is played
    once. What the caller sees is what was seen when it was recorded: messages, result, error. A ``Replay`` may be
    shared by threads, and is not pickled.

    Args:
        path (str or path): the journal.
        fields (sequence of str or None): the fields of requests that have to be equal. Default: all that are written:
            neither environments nor ``secrets_to_redact``, and of URLs no query.
        speed (float or None): 1.0 is as fast as it was, 2.0 twice as fast. Default None: at once.
        generation (str or None): ``"0.4"`` to ``"0.15"``: as a runtime of that release would have said it. Default: as
            it was.
        faults (sequence of Fault): what goes wrong.

    Raises:
        OSError: there is no such file.
        JournalError: it is no journal. A call whose request was not recorded raises its child ``ReplayError``, which
            shows the difference.
        ValueError: for options that cannot be meant.

    >>> from runtimeuse_sync.journal import Replay, record
    >>> with record(client, "run.jsonl") as recorded:
    ...     recorded.query("hello").output
    'hello'
    >>> Client(transport=Replay("run.jsonl")).query("hello").output
    'hello'
    >>> try:
    ...     Client(transport=Replay("run.jsonl")).query("hallo")
    ... except ReplayError as error:
    ...     print(*[line.rstrip() for line in str(error).splitlines() if "?" not in line], sep="\\n")
    run.jsonl, line 1: the request is not as it was recorded:
    user_prompt:
      - 'hello'
      + 'hallo'
    """

    def __init__(
        self,
        path: Path,
        *,
        fields: Optional[Iterable[str]] = None,
        speed: Optional[float] = None,
        generation: Optional[str] = None,
        faults: Iterable[Fault] = (),
    ) -> None:
        if speed is not None and not 0 < speed < math.inf:
            raise ValueError(f"speed must be a positive number, such as 1.0, or None for at once; got {speed!r}")
        self.speed = speed
        self.minor = minor_of(generation)
        self._path = path
        self._fields = checked_fields(fields)
        self._faults = tuple(faults)
        self._lock = threading.Lock()
        self._runs = load(path)
        self._unplayed = dict(enumerate(self._runs, 1))  # guarded by _lock

    def __repr__(self) -> str:
        return f"<Replay: {len(self.unplayed)} of {len(self._runs)} calls to play>"

    @property
    def unplayed(self) -> list[RecordedRun]:
        """The recorded calls that nobody has asked for yet; the ends of sessions are not counted.

        >>> from runtimeuse_sync.journal import Replay, record
        >>> with record(client, "run.jsonl") as recorded:
        ...     answer = recorded.query("hello")
        >>> [run.request.user_prompt for run in Replay("run.jsonl").unplayed]
        ['hello']
        """
        with self._lock:
            runs = list(self._unplayed.values())
        return [run for run in runs if not isinstance(run.request, EndSessionMessage)]

    def connection(self) -> ReplayedConnection:
        """A connection that plays what it is asked for.

        >>> from runtimeuse_sync.journal import Replay, record
        >>> with record(client, "run.jsonl"):
        ...     pass
        >>> Replay("run.jsonl").connection().was_opened
        False
        """
        return ReplayedConnection(self)

    def answer(self, request: Any) -> tuple[RecordedRun, Iterator[Step]]:
        """The recorded call that asked for the same, and what happens in it; raises ``ReplayError``."""
        with self._lock:
            number = self._find(written(request))
            run = self._unplayed.pop(number)
        return run, self._steps(number, run)

    def end_of_session(self, session_id: Optional[str]) -> Iterator[Step]:
        """The messages that came when that session was left."""
        with self._lock:
            for number, run in self._unplayed.items():
                if run.session_id == session_id and isinstance(run.request, EndSessionMessage):
                    del self._unplayed[number]
                    return self._steps(number, run)
        return iter(())

    def _steps(self, number: int, run: RecordedRun) -> Iterator[Step]:
        fault = next((fault for fault in self._faults if fault.call in (None, number)), None)
        return steps(run, self.minor, fault)

    def _find(self, asked: dict[str, Any]) -> int:
        nearest: Optional[ReplayError] = None
        for number, run in self._unplayed.items():
            began = next(run.entries())
            differs = difference(began.wire, asked, self._fields)
            if not differs:
                return number
            if nearest is None and not isinstance(run.request, EndSessionMessage):
                what = f"the request is not as it was recorded:\n{differs}"
                nearest = ReplayError(what, path=str(self._path), line=began.number)
        raise nearest or ReplayError("all recorded calls have been played", path=str(self._path))


class ReplayedConnection:
    """Implements ``Connection``. ``send`` and ``wake`` may come from other threads; the rest is the caller's."""

    def __init__(self, replay: Replay) -> None:
        self._replay = replay
        self._woken = threading.Event()
        self._steps: Iterator[Step] = iter(())
        self._next: Optional[Step] = None
        self._run: Optional[RecordedRun] = None
        self._began = 0.0
        self._is_cancelled = False
        self.was_opened = False

    def open(self, timeout: Optional[float]) -> None:
        """There is nothing to wait for."""
        self.was_opened = True

    def send(self, message: Any) -> None:
        """Play what was recorded for ``message``, if it is a request; raises ``ReplayError``."""
        if isinstance(message, (InvocationMessage, CommandExecutionMessage)):
            self._play(message)
        elif isinstance(message, EndSessionMessage):
            if self._run is None or self._run.session_id is not None:
                self._begin(self._replay.end_of_session(self._run.session_id if self._run else None))
        elif isinstance(message, CancelMessage):
            self._is_cancelled = True
            self.wake()

    def _play(self, request: Any) -> None:
        is_second = self._run is not None
        self._begin(iter(()))  # for what is asked in vain
        if is_second and self._replay.minor is not None and self._replay.minor < SESSIONS:
            return  # such a runtime has closed by now
        self._run, played = self._replay.answer(request)
        self._begin(played)

    def _begin(self, played: Iterator[Step]) -> None:
        self._steps, self._next, self._is_cancelled = played, None, False
        self._began = time.monotonic()

    def receive(self, timeout: float) -> Sequence[Any]:
        """Return the messages that are due within ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        while True:
            batch = self._answer_to_cancelling() if self._is_cancelled else self._due()
            now = time.monotonic()
            pause = min(deadline, self._due_at()) - now
            if batch or now >= deadline:
                return batch
            if self._woken.wait(min(max(pause, 0.0), threading.TIMEOUT_MAX)):
                self._woken.clear()
                return ()

    def _answer_to_cancelling(self) -> list[Any]:
        minor = self._replay.minor
        self._begin(iter(()))
        if minor is not None and minor < SESSIONS:
            raise _the_end()
        return [ErrorMessageInterface(error="Request cancelled")]

    def _due(self) -> list[Any]:
        batch: list[Any] = []
        while len(batch) < _BATCH and self._due_at() <= time.monotonic():
            step = self._peek()
            if isinstance(step.what, RuntimeUseError):
                if batch:
                    break
                raise step.what
            batch.append(step.what)
            self._next = None
        return batch

    def _peek(self) -> Step:
        if self._next is None:
            self._next = next(self._steps, None) or Step(0.0, _the_end())
        return self._next

    def _due_at(self) -> float:
        step, speed = self._peek(), self._replay.speed
        if speed is None:
            return step.at if step.at == math.inf else self._began
        return self._began + step.at / speed

    def wake(self) -> None:
        """Make ``receive`` return."""
        self._woken.set()

    def close(self, timeout: float) -> None:
        """Close the file."""
        self._begin(iter(()))


def _the_end() -> ConnectionLostError:
    return ConnectionLostError(code=1005, reason=HERE_IT_ENDS)
