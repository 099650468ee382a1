"""Reading of a journal's lines as ``Entry`` objects. A bad line raises a ``JournalError`` that names it."""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Iterator, Mapping
from typing import IO, Any, Callable, NoReturn, Optional, Union

import attrs

from .. import (
    ArtifactUploadResponseMessageInterface,
    CancelMessage,
    CommandExecutionMessage,
    EndSessionMessage,
    InvocationMessage,
    ProtocolError,
    RuntimeUseError,
    decode_message,
)
from . import _errors
from ._exceptions import JournalError
from ._recording import HEAD

Path = Union[str, "os.PathLike[str]"]

EVENTS = ("began", "connected", "sent", "received", "ended")
OUTCOMES = ("result", "error", "left")
_WITH_MESSAGE = ("began", "sent", "received")
_VERSION = 1
# Bytes. A message has 64 MiB at most, unless a client says otherwise; written in JSON it may take six times as much.
_LONGEST_LINE = 512 * 1024 * 1024
_MOST_DIGITS = 4000
_logger = logging.getLogger("runtimeuse_sync.journal")
_SENT = {
    attrs.fields_dict(cls)["message_type"].default: cls
    for cls in (
        InvocationMessage,
        CommandExecutionMessage,
        ArtifactUploadResponseMessageInterface,
        CancelMessage,
        EndSessionMessage,
    )
}


@attrs.frozen(kw_only=True, eq=False)
class Entry:
    """A line of a journal.

    Attributes:
        number (int): of the line in the file, from 1: what a browser sends back as ``Last-Event-ID``.
        call_id (str): which call.
        event (str): ``"began"`` (its ``message`` is the request), ``"connected"``, ``"sent"``, ``"received"`` or
            ``"ended"``.
        time (float): when, in seconds since 1970.
        clock (float): the same on the recording process's monotonic clock: differences are exact.

    >>> from runtimeuse_sync.journal import entries, record
    >>> with record(client, "run.jsonl") as recorded:
    ...     answer = recorded.query("hello")
    >>> next(entries("run.jsonl")).message.user_prompt
    'hello'
    """

    number: int
    call_id: str
    event: str
    time: float
    clock: float
    _path: str = attrs.field(repr=False)
    _fields: Mapping[str, Any] = attrs.field(repr=False)

    @property
    def message(self) -> Any:
        """The message that was sent or received; a result as a ``RawResult``. None where an entry has none.

        Raises:
            JournalError: it is no message.
        """
        if self.event not in _WITH_MESSAGE:
            return None
        try:
            return _received(self.wire) if self.event == "received" else _sent(self.wire)
        except (ProtocolError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise self.fault(f"not a message: {error}") from None

    @property
    def wire(self) -> dict[str, Any]:
        """The message as the wire's JSON object."""
        fields: dict[str, Any] = self._fields["message"]
        return fields

    @property
    def outcome(self) -> Optional[str]:
        """The call's end: ``"result"``, ``"error"``, ``"left"`` (the caller left it early); None before its end."""
        return self._fields["outcome"] if self.event == "ended" else None

    @property
    def error(self) -> Optional[RuntimeUseError]:
        """The error that the call raised, in the entry of its end."""
        if self.outcome != "error":
            return None
        try:
            return _errors.from_fields(self._fields["error"])
        except (ValueError, TypeError, KeyError) as error:
            raise self.fault(f"not an error of a call: {type(error).__name__}") from None

    @property
    def url(self) -> Optional[str]:
        """Scheme, host and port of the runtime, where the call began."""
        return self._fields.get("url")

    @property
    def session_id(self) -> Optional[str]:
        """The session that the call was made on, where it began; None without one."""
        return self._fields.get("session")

    def fault(self, what: str) -> JournalError:
        """An error that names this line."""
        return JournalError(what, path=self._path, line=self.number)


def _received(fields: dict[str, Any]) -> Any:
    return decode_message(json.dumps(fields).encode())


def _sent(fields: dict[str, Any]) -> Any:
    return _SENT[fields["message_type"]].from_dict(fields)


def entries(path: Path, *, after: int = 0) -> Iterator[Entry]:
    """The lines of a journal, as far as it is written.

    A last line that was cut off (its process was killed) is left out, with a warning in the log.

    Args:
        path (str or path): the file.
        after (int): the number of the last entry that is known already. Default 0.

    Raises:
        OSError: there is no such file.
        JournalError: a line is none of a journal's.

    >>> from runtimeuse_sync.journal import entries, record
    >>> with record(client, "run.jsonl") as recorded:
    ...     answer = recorded.query("hello")
    >>> [entry.number for entry in entries("run.jsonl", after=2)]
    [3, 4, 5]
    """
    with open(path, "rb") as file:
        lines = Lines(file, path)
        for entry in lines:
            if entry.number > after:
                yield entry
        lines.warn_of_torn_end()


class Lines:
    """Reads complete lines of a file that may still grow: iterating ends where it ends for now, and may go on later.

    Attributes:
        number (int): how many have been read.
        offset (int): bytes that they take.
    """

    def __init__(self, file: IO[bytes], path: Path, *, number: int = 0, offset: int = 0) -> None:
        self.number = number
        self.offset = offset
        self._file = file
        self._path = os.fspath(path)
        file.seek(offset)

    def __iter__(self) -> Iterator[Entry]:
        while True:
            line = self._file.readline(_LONGEST_LINE)
            if not line.endswith(b"\n"):
                break
            self.number += 1
            self.offset += len(line)
            entry = self._parse(line)
            if entry is not None:
                yield entry
        if len(line) == _LONGEST_LINE:
            raise JournalError("a line without an end", path=self._path, line=self.number + 1)
        self._file.seek(self.offset)

    def warn_of_torn_end(self) -> None:
        if self._file.read(1):
            self._warn(self.number + 1)

    def _warn(self, number: int) -> None:
        _logger.warning("%s, line %d: a line that was cut off while it was written is left out", self._path, number)

    def _parse(self, line: bytes) -> Optional[Entry]:
        if line.isspace():
            return None
        try:
            return self._entry(line)
        except JournalError:
            # A process was killed in the middle of a line, and another has gone on behind it.
            cut = line.rfind(HEAD.encode(), 1)
            if cut < 0:
                raise
            entry = self._entry(line[cut:])
        self._warn(self.number)
        return entry

    def _entry(self, line: bytes) -> Entry:
        try:
            fields = _parser.decode(line.decode())
            if type(fields) is not dict:
                raise ValueError("not a JSON object")
            _check(fields)
        except UnicodeDecodeError:
            raise JournalError("not UTF-8", path=self._path, line=self.number) from None
        except json.JSONDecodeError as error:
            what = f"not JSON: {error.msg} at character {error.pos}"
            raise JournalError(what, path=self._path, line=self.number) from None
        except ValueError as error:
            raise JournalError(str(error), path=self._path, line=self.number) from None
        except RecursionError:
            raise JournalError("brackets nested too deep", path=self._path, line=self.number) from None
        return Entry(
            number=self.number,
            call_id=fields["call"],
            event=fields["event"],
            time=fields["time"],
            clock=fields["clock"],
            path=self._path,
            fields=fields,
        )


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"not acceptable as JSON: {name}")


