"""A FastAPI endpoint that answers, and one that streams server-sent events: ``uvicorn fastapi_view:app``."""

from __future__ import annotations

import os
from typing import Any

import fastapi
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from runtimeuse_sync import (
    Client,
    InvocationMessage,
    InvocationTimeoutError,
    QueryOptions,
    RuntimeUseError,
    TextResult,
)
from runtimeuse_sync.web import SSE_HEADERS, AsyncStream, sse

app = fastapi.FastAPI()
client = Client(os.environ.get("RUNTIME_URL", "ws://localhost:8080"))


class Question(BaseModel):
    """What the page sends."""

    question: str


@app.post("/answers")
def answer(asked: Question) -> dict[str, Any]:
    """Wait for the agent, and answer. Without ``async`` it runs in a thread, and may block."""
    options = QueryOptions(system_prompt="Be brief.", timeout=60)
    try:
        data = client.query(asked.question, options).data
    except InvocationTimeoutError as error:
        raise fastapi.HTTPException(504, "the agent took too long") from error
    except RuntimeUseError as error:
        raise fastapi.HTTPException(502, str(error)) from error
    return {"answer": data.text if isinstance(data, TextResult) else data.structured_output}


@app.post("/streams")
async def stream(asked: Question) -> StreamingResponse:
    """Pass the agent's messages on as they come. When the browser leaves, the run is cancelled."""
    request = InvocationMessage(system_prompt="Be brief.", user_prompt=asked.question)
    run = client.stream(request, timeout=600, tick=0.5)
    return StreamingResponse(AsyncStream(sse(run)), headers=SSE_HEADERS)
