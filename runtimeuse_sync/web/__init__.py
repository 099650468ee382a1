"""Runs as web responses: server-sent events and lines of JSON, for WSGI as they are, for ASGI by ``AsyncStream``.

It needs no framework and knows none. In Flask, with ``tick`` so that the server notices when the browser has left::

    run = client.stream(request, tick=0.5, timeout=600)
    return flask.Response(sse(run), headers=SSE_HEADERS)

A run that is recorded in a journal, from where the browser has lost it::

    return flask.Response(sse_journal(path, request.headers.get("Last-Event-ID")), headers=SSE_HEADERS)

In Starlette, FastAPI and Django under ASGI::

    return StreamingResponse(AsyncStream(sse(run)), headers=SSE_HEADERS)
"""

from ._asynchronous import AsyncStream
from ._encoding import NDJSON_HEADERS, SSE_HEADERS, EncodedRun, ndjson, sse, sse_event
from ._journal import sse_journal

__all__ = ["NDJSON_HEADERS", "SSE_HEADERS", "AsyncStream", "EncodedRun", "ndjson", "sse", "sse_event", "sse_journal"]
