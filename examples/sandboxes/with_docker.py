"""An agent in a container of this machine: ``pip install runtimeuse-sync docker``.

``OPENAI_API_KEY`` has to be set.

Written for docker 7.2, and not run for real by the tests, which have no Docker.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import docker

from runtimeuse_sync.sandboxes import Endpoint, connected

PORT = 8080
LIFETIME = 3600  # seconds; the container ends by itself then, even if this program is gone


@contextmanager
def docker_sandbox(image: str = "node:22") -> Iterator[Endpoint]:
    """A container of an image that has Node.js, reachable from this machine alone."""
    container = docker.from_env().containers.run(
        image,
        ["timeout", str(LIFETIME), "npx", "-y", "runtimeuse", "--port", str(PORT)],
        detach=True,
        auto_remove=True,
        init=True,  # something has to collect what the agent leaves behind
        environment={"OPENAI_API_KEY": os.environ["OPENAI_API_KEY"]},
        ports={f"{PORT}/tcp": ("127.0.0.1", 0)},  # a free port, on loopback
    )
    try:
        container.reload()  # only now it is told which port that is
        published = container.ports[f"{PORT}/tcp"] or []
        yield Endpoint(f"ws://127.0.0.1:{published[0]['HostPort']}")
    finally:
        container.remove(force=True)


def main() -> None:
    """Ask the agent what the command line says."""
    question = " ".join(sys.argv[1:]) or "Which version of Node.js is this?"
    with connected(docker_sandbox(), ready_timeout=120) as client:
        print(client.query(question, system_prompt="Be brief.", timeout=600).output)


if __name__ == "__main__":
    main()
