"""A Flask view that answers, and one that streams server-sent events."""

from __future__ import annotations

import os
from typing import Any

import flask

from runtimeuse_sync import (
    Client,
    InvocationMessage,
    InvocationTimeoutError,
    QueryOptions,
    RuntimeUseError,
    TextResult,
)
from runtimeuse_sync.web import SSE_HEADERS, sse

app = flask.Flask(__name__)
# Configuration, no connection: one for the process, shared by its threads, and fine across a server's forks.
client = Client(os.environ.get("RUNTIME_URL", "ws://localhost:8080"))


@app.post("/answers")
def answer() -> Any:
    """Wait for the agent, and answer."""
    options = QueryOptions(system_prompt="Be brief.", timeout=60)
    try:
        data = client.query(flask.request.get_json()["question"], options).data
    except InvocationTimeoutError:
        return {"error": "the agent took too long"}, 504
    except RuntimeUseError as error:
        return {"error": str(error)}, 502
    return {"answer": data.text if isinstance(data, TextResult) else data.structured_output}


@app.post("/streams")
def stream() -> flask.Response:
    """Pass the agent's messages on as they come. When the browser leaves, the run is cancelled."""
    request = InvocationMessage(system_prompt="Be brief.", user_prompt=flask.request.get_json()["question"])
    return flask.Response(sse(client.stream(request, timeout=600, tick=0.5)), headers=SSE_HEADERS)
