"""Very many prompts on one machine: processes, each with many threads. Each line of standard input is a prompt."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial

from runtimeuse_sync import Client, QueryOptions, RuntimeUseError, TextResult

# The cores are for what comes in; to wait for it takes a thread.
PROCESSES, THREADS = os.cpu_count() or 1, 50


def ask(client: Client, prompt: str) -> str:
    """The agent's answer, or what went wrong."""
    try:
        data = client.query(prompt, QueryOptions(system_prompt="Be brief.", timeout=600)).data
    except RuntimeUseError as error:
        return f"{type(error).__name__}: {error}"
    return data.text if isinstance(data, TextResult) else str(data.structured_output)


def ask_share(client: Client, prompts: list[str]) -> list[str]:
    """What one process does."""
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(partial(ask, client), prompts))


def main() -> None:
    """Print the answers, in the order of the prompts."""
    client = Client(os.environ.get("RUNTIME_URL", "ws://localhost:8080"))  # pickled, as it is configuration
    prompts = [line.strip() for line in sys.stdin if line.strip()]
    shares = [prompts[first::PROCESSES] for first in range(PROCESSES)]
    with ProcessPoolExecutor(PROCESSES) as pool:
        answers = list(pool.map(partial(ask_share, client), shares))
    for number, prompt in enumerate(prompts):
        print(f"{prompt}: {answers[number % PROCESSES][number // PROCESSES]}")


if __name__ == "__main__":
    main()
