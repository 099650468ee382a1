"""Ask the agent, show its messages as they come, and its answer at last. Ctrl-C cancels the remote run."""

from __future__ import annotations

import os
import sys

from runtimeuse_sync import (
    AssistantMessageInterface,
    Client,
    CommandOutputMessageInterface,
    QueryOptions,
    RuntimeUseError,
    TextResult,
)


def show(message: AssistantMessageInterface) -> None:
    """Show what the agent says."""
    print(*message.text_blocks, sep="\n", file=sys.stderr)


def show_output(message: CommandOutputMessageInterface) -> None:
    """Show what a command prints."""
    print(message.text, end="", file=sys.stderr)


def main() -> int:
    """Ask for what is on the command line; the exit code."""
    client = Client(os.environ.get("RUNTIME_URL", "ws://localhost:8080"))
    options = QueryOptions(
        system_prompt="Be brief.",
        on_assistant_message=show,
        on_command_output=show_output,
        timeout=600,
    )
    try:
        client.wait_until_ready(timeout=10)
        answer = client.query(" ".join(sys.argv[1:]), options)
    except RuntimeUseError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130  # by now the runtime has been told
    assert isinstance(answer.data, TextResult)
    print(answer.data.text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
