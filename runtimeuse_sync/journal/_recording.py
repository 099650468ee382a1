"""``record``: what a client's calls send and receive, and how they end, as lines of a file."""

from __future__ import annotations

import contextlib
import json
import os
import time
import weakref
from collections.abc import Iterator, Sequence
from typing import Any, Optional, Union

from .. import Client, JournalError, ObservedCall, Observer
from . import _errors, _locking
from ._secrets import Secrets, secrets_of_client, without_queries

# The first of each line: what tells another version, and where a line begins behind one that was cut off.
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
    recorder = Recorder(os.fspath(path), secrets_of_client(client), fsync=fsync)
    try:
        yield client.with_observers(recorder)
    finally:
        recorder.close()


class Recorder(Observer):
    """Writes what it is told of. Pickles, for another process on the same machine, whose calls go to the same file.

    There is no lock: the system appends what is written at once in one piece, and a child that is forked while
    another thread holds a lock would wait for it for ever.
    """

    def __init__(self, path: str, secrets: Secrets, *, fsync: bool) -> None:
        self._path = path
        self._client_secrets = secrets
        self._fsync = fsync
        self._calls: dict[str, Secrets] = {}  # those in flight
        self._is_closed = False
        self._descriptor = os.open(path, _FLAGS, 0o600)
        self._close = weakref.finalize(self, os.close, self._descriptor)
        self._close.atexit = False  # calls of other threads are ended later, if at all, and write it down
        _locking.lock(self._descriptor)

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self._path, self._client_secrets, self._fsync)

    def close(self) -> None:
        """Take no further calls; those in flight still write their end, and the last of them closes the file."""
        self._is_closed = True
        self._close_if_done()

    def _close_if_done(self) -> None:
        if self._is_closed and not self._calls:
            self._close()

    # --- what is told -------------------------------------------------------------------------------

    def call_began(self, call: ObservedCall) -> None:
        secrets = self._client_secrets.including(call.request)
        self._calls[call.id] = secrets
        if self._is_closed:  # looked at last: close() looks in the other order
            del self._calls[call.id]
            raise JournalError("the block of record() has been left")
        place = {"url": call.url, "session": call.session_id}
        self._write(call, "began", f',{json.dumps(place)[1:-1]},"message":{secrets.as_json(call.request)}')

    def connected(self, call: ObservedCall) -> None:
        self._write(call, "connected")

    def message_sent(self, call: ObservedCall, message: Any) -> None:
        secrets = self._calls[call.id] = self._calls[call.id].including(message)
        if type(message) is not type(call.request):  # which stands in the first line
            self._write(call, "sent", f',"message":{secrets.as_json(message)}')

    def messages_received(self, call: ObservedCall, messages: Sequence[Any]) -> None:
        self._write(call, "received", *[f',"message":{text}' for text in self._calls[call.id].all_as_json(messages)])

    def call_ended(self, call: ObservedCall, result: Optional[Any], error: Optional[BaseException]) -> None:
        secrets = self._calls[call.id]
        outcome = "error" if error is not None else "left" if result is None else "result"
        fields: dict[str, Any] = {"outcome": outcome}
        if error is not None:
            told = _errors.as_fields(error)
            fields["error"] = {"type": told.pop("type"), **{name: secrets.value(told[name]) for name in told}}
        try:
            self._write(call, "ended", "," + without_queries(json.dumps(fields))[1:-1])
        finally:
            del self._calls[call.id]
            self._close_if_done()

    # --- writing ------------------------------------------------------------------------------------

    def _write(self, call: ObservedCall, event: str, *rests: str) -> None:
        """A line for each of ``rests``, in one piece."""
        head = f'{HEAD}"{call.id}","event":"{event}","time":{time.time():.6f},"clock":{time.monotonic():.6f}'
        ends = f"}}\n{head}".join(rests or ("",))
        left = memoryview(f"{head}{ends}}}\n".encode("ascii"))
        while left:
            left = left[os.write(self._descriptor, left) :]
        if self._fsync:
            os.fsync(self._descriptor)


def _reopen(path: str, secrets: Secrets, fsync: bool) -> Recorder:
    return Recorder(path, secrets, fsync=fsync)
