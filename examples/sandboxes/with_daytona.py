"""An agent in a Daytona sandbox: ``pip install runtimeuse-sync daytona``.

``DAYTONA_API_KEY`` and ``OPENAI_API_KEY`` have to be set.

Written for daytona 0.226, and not run for real by the tests, which have no account.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from daytona import CreateSandboxFromImageParams, Daytona, SessionExecuteRequest

from runtimeuse_sync.sandboxes import Endpoint, connected

PORT = 8080
LIFETIME = 60  # minutes; Daytona deletes it then, even if this program is gone


@contextmanager
def daytona_sandbox() -> Iterator[Endpoint]:
    """A sandbox of an image that has Node.js."""
    parameters = CreateSandboxFromImageParams(
        image="node:22",
        env_vars={"OPENAI_API_KEY": os.environ["OPENAI_API_KEY"]},
        auto_stop_interval=0,  # a run may be silent for long; its connection is no event to Daytona
        ttl_minutes=LIFETIME,
    )
    sandbox = Daytona().create(parameters, timeout=300)
    try:
        sandbox.process.create_session("runtime")
        command = SessionExecuteRequest(command=f"npx -y runtimeuse --port {PORT}", run_async=True)
        sandbox.process.execute_session_command("runtime", command)
        preview = sandbox.get_preview_link(PORT)
        yield Endpoint(preview.url, headers={"X-Daytona-Preview-Token": preview.token})
    finally:
        sandbox.delete()


def main() -> None:
    """Ask the agent what the command line says."""
    question = " ".join(sys.argv[1:]) or "Which version of Node.js is this?"
    with connected(daytona_sandbox(), ready_timeout=120) as client:
        print(client.query(question, system_prompt="Be brief.", timeout=600).output)


if __name__ == "__main__":
    main()
