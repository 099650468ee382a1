"""An agent in an E2B sandbox: ``pip install runtimeuse-sync e2b``.

``E2B_API_KEY`` and ``OPENAI_API_KEY`` have to be set.

Written for e2b 2.63, and not run for real by the tests, which have no account.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from e2b import Sandbox

from runtimeuse_sync.sandboxes import Endpoint, connected

PORT = 8080
LIFETIME = 3600  # seconds; E2B kills it then, even if this program is gone


@contextmanager
def e2b_sandbox() -> Iterator[Endpoint]:
    """A sandbox of the template ``base``, which has Node.js."""
    keys = {"OPENAI_API_KEY": os.environ["OPENAI_API_KEY"]}
    # Without public traffic, only who has the sandbox's token gets through to it.
    sandbox = Sandbox.create(timeout=LIFETIME, envs=keys, network={"allow_public_traffic": False})
    try:
        # timeout=0: a command in the background would otherwise end after 60 s.
        sandbox.commands.run(f"npx -y runtimeuse --port {PORT}", background=True, timeout=0)
        token = sandbox.traffic_access_token
        yield Endpoint(
            f"https://{sandbox.get_host(PORT)}", headers={"e2b-traffic-access-token": token} if token else None
        )
    finally:
        sandbox.kill()


def main() -> None:
    """Ask the agent what the command line says."""
    question = " ".join(sys.argv[1:]) or "Which version of Node.js is this?"
    with connected(e2b_sandbox(), ready_timeout=120) as client:
        print(client.query(question, system_prompt="Be brief.", timeout=600).output)


if __name__ == "__main__":
    main()
