"""``runtimeuse-sync wait``: until a runtime is ready."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Optional

import click

from ._endings import endings
from ._parameters import connection_options, json_option, make_client, timeout_option
from ._reports import open_report
from ._screen import PROGRAM

EXAMPLE = f"""Example:

\b
  {PROGRAM} wait ws://localhost:8080 --timeout 30 && {PROGRAM} exec ws://localhost:8080 -- uname
"""


@click.command(epilog=EXAMPLE)
@click.argument("url", required=False, metavar="[URL]")
@connection_options
@timeout_option(60.0, "How long to wait.")
@json_option
def wait(
    url: Optional[str], token: Optional[str], headers: Sequence[tuple[str, str]], timeout: float, as_json: bool
) -> None:
    """Wait until the runtime at URL (default: RUNTIMEUSE_URL) accepts connections.

    Tries again as long as the failure is one of a sandbox that is still starting; a wrong token fails at once.
    """
    client = make_client(url, token, headers)
    report = open_report(as_json=as_json)
    with report.screen, endings(report):
        began = time.monotonic()
        report.screen.show_progress()
        client.wait_until_ready(timeout)
        report.ready(time.monotonic() - began)
