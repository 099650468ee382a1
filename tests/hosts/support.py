"""Programs that run beside a test, and an agent that tells whether its run was cancelled."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from runtimeuse_sync import InvocationMessage

EXAMPLES = Path(__file__).parents[2] / "examples"

# Seconds that a program on a busy machine may take for anything.
PATIENCE = 50


class Agent:
    """Repeats its prompt; where that says "wait", waits to be cancelled."""

    def __init__(self) -> None:
        self.is_waiting = threading.Event()
        self.was_cancelled = threading.Event()

    def __call__(self, invocation: InvocationMessage, sender: Any) -> str:
        sender.assistant(f"You said: {invocation.user_prompt}")
        if "wait" in invocation.user_prompt:
            self.is_waiting.set()
            if sender.cancelled.wait(PATIENCE):
                self.was_cancelled.set()
        return invocation.user_prompt


def environment(url: str, **more: str) -> dict[str, str]:
    """For a program that imports the examples, and finds the runtime at ``url``."""
    return {**os.environ, "RUNTIME_URL": url, "PYTHONPATH": str(EXAMPLES), "PYTHONDONTWRITEBYTECODE": "1", **more}


@contextmanager
def running(module: str, *args: str, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """``python -m module``; asked to end, and waited for, at the end."""
    with subprocess.Popen([sys.executable, "-m", module, *args], **options) as program:
        try:
            yield program
        finally:
            program.terminate()
            try:
                program.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                program.kill()
                raise
