"""An agent in a Vercel sandbox: ``pip install runtimeuse-sync vercel``.

``VERCEL_OIDC_TOKEN``, which ``vercel link && vercel env pull`` writes into ``.env.local``, and ``OPENAI_API_KEY`` have
to be set.

Written for vercel 0.12, and not run for real by the tests, which have no account.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from vercel.api import session
from vercel.sandbox import sync as vercel

from runtimeuse_sync.sandboxes import Endpoint, connected

PORT = 8080
LIFETIME = 3600  # seconds; Vercel stops it then, even if this program is gone


@contextmanager
def vercel_sandbox() -> Iterator[Endpoint]:
    """A sandbox of the default image, which has Node.js. Who knows its URL can use it: keep it to yourself."""
    keys = {"OPENAI_API_KEY": os.environ["OPENAI_API_KEY"]}
    # Leaving its block stops and destroys it.
    with session(), vercel.create_sandbox(ports=[PORT], execution_time_limit=LIFETIME, env=keys) as sandbox:
        sandbox.create_process(
            "npx",
            ["-y", "runtimeuse", "--port", str(PORT)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        yield Endpoint(next(route.url for route in sandbox.routes if route.port == PORT))


def main() -> None:
    """Ask the agent what the command line says."""
    question = " ".join(sys.argv[1:]) or "Which version of Node.js is this?"
    with connected(vercel_sandbox(), ready_timeout=120) as client:
        print(client.query(question, system_prompt="Be brief.", timeout=600).output)


if __name__ == "__main__":
    main()
