"""What the hosts of ``test_results`` return; also imported by their programs."""

from __future__ import annotations

from typing import Any

from runtimeuse_sync import Client, InvocationMessage


def results(client: Client) -> list[Any]:
    """Results of every kind, one with an output of a type."""
    return [
        client.query("Count.", output_type=dict[str, int]),
        client.query("What?"),
        client.invoke(InvocationMessage(system_prompt="", user_prompt="What?")),
        client.execute_commands(["echo hello"]),
    ]
