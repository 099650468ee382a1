"""Celery tasks that run the agent: ``celery -A celery_task worker``, then ``ask.delay("Hello")``."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, Callable, Optional

from celery import Celery, chord
from celery.contrib.abortable import AbortableTask
from celery.result import AsyncResult

from runtimeuse_sync import (
    AgentRuntimeError,
    AssistantMessageInterface,
    Client,
    ConnectionFailedError,
    QueryOptions,
    TextResult,
)

app = Celery(
    "celery_task",
    broker=os.environ.get("BROKER_URL", "memory://"),  # redis://localhost:6379/0, for instance
    backend=os.environ.get("RESULT_BACKEND"),
)
# Made before the worker forks; it is configuration, and works in the children.
client = Client(os.environ.get("RUNTIME_URL", "ws://localhost:8080"))


# When no connection came about, nothing was sent, and trying again is safe. Nothing else is tried again: the agent
# may have done part of its work. The soft limit is raised inside of the call: it cancels the remote run, and goes on.
@app.task(autoretry_for=(ConnectionFailedError,), max_retries=5, retry_backoff=True, soft_time_limit=900)
def ask(prompt: str) -> dict[str, object]:
    """The agent's answer, or what it says went wrong."""
    return answer(prompt)


@app.task(bind=True, soft_time_limit=900)
def watch(self: Any, prompt: str) -> dict[str, object]:
    """The same, and what the agent says meanwhile as the task's state: callbacks run on the task's own thread."""

    def tell(message: AssistantMessageInterface) -> None:
        self.update_state(state="PROGRESS", meta={"says": message.text_blocks})

    return answer(prompt, on_assistant_message=tell)


# Acknowledged at its end, it is run anew when its worker is killed: for prompts that may be run twice.
@app.task(acks_late=True, reject_on_worker_lost=True, soft_time_limit=900)
def ask_again(prompt: str) -> dict[str, object]:
    """The agent's answer, even if a worker dies over it."""
    return answer(prompt)


# For a pool of threads, which has neither revoke(terminate=True) nor time limits: what AbortableAsyncResult.abort()
# leaves in the result backend is asked for every quarter of a second.
@app.task(bind=True, base=AbortableTask)
def ask_until_aborted(self: Any, prompt: str) -> dict[str, object]:
    """The agent's answer, unless the task is aborted."""
    return answer(prompt, is_cancelled=self.is_aborted)


@app.task
def gather(answers: list[dict[str, object]]) -> dict[str, object]:
    """What a chord makes of its answers."""
    return {"answers": [one["answer"] for one in answers if "answer" in one], "asked": len(answers)}


def ask_all(prompts: Iterable[str]) -> AsyncResult:
    """Ask for all at once, on as many workers as there are; ``gather`` runs when the last has its answer."""
    return chord(ask.s(prompt) for prompt in prompts)(gather.s())


def answer(
    prompt: str,
    *,
    on_assistant_message: Optional[Callable[[AssistantMessageInterface], None]] = None,
    is_cancelled: Optional[Callable[[], bool]] = None,
) -> dict[str, object]:
    """Run the agent."""
    options = QueryOptions(
        system_prompt="Be brief.", on_assistant_message=on_assistant_message, is_cancelled=is_cancelled, timeout=600
    )
    try:
        data = client.query(prompt, options).data
    except AgentRuntimeError as error:
        return {"error": error.error, "metadata": error.metadata}
    return {"answer": data.text if isinstance(data, TextResult) else data.structured_output}
