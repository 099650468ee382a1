"""Encoding of runs as text: the records of a run, written as server-sent events or as lines of JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Callable, Optional

import attrs

from .. import Run, RuntimeUseError, Tick

# Proxies must pass each piece on as it comes: without a cache, without compressing, without gathering (nginx).
_UNBUFFERED = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}

#: The headers of a response that ``sse`` writes.
SSE_HEADERS: Mapping[str, str] = MappingProxyType({"Content-Type": "text/event-stream", **_UNBUFFERED})

#: The headers of a response that ``ndjson`` writes.
NDJSON_HEADERS: Mapping[str, str] = MappingProxyType({"Content-Type": "application/x-ndjson", **_UNBUFFERED})

# A record for a page: a message's fields. None: a tick.
Record = Optional[dict[str, Any]]
END = {"message_type": "end"}
# A function that writes the record with a number.
Writer = Callable[[int, Record], str]

# In ASCII: line breaks, NUL and lone surrogates are escaped, and no text can end a line or a chunk in its midst.
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def _to_json(record: Mapping[str, Any]) -> str:
    try:
        return _encode(record)
    except ValueError:  # a number too large for a float, such as 1e999: JSON has no word for it
        return _encode(json.loads(json.dumps(record), parse_constant=str))


class EncodedRun(Iterator[str]):
    """A run as text, chunk by chunk: what ``sse`` and ``ndjson`` return.

    The run is entered at the first chunk. ``close()``, which WSGI servers call when the browser has left, cancels
    it, as does leaving the ``with`` block.

    >>> with sse(client.stream(InvocationMessage(system_prompt="", user_prompt="hi"))) as chunks:
    ...     print(next(chunks), end="")
    id: 1
    event: assistant_message
    data: {"text_blocks":["You said: hi"],"message_type":"assistant_message"}
    <BLANKLINE>
    """

    def __init__(self, run: Run[Any], write: Writer) -> None:
        self._run = run
        self._chunks = _chunks(run, write)

    def __next__(self) -> str:
        return next(self._chunks)

    def __enter__(self) -> EncodedRun:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the run, on the thread that iterates; it is cancelled if it has not ended.

        >>> chunks = sse(client.stream(InvocationMessage(system_prompt="", user_prompt="hi")))
        >>> chunks.close()
        >>> list(chunks)
        []
        """
        self._chunks.close()

    def cancel(self) -> None:
        """Cancel the run, from any thread, at once; an ``error`` is then written, and the end.

        >>> chunks = ndjson(client.stream(InvocationMessage(system_prompt="", user_prompt="hi")))
        >>> chunks.cancel()
        >>> print(*chunks, sep="", end="")
        {"message_type":"error","error":"CancelledException","message":"the call was cancelled"}
        {"message_type":"end"}
        """
        self._run.cancel()


def sse(run: Run[Any]) -> EncodedRun:
    """A run as server-sent events, for a response with ``SSE_HEADERS``.

    Each message is an event: its type is the ``message_type``, its data the message as JSON, its id a number that
    counts from 1. A ``Tick`` becomes a comment, which keeps proxies patient and lets the server notice that the
    browser has left. If the run fails, an event ``error`` names the exception's class and, if it is one of this
    library's, its message. The last event is always ``end``: there a page closes its ``EventSource``, which would
    connect again, and run the agent again.

    Args:
        run (Run): what ``stream(..., tick=...)`` returned; not entered.

    Returns:
        EncodedRun: an iterator of str.

    Raises:
        Exception: while iterating, behind the event ``end``: what is not this library's, such as a callback's, so
            that the host reports it.

    >>> request = InvocationMessage(system_prompt="Be brief.", user_prompt="hi")
    >>> for chunk in sse(client.stream(request, tick=0.5)):
    ...     print(chunk.splitlines()[1])
    event: assistant_message
    event: result_message
    event: end
    """
    return EncodedRun(run, _event)


def ndjson(run: Run[Any]) -> EncodedRun:
    """A run as lines of JSON, for a response with ``NDJSON_HEADERS``.

    What ``sse`` writes as events stands here in lines, each an object with a ``message_type``; a ``Tick`` becomes
    an empty line.

    Args:
        run (Run): what ``stream(..., tick=...)`` returned; not entered.

    Returns:
        EncodedRun: an iterator of str.

    Raises:
        Exception: as ``sse``.

    >>> request = InvocationMessage(system_prompt="Be brief.", user_prompt="hi")
    >>> print(*ndjson(client.stream(request)), sep="", end="")
    {"text_blocks":["You said: hi"],"message_type":"assistant_message"}
    {"data":{"text":"hi","type":"text"},"metadata":null,"message_type":"result_message"}
    {"message_type":"end"}
    """
    return EncodedRun(run, _line)


def _chunks(run: Run[Any], write: Writer) -> Generator[str, None, None]:
    number = 0
    for record in _records(run):
        number += record is not None
        yield write(number, record)


def _records(run: Run[Any]) -> Iterator[Record]:
    """The messages of a run as they come, its failure if it fails, and always the end."""
    try:
        with run:
            for message in run.deliveries():
                yield None if isinstance(message, Tick) else fields_of(message)
    except Exception as error:
        yield failure(error)
        yield END
        if not isinstance(error, RuntimeUseError):
            raise
    else:
        yield END


def fields_of(message: Any) -> dict[str, Any]:
    has_own = hasattr(message, "to_dict")  # what a transport of the user's own brings need not have it
    return message.to_dict() if has_own else attrs.asdict(message)


def failure(error: Exception) -> dict[str, Any]:
    """The record of a failure, without the text of an exception that is not this library's: it may hold a secret."""
    words = str(error) if isinstance(error, RuntimeUseError) else "the server failed"
    return {"message_type": "error", "error": type(error).__name__, "message": words}


def _event(number: int, record: Record) -> str:
    return ": alive\n\n" if record is None else sse_event(number, record)


def sse_event(number: int, record: Mapping[str, Any]) -> str:
    """One server-sent event, for who writes a stream of his own: what was kept of a run, for one.

    A browser that connects again sends the number of the last event that it has got, as ``Last-Event-ID``.

    Args:
        number (int): the event's id.
        record (Mapping): its data, with a ``message_type``, which is the event's type.

    >>> print(sse_event(7, {"message_type": "artifact", "name": "report\\n.csv"}), end="")
    id: 7
    event: artifact
    data: {"message_type":"artifact","name":"report\\n.csv"}
    <BLANKLINE>
    """
    name = re.sub(r"[^\w.-]", "_", record["message_type"], flags=re.ASCII)
    return f"id: {number}\nevent: {name}\ndata: {_to_json(record)}\n\n"


def _line(number: int, record: Record) -> str:
    return "\n" if record is None else f"{_to_json(record)}\n"
