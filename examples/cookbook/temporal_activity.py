"""A Temporal activity that heartbeats while the agent works, and whose cancellation reaches the agent."""

from __future__ import annotations

import os
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from runtimeuse_sync import (
        AssistantMessageInterface,
        Client,
        ConnectionFailedError,
        HeartbeatMessageInterface,
        RuntimeUseError,
    )

    client = Client(os.environ.get("RUNTIME_URL", "ws://localhost:8080"))


# A plain function, which a worker runs in its activity_executor, a ThreadPoolExecutor. A cancellation arrives as an
# exception in this thread, wherever that is in the loop: leaving the block cancels the remote run, and Temporal sees
# the exception. Temporal repeats what fails unless it is told not to; only what was never sent may be.
@activity.defn
def ask(prompt: str) -> str:
    """The agent's answer."""
    try:
        with client.stream(prompt, system_prompt="Be brief.", timeout=3600, tick=5.0) as run:
            for message in run:
                activity.heartbeat(progress(message))
        return str(run.result.text)
    except ConnectionFailedError:
        raise
    except RuntimeUseError as error:
        raise ApplicationError(str(error), type=type(error).__name__, non_retryable=True) from error


def progress(message: object) -> str:
    """What a heartbeat says."""
    if isinstance(message, AssistantMessageInterface):
        return "\n".join(message.text_blocks)
    if isinstance(message, HeartbeatMessageInterface):
        return message.phase
    return ""


@workflow.defn
class Ask:
    """Asks once. Without ``heartbeat_timeout`` a cancellation does not reach the activity."""

    @workflow.run
    async def run(self, prompt: str) -> str:
        """The agent's answer."""
        return await workflow.execute_activity(
            ask,
            prompt,
            start_to_close_timeout=timedelta(hours=1, minutes=5),
            heartbeat_timeout=timedelta(seconds=30),
            retry_policy=RetryPolicy(maximum_attempts=5),
        )
