"""``runtimeuse-sync demo``: a whole run on this machine, every step shown and checked."""

from __future__ import annotations

import sys
import time

import click

from ._endings import endings
from ._reports import TextReport
from ._screen import PROGRAM
from ._screens import open_screen

EXAMPLE = f"""Example:

\b
  {PROGRAM} demo
"""


@click.command(epilog=EXAMPLE)
def demo() -> None:
    """Show a whole run on this machine, step by step.

    A download, commands, an agent's messages, a structured result, an artifact. It starts a runtime of its own, and
    needs no network, no sandbox and no key. The exit code is 0 only if every step has really happened.
    """
    from ._demo_run import run_demo

    with open_screen(sys.stdout) as screen, endings(TextReport(screen), one_signal=True):
        began = time.monotonic()
        screen.say("A whole run on this machine: no network, no sandbox, no key.\n", "bold")
        run_demo(screen)
        screen.say(f"\nEvery step has really happened, in {time.monotonic() - began:.1f} s.", "bold green")
