"""An agent in a Modal sandbox: ``pip install runtimeuse-sync modal``.

``modal setup`` has to be done once, and ``OPENAI_API_KEY`` set.

Written for modal 1.6, and not run for real by the tests, which have no account.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import modal

from runtimeuse_sync.sandboxes import Endpoint, connected

PORT = 8080
LIFETIME = 3600  # seconds; Modal ends it then, even if this program is gone


@contextmanager
def modal_sandbox() -> Iterator[Endpoint]:
    """A sandbox of an image that has Node.js; the runtime is its one command, and it ends with it."""
    sandbox = modal.Sandbox.create(
        *("npx", "-y", "runtimeuse", "--port", str(PORT)),
        app=modal.App.lookup("runtimeuse", create_if_missing=True),
        image=modal.Image.from_registry("node:22", add_python="3.12"),
        secrets=[modal.Secret.from_dict({"OPENAI_API_KEY": os.environ["OPENAI_API_KEY"]})],
        timeout=LIFETIME,
    )
    try:
        # The port is open to nobody but who has such a token. (A tunnel, with encrypted_ports, is open to everybody.)
        credentials = sandbox.create_connect_token(port=PORT)
        yield Endpoint(credentials.url, headers={"Authorization": f"Bearer {credentials.token}"})
    finally:
        sandbox.terminate()


def main() -> None:
    """Ask the agent what the command line says."""
    question = " ".join(sys.argv[1:]) or "Which version of Node.js is this?"
    with connected(modal_sandbox(), ready_timeout=120) as client:
        print(client.query(question, system_prompt="Be brief.", timeout=600).output)


if __name__ == "__main__":
    main()
