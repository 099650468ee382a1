"""A runtime on this machine, an agent that writes files, and the files in a folder: ``python artifacts.py FOLDER``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from runtimeuse_sync import Client, CommandInterface, InvocationMessage, QueryOptions
from runtimeuse_sync.local import ArtifactReceiver, LocalRuntime


def agent(invocation: InvocationMessage, sender: Any) -> str:
    """Writes what it is told into a file."""
    assert invocation.artifacts_dirs is not None
    path = Path(invocation.artifacts_dirs[0], "report.txt")
    path.write_text(invocation.user_prompt, encoding="utf-8")
    sender.assistant(f"Wrote {path.name}.")
    return "done"


def main(folder: str) -> None:
    """Run the agent; save what it leaves in ``folder``."""
    with tempfile.TemporaryDirectory() as work, LocalRuntime(agent) as runtime, ArtifactReceiver(folder) as receiver:
        options = QueryOptions(
            system_prompt="",
            post_agent_invocation_commands=[CommandInterface(command="wc -w < report.txt > words.txt", cwd=work)],
            artifacts_dirs=[work],
            on_assistant_message=lambda message: print(*message.text_blocks),
            on_artifact_upload_request=receiver,
            timeout=60,
        )
        Client(runtime.url).query("Three short words", options)
        for path in sorted(receiver.saved.values()):
            print(f"{path.name}: {path.read_text(encoding='utf-8').strip()}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "artifacts")
