"""The sub-commands put together, and the exit code of the process."""

from __future__ import annotations

import click

from ._endings import INTERRUPTED
from ._screen import PROGRAM
from ._streams import mend_streams
from .demo import demo
from .execute import execute
from .invoke import invoke
from .serve import serve
from .wait import wait


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Begin with:\n\n\b\n  runtimeuse-sync demo",
)
@click.version_option(package_name=PROGRAM)
def app() -> None:
    """Run agents and commands on a runtimeuse runtime, or host one."""


for command in (serve, invoke, execute, wait, demo):
    app.add_command(command)


def run() -> int:
    """Run the command with the arguments of this process; returns the exit code."""
    mend_streams()
    try:
        # The commands leave by click.exceptions.Exit, whose code is what this returns.
        return app.main(prog_name=PROGRAM, standalone_mode=False) or 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return INTERRUPTED
