"""A Flask view that answers, and one that streams, with heartbeats as keep-alives."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import flask

from runtimeuse_sync import (
    AssistantMessageInterface,
    Client,
    HeartbeatMessageInterface,
    InvocationMessage,
    InvocationTimeoutError,
    QueryOptions,
    RuntimeUseError,
    TextResult,
)

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
    """Pass the agent's messages on as they come, as server-sent events."""
    return flask.Response(events(flask.request.get_json()["question"]), mimetype="text/event-stream")


def events(question: str) -> Iterator[str]:
    """The events of a run. Closing this generator, as servers do when the browser has left, cancels the run."""
    request = InvocationMessage(system_prompt="Be brief.", user_prompt=question)
    try:
        with client.stream(request, timeout=600) as run:
            for message in run:
                if isinstance(message, HeartbeatMessageInterface):
                    yield ": alive\n\n"  # a comment: it keeps proxies from giving up
                elif isinstance(message, AssistantMessageInterface):
                    yield event("message", message.text_blocks)
        yield event("result", run.result.text)
    except RuntimeUseError as error:
        yield event("error", str(error))  # it is too late for another status


def event(name: str, data: object) -> str:
    """A server-sent event."""
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"
