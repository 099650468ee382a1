"""A recorded run as server-sent events, while it runs or later, from the event at which a browser lost it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any, Optional, Union

from .. import RuntimeUseError
from ..journal import Entry, follow
from ..journal._runs import readable
from ._encoding import END, failure, fields_of, sse_event

# Milliseconds after which a browser that has lost its connection makes another. Its own default is several seconds.
_RETRY = 1000

_INTERRUPTED = {"message_type": "error", "error": "Interrupted", "message": "the process that ran it has ended"}


def sse_journal(
    path: Union[str, os.PathLike[str]],
    last_event_id: Optional[str] = None,
    *,
    call_id: Optional[str] = None,
    tick: float = 1.0,
) -> Iterator[str]:
    """A run that ``record`` writes down, as server-sent events, for a response with ``SSE_HEADERS``.

    The events are those of ``sse``, and ``artifact_upload_request_message`` as well. Their ids are the numbers of the
    journal's lines, so that a browser that has lost its connection goes on behind the last event that it has got:
    in any process, and as often as it wants, for the run knows nothing of its viewers. If the process that runs it is
    killed, an ``error`` whose ``error`` is ``Interrupted`` says so (on POSIX systems). The last event is always
    ``end``: there a page closes its ``EventSource``.

    Args:
        path (str or os.PathLike): the journal, of one call; for another, say which.
        last_event_id (str or None): the request's header ``Last-Event-ID``. What is no number is taken as none.
        call_id (str or None): the call, where the journal has several. Default None.
        tick (float): seconds of silence after which a comment is written, which lets the server notice that the
            browser has left. Default 1.

    Raises:
        FileNotFoundError: there is no such journal.

    >>> from runtimeuse_sync.journal import record
    >>> with record(client, "run.jsonl") as recorded:
    ...     answer = recorded.query("hello")
    >>> print(*sse_journal("run.jsonl", last_event_id="3"), sep="", end="")
    retry: 1000
    <BLANKLINE>
    id: 4
    event: result_message
    data: {"data":{"text":"hello","type":"text"},"metadata":null,"message_type":"result_message"}
    <BLANKLINE>
    id: 5
    event: end
    data: {"message_type":"end"}
    <BLANKLINE>
    """
    os.stat(path)  # what is not there is told before the response begins
    seen = re.fullmatch("[0-9]{1,15}", last_event_id or "")
    return _chunks(path, int(seen[0]) if seen else 0, call_id, tick)


def _chunks(path: Any, seen: int, call_id: Optional[str], tick: float) -> Iterator[str]:
    yield f"retry: {_RETRY}\n\n"
    number, is_over = seen, False
    try:
        for entry in follow(path, call_id=call_id, tick=tick):
            if entry is None:
                yield ": alive\n\n"
                continue
            number, is_over = entry.number, entry.event == "ended"
            if number > seen:
                yield from (sse_event(number, record) for record in _told(entry))
        if not is_over:
            yield sse_event(number, _INTERRUPTED)
    except RuntimeUseError as error:  # what is in the file is no journal
        yield sse_event(number, failure(error))
    yield sse_event(number, END)


def _told(entry: Entry) -> Iterator[dict[str, Any]]:
    """The record of an entry for a page."""
    if entry.event == "received":
        yield fields_of(readable(entry))
    elif entry.error is not None:
        yield failure(entry.error)
