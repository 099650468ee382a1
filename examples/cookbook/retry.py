"""Try again with stamina, and only what is safe to try again: ``python examples/cookbook/retry.py "Hello"``."""

from __future__ import annotations

import os
import sys
from typing import Union

import stamina

from runtimeuse_sync import Client, ConnectionFailedError

client = Client(os.environ.get("RUNTIME_URL", "ws://localhost:8080"))


def pause_after(error: Exception) -> Union[bool, float]:
    """Whether to try again, and after how many seconds if the server has said so.

    Without a connection nothing was sent. After anything else the agent may have done part of its work.
    """
    if not isinstance(error, ConnectionFailedError):
        return False
    return error.retry_after or True


@stamina.retry(on=pause_after, attempts=6, timeout=120, wait_initial=0.5, wait_max=20)
def ask(prompt: str) -> str:
    """The agent's answer. ``timeout`` of the decorator is for all attempts, that of the call for each."""
    return str(client.query(prompt, system_prompt="Be brief.", timeout=600).output)


if __name__ == "__main__":
    print(ask(sys.argv[1]))
