"""``load``: the calls of a journal as objects. Their messages stay in the file until they are asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Optional, Union, overload

import attrs

from .. import (
    CommandExecutionResultMessageInterface,
    RawResult,
    ResultMessageInterface,
    RuntimeUseError,
    Usage,
)
from ._entries import Entry, Lines, Path

Result = Union[ResultMessageInterface, CommandExecutionResultMessageInterface]
_RESULTS = ("result_message", "command_execution_result_message")


@attrs.frozen(kw_only=True, eq=False)
class RecordedRun:
    """A call of a journal, as far as it was written.

    Attributes:
        id (str): of no other call.
        request (InvocationMessage, CommandExecutionMessage or EndSessionMessage): what was asked for, without secrets.
            ``EndSessionMessage``: a session was left, and waited for what its runtime still had.
        url (str or None): scheme, host and port of the runtime.
        session_id (str or None): the session that it was made on.
        began_at (float): when it began, in seconds since 1970.
        duration (float): seconds from its beginning to its end; without an end, to its last entry.
        outcome (str or None): ``"result"``, ``"error"`` or ``"left"`` (the caller left it early); None: its end was not
            written.
        result (ResultMessageInterface, CommandExecutionResultMessageInterface or None): the result, if one came; of a
            call that asked again for an answer that fits, the last one.
        error (RuntimeUseError or None): what it raised. What a callback or the caller's block raised is told by
            its type alone.
        messages (sequence): what came, in order. It is read from the file each time.

    >>> from runtimeuse_sync.journal import load, record
    >>> with record(client, "run.jsonl") as recorded:
    ...     answer = recorded.query("hello")
    >>> [run] = load("run.jsonl")
    >>> run.request.user_prompt, run.outcome, run.result.text
    ('hello', 'result', 'hello')
    >>> [type(message).__name__ for message in run.messages]
    ['AssistantMessageInterface', 'ResultMessageInterface']
    """

    id: str
    request: Any
    url: Optional[str]
    session_id: Optional[str]
    began_at: float
    duration: float
    outcome: Optional[str]
    result: Optional[Result] = attrs.field(repr=False)
    error: Optional[RuntimeUseError]
    messages: Sequence[Any] = attrs.field(repr=False)
    _of_file: _OfFile = attrs.field(repr=False)
    _spent: Usage = attrs.field(repr=False)  # on all of its results

    @property
    def usage(self) -> Usage:
        """The usage, as far as its results or its error report it; for a call that asked again, the sum.

        >>> from runtimeuse_sync.journal import load, record
        >>> with record(client, "run.jsonl") as recorded:
        ...     answer = recorded.query("hello")
        >>> load("run.jsonl")[0].usage.cost_usd
        """
        return self._spent if self.result is not None else _usage_of(self.error)

    def entries(self) -> Iterator[Entry]:
        """Its lines, with their times; read from the file each time."""
        return self._of_file.entries()


@attrs.frozen
class _OfFile:
    """The position of one call's lines in the file."""

    path: str
    call_id: str
    number: int  # of the line before its first
    offset: int

    def entries(self) -> Iterator[Entry]:
        with open(self.path, "rb") as file:
            for entry in Lines(file, self.path, number=self.number, offset=self.offset):
                if entry.call_id == self.call_id:
                    yield entry
                    if entry.event == "ended":
                        return


class _Messages(Sequence[Any]):
    def __init__(self, of_file: _OfFile, count: int) -> None:
        self._of_file = of_file
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Any]:
        for entry in self._of_file.entries():
            if entry.event == "received":
                yield readable(entry)

    @overload
    def __getitem__(self, index: int) -> Any: ...

    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...

    def __getitem__(self, index: Union[int, slice]) -> Any:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(self._count))]
        place = index + self._count if index < 0 else index
        if not 0 <= place < self._count:
            raise IndexError(f"there are {self._count} messages")
        return next(islice(self, place, None))


def readable(entry: Entry) -> Any:
    """The message of an entry, a result as a ``ResultMessageInterface``."""
    message = entry.message
    if not isinstance(message, RawResult):
        return message
    fields = message.fields
    if "data" not in fields and "structured_output" in fields:
        shape = {"type": "structured_output", "structured_output": fields["structured_output"]}
        fields = {**fields, "data": shape}
    try:
        return ResultMessageInterface.from_dict(fields)
    except ValueError as error:
        raise entry.fault(f"not a message: {error}") from None


def load(path: Path) -> list[RecordedRun]:
    """The calls of a journal, in the order in which they began.

    Args:
        path (str or path): the file. What is still being written is taken as far as it is there.

    Raises:
        OSError: there is no such file.
        JournalError: it is no journal; says which line is not.

    >>> from runtimeuse_sync.journal import load, record
    >>> with record(client, "run.jsonl") as recorded:
    ...     answer = recorded.query("hello")
    >>> [run.outcome for run in load("run.jsonl")]
    ['result']
    """
    name = os.fspath(path)
    drafts: dict[str, _Draft] = {}
    with open(name, "rb") as file:
        lines, number, offset = Lines(file, name), 0, 0
        for entry in lines:
            if entry.event == "began":
                _begin(drafts, entry, _OfFile(name, entry.call_id, number, offset))
            else:
                _go_on(drafts, entry)
            number, offset = lines.number, lines.offset
        lines.warn_of_torn_end()
    return [draft.run() for draft in drafts.values()]


@attrs.define
class _Draft:
    """A call while its lines are being read."""

    began: Entry
    of_file: _OfFile
    last: Entry
    received: int = 0
    result: Optional[Result] = None
    spent: Usage = attrs.field(factory=Usage)

    def add(self, entry: Entry) -> None:
        self.last = entry
        if entry.event == "received":
            self.received += 1
            if entry.wire.get("message_type") in _RESULTS:
                self.result = readable(entry)
                self.spent += _usage_of(self.result)

    def run(self) -> RecordedRun:
        began, last = self.began, self.last
        return RecordedRun(
            id=began.call_id,
            request=began.message,
            url=began.url,
            session_id=began.session_id,
            began_at=began.time,
            duration=max(0.0, last.clock - began.clock),
            outcome=last.outcome,
            result=self.result,
            error=last.error,
            messages=_Messages(self.of_file, self.received),
            of_file=self.of_file,
            spent=self.spent,
        )


def _usage_of(told: Any) -> Usage:
    usage = getattr(told, "usage", None)
    return usage if isinstance(usage, Usage) else Usage()


def _begin(drafts: dict[str, _Draft], entry: Entry, of_file: _OfFile) -> None:
    if entry.call_id in drafts:
        raise entry.fault("a call begins that has begun before")
    drafts[entry.call_id] = _Draft(entry, of_file, entry)


def _go_on(drafts: dict[str, _Draft], entry: Entry) -> None:
    draft = drafts.get(entry.call_id)
    if draft is None:
        raise entry.fault("of a call whose beginning is missing")
    if draft.last.event == "ended":
        raise entry.fault("of a call that has ended before")
    draft.add(entry)
