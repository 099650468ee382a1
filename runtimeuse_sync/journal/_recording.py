"""``record``: what a client's calls send and receive, and how they end, as lines of a file."""

from __future__ import annotations

import contextlib
import json
import os
import time
import weakref
from collections.abc import Iterator, Sequence
from typing import Any, Optional, Union

import attrs

from .. import Client, ObservedCall, Observer
from . import _errors, _locking
from ._exceptions import JournalError
from ._secrets import Secrets, secrets_of_client, without_queries

# The beginning of each line: the version of the format, and a mark to find a line after an incomplete one.
HEAD = '{"v":1,"call":'
_FLAGS = os.O_APPEND | os.O_CREAT | os.O_WRONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


@contextlib.contextmanager
def record(client: Client, path: Union[str, os.PathLike[str]], *, fsync: bool = False) -> Iterator[Client]:
    """Write what a client's calls do to a file, as it happens: a journal.

    The file is appended to, and made if it is not there, for its owner alone. Several calls, threads and processes may
    write to one at once. A line is written at once; a process that is killed leaves all lines but the one that it was
    writing. What cannot be written (a full disk) is logged, and not felt by the call.

    Secrets are never written: ``secrets_to_redact``, the values of environments and headers, presigned URLs, and the
    query of any URL.

    Args:
        client (Client): whose calls.
        path (str or path): the file.
        fsync (bool): have each line written to the disk before the call goes on, so that it survives the machine as
            well. Default False: it survives the process.

    Yields:
        A client like ``client``, whose calls are recorded until the end of the block. A call that is still in flight
        then is recorded to its end.

    Raises:
        OSError: the file cannot be written to.

    >>> from runtimeuse_sync.journal import entries, record
    >>> with record(client, "run.jsonl") as recorded:
    ...     recorded.query("hello").output
    'hello'
    >>> [entry.event for entry in entries("run.jsonl")]
    ['began', 'connected', 'received', 'received', 'ended']
    """
    name = os.fspath(path)
    recorder = Recorder(name, secrets_of_client(client), fsync=fsync)
    file = _File(name, fsync=fsync)  # raises here if the file cannot be written; its lock tells readers of a writer
    try:
        yield client.with_observers(recorder)
    finally:
        recorder.close()
        file.close()


class _File:
    """The journal, open to be appended to, by one call. Closes itself when it is forgotten.

    There is no lock: the system appends what is written at once in one piece, and a child that is forked while
    another thread holds a lock would wait for it for ever.
    """

    def __init__(self, path: str, *, fsync: bool) -> None:
        self._fsync = fsync
        self._descriptor = os.open(path, _FLAGS, 0o600)
        finalizer: Any = weakref.finalize(self, os.close, self._descriptor)
        finalizer.atexit = False  # calls of other threads are ended later, if at all, and write it down
        self.close = finalizer
        _locking.lock(self._descriptor)

    def append(self, lines: str) -> None:
        left = memoryview(lines.encode("ascii"))
        while left:
            left = left[os.write(self._descriptor, left) :]
        if self._fsync:
            os.fsync(self._descriptor)


@attrs.define(eq=False)
class _Call:
    """A call that is being recorded."""

    id: str
    secrets: Secrets
    file: _File

    def write(self, event: str, rest: str = "") -> None:
        self.file.append(f"{self._head(event)}{rest}}}\n")

    def write_received(self, messages: Sequence[Any]) -> None:
        """A line for each message, in one piece."""
        head = f'{self._head("received")},"message":'
        lines = self.secrets.joined(messages, "}\n" + head)
        self.file.append(f"{head}{lines}}}\n")

    def _head(self, event: str) -> str:
        return f'{HEAD}"{self.id}","event":"{event}","time":{time.time():.6f},"clock":{time.monotonic():.6f}'


class Recorder(Observer):
    """Writes what it is told of. Pickles, for another process on the same machine, whose calls go to the same file."""

    def __init__(self, path: str, secrets: Secrets, *, fsync: bool) -> None:
        self._path = path
        self._client_secrets = secrets
        self._fsync = fsync
        self._calls: dict[str, _Call] = {}  # those in flight, each used by its own thread
        self._is_closed = False

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self._path, self._client_secrets, self._fsync)

    def close(self) -> None:
        """Take no further calls; those in flight are written to their end."""
        self._is_closed = True

    def call_began(self, call: ObservedCall) -> None:
        if self._is_closed:
            raise JournalError("the block of record() has been left")
        secrets, place = self._client_secrets.including(call.request), {"url": call.url, "session": call.session_id}
        recorded = _Call(call.id, secrets, _File(self._path, fsync=self._fsync))
        self._calls[call.id] = recorded
        recorded.write("began", f',{json.dumps(place)[1:-1]},"message":{secrets.as_json(call.request)}')

    def connected(self, call: ObservedCall) -> None:
        self._calls[call.id].write("connected")

    def message_sent(self, call: ObservedCall, message: Any) -> None:
        recorded = self._calls[call.id]
        recorded.secrets = recorded.secrets.including(message)
        if type(message) is not type(call.request):  # which stands in the first line
            recorded.write("sent", f',"message":{recorded.secrets.as_json(message)}')

    def messages_received(self, call: ObservedCall, messages: Sequence[Any]) -> None:
        self._calls[call.id].write_received(messages)

    def call_ended(self, call: ObservedCall, result: Optional[Any], error: Optional[BaseException]) -> None:
        recorded = self._calls.pop(call.id)
        try:
            recorded.write("ended", _ending(recorded.secrets, result, error))
        finally:
            recorded.file.close()


def _ending(secrets: Secrets, result: Optional[Any], error: Optional[BaseException]) -> str:
    fields: dict[str, Any] = {"outcome": "left" if result is None else "result"}
    if error is not None:
        told = _errors.as_fields(error)
        told = {name: value if name == "type" else secrets.value(value) for name, value in told.items()}
        fields = {"outcome": "error", "error": told}
    return "," + without_queries(json.dumps(fields))[1:-1]


def _again(path: str, secrets: Secrets, fsync: bool) -> Recorder:
    return Recorder(path, secrets, fsync=fsync)
