"""Runs as web responses: server-sent events and lines of JSON, for WSGI as they are, for ASGI by ``AsyncStream``.

It needs no framework and knows none. In Flask, with ``tick`` so that the server notices when the browser has left::

    run = client.stream(request, tick=0.5, timeout=600)
    return flask.Response(sse(run), headers=SSE_HEADERS)

In Starlette, FastAPI and Django under ASGI::

    return StreamingResponse(AsyncStream(sse(run)), headers=SSE_HEADERS)
"""

from ._asynchronous import AsyncStream
from ._encoding import NDJSON_HEADERS, SSE_HEADERS, EncodedRun, ndjson, sse, sse_event

__all__ = ["NDJSON_HEADERS", "SSE_HEADERS", "AsyncStream", "EncodedRun", "ndjson", "sse", "sse_event"]
