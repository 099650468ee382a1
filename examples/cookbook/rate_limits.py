"""Keep to a rate, and wait out a model's: ``python examples/cookbook/rate_limits.py < prompts.txt``."""

from __future__ import annotations

import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from runtimeuse_sync import AgentRuntimeError, Client, ErrorMessageInterface

client = Client(os.environ.get("RUNTIME_URL", "ws://localhost:8080"))


class Pace:
    """Lets one thread pass every ``seconds``; the others wait for their turn, in any order."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._next = time.monotonic()

    def wait(self) -> None:
        """Return when it is this caller's turn."""
        with self._lock:
            turn = max(self._next, time.monotonic())
            self._next = turn + self._seconds
        time.sleep(max(0.0, turn - time.monotonic()))

    def hold(self, seconds: float) -> None:
        """Let nobody pass for so long."""
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)


pace = Pace(float(os.environ.get("SECONDS_BETWEEN", "2")))


def is_rate_limit(error: str) -> bool:
    """By the words of your agent: the protocol has no code for it."""
    return "rate limit" in error.lower() or "429" in error


def works_on(message: ErrorMessageInterface) -> bool:
    """Excuse an error that the agent itself waits out: it reports, and finishes with a result all the same."""
    return is_rate_limit(message.error) and "retrying" in message.error


def ask(prompt: str, attempts: int = 3) -> str:
    """The agent's answer. A run that ends over the limit is begun anew, for prompts that may be run twice."""
    for attempt in range(1, attempts + 1):
        pace.wait()
        try:
            return str(client.query(prompt, system_prompt="Be brief.", timeout=600, on_error_message=works_on).output)
        except AgentRuntimeError as error:
            if attempt == attempts or not is_rate_limit(error.error):
                raise
            pace.hold(float(os.environ.get("SECONDS_HELD", "30")) * attempt)
    raise AssertionError("attempts must be at least 1")


if __name__ == "__main__":
    with ThreadPoolExecutor(max_workers=8) as pool:
        for answer in pool.map(ask, map(str.strip, sys.stdin)):
            print(answer)
