"""A Celery task that runs the agent: ``celery -A celery_task worker``, then ``ask.delay("Hello")``."""

from __future__ import annotations

import os

from celery import Celery

from runtimeuse_sync import AgentRuntimeError, Client, ConnectionFailedError, QueryOptions, TextResult

app = Celery("celery_task", broker=os.environ.get("BROKER_URL", "memory://"))
# Made before the worker forks; it is configuration, and works in the children.
client = Client(os.environ.get("RUNTIME_URL", "ws://localhost:8080"))


# When no connection came about, nothing was sent, and trying again is safe. Nothing else is tried again: the agent
# may have done part of its work. The soft limit is raised inside of the call: it cancels the remote run, and goes on.
@app.task(autoretry_for=(ConnectionFailedError,), max_retries=5, retry_backoff=True, soft_time_limit=900)
def ask(prompt: str) -> dict[str, object]:
    """The agent's answer, or what it says went wrong."""
    try:
        data = client.query(prompt, QueryOptions(system_prompt="Be brief.", timeout=600)).data
    except AgentRuntimeError as error:
        return {"error": error.error, "metadata": error.metadata}
    return {"answer": data.text if isinstance(data, TextResult) else data.structured_output}
