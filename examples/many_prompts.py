"""Many prompts at once: threads that share one client. Each line of standard input is a prompt."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor

from runtimeuse_sync import Client, QueryOptions, RuntimeUseError, TextResult

AT_ONCE = 8

client = Client(os.environ.get("RUNTIME_URL", "ws://localhost:8080"))


def ask(prompt: str) -> str:
    """The agent's answer, or what went wrong."""
    try:
        data = client.query(prompt, QueryOptions(system_prompt="Be brief.", timeout=600)).data
    except RuntimeUseError as error:
        return f"{type(error).__name__}: {error}"
    return data.text if isinstance(data, TextResult) else str(data.structured_output)


def main() -> None:
    """Print the answers, in the order of the prompts."""
    prompts = [line.strip() for line in sys.stdin if line.strip()]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = [pool.submit(ask, prompt) for prompt in prompts]
        try:
            for prompt, answer in zip(prompts, answers):
                print(f"{prompt}: {answer.result()}")
        except KeyboardInterrupt:
            for answer in answers:
                answer.cancel()  # those that have not begun
            client.abort()  # those under way; their runtimes are told
            raise


if __name__ == "__main__":
    main()
