"""Many prompts at once. Each line of standard input is a prompt; the answers come in the same order."""

from __future__ import annotations

import os
import sys

from runtimeuse_sync import Client

AT_ONCE = 8


def main() -> None:
    """Print each answer as soon as those before it are there. Ctrl-C cancels what runs."""
    client = Client(os.environ.get("RUNTIME_URL", "ws://localhost:8080"))
    prompts = (line.strip() for line in sys.stdin if line.strip())
    for outcome in client.map(prompts, at_once=AT_ONCE, ordered=True, system_prompt="Be brief.", timeout=600):
        error = outcome.error
        print(f"{outcome.prompt}: {f'{type(error).__name__}: {error}' if error else outcome.output}")


if __name__ == "__main__":
    main()
