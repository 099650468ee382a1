"""The agent that the documentation talks to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Union

import pytest

from runtimeuse_sync import InvocationMessage


def agent(invocation: InvocationMessage, sender: Any) -> Union[str, dict[str, Any]]:
    """Repeats its prompt, and waits to be cancelled where the prompt says so."""
    sender.assistant(f"You said: {invocation.user_prompt}")
    if "Take your time" in invocation.user_prompt:
        sender.cancelled.wait(10)
    if invocation.output_format_json_schema_str:
        return {"success": True, "files": 3}
    return invocation.user_prompt


@pytest.fixture
def url() -> Iterator[str]:
    """Where it listens."""
    from runtimeuse_sync.local import LocalRuntime

    with LocalRuntime(agent, settle_seconds=0.2, heartbeat_interval=0.1) as runtime:
        yield runtime.url