def _whole_number(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:  # to read it would take a time that grows with the square of its length
        raise ValueError("a number of too many digits")
    return int(digits)


_parser = json.JSONDecoder(parse_constant=_no_constant, parse_int=_whole_number)


def _is_seconds(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]


def _is_text_or_none(value: object) -> bool:
    return value is None or isinstance(value, str)


_CHECKS: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    (
        "v",
        lambda v: type(v) is int and v == _VERSION,
        f"not of version {_VERSION}, which is all that this version reads",
    ),
    ("call", lambda call: isinstance(call, str) and call != "", "it names no call"),
    ("event", lambda event: event in EVENTS, "it tells of no event that is known"),
    ("time", _is_seconds, "its time is no number of seconds"),
    ("clock", _is_seconds, "its clock is no number of seconds"),
    ("url", _is_text_or_none, "its url is no text"),
    ("session", _is_text_or_none, "its session is no text"),
)


def _check(fields: dict[str, Any]) -> None:
    """Raise ``ValueError`` unless these are the fields of a line."""
    for name, is_right, complaint in _CHECKS:
        if not is_right(fields.get(name)):
            raise ValueError(complaint)
    if fields["event"] in _WITH_MESSAGE and type(fields.get("message")) is not dict:
        raise ValueError("it has no message")
    if fields["event"] == "ended" and fields.get("outcome") not in OUTCOMES:
        raise ValueError("it has no outcome")
