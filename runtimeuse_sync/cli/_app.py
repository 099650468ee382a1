"""The sub-commands put together, and the exit code of the process."""

from __future__ import annotations

import io
import os
import sys
import textwrap

import click

from ._endings import INTERRUPTED
from ._screen import PROGRAM
from ._streams import mend_streams
from .batch import batch
from .cp import cp
from .demo import demo
from .execute import execute
from .invoke import invoke
from .replay import replay
from .serve import serve
from .show import show
from .wait import wait


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Begin with:\n\n\b\n  runtimeuse-sync demo",
)
@click.version_option(package_name=PROGRAM)
def app() -> None:
    """Run agents and commands on a runtimeuse runtime, or host one."""


for command in (serve, invoke, batch, execute, cp, wait, replay, show, demo):
    app.add_command(command)


def run() -> int:
    """Run the command with the arguments of this process; returns the exit code."""
    mend_streams()
    try:
        # Without standalone mode, click returns the code of a click.exceptions.Exit, by which the commands leave.
        return app.main(prog_name=PROGRAM, standalone_mode=False) or 0
    except click.ClickException as error:
        _show(error)
        return error.exit_code
    except click.Abort:
        return INTERRUPTED


def _show(error: click.ClickException) -> None:
    """Say what is wrong with the arguments; on a terminal, in lines that are broken between words."""
    said = io.StringIO()
    error.show(said)
    lines = said.getvalue().splitlines()
    if sys.stderr.isatty():
        columns = os.get_terminal_size(sys.stderr.fileno()).columns
        lines = [textwrap.fill(line, columns, break_long_words=False, break_on_hyphens=False) for line in lines]
    click.echo("\n".join(lines), err=True)
