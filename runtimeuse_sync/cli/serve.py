"""``runtimeuse-sync serve``: host an agent."""

from __future__ import annotations

import importlib
import os
import sys
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Optional

import click

from ._endings import Failure, endings
from ._parameters import TOKEN_VARIABLE, token_option
from ._reports import TextReport
from ._screen import PROGRAM, Screen
from ._screens import open_screen

if TYPE_CHECKING:
    from ..local import Handler, LocalRuntime

EXAMPLE = f"""Examples:

\b
  {PROGRAM} serve --agent-command cat
  {PROGRAM} serve --agent-command 'my-agent -p {{prompt}}' --port 8080
  {PROGRAM} serve --handler my_module:my_function
"""


@click.command(epilog=EXAMPLE)
@click.option("--handler", "handler_name", metavar="MODULE:FUNCTION", help="A function (invocation, sender) -> answer.")
@click.option(
    "--agent-command",
    metavar="COMMAND",
    help="A program to run for each request: the prompt is its input, its last line the result."
    " {prompt}, {system_prompt} and {model} are filled in.",
)
@click.option("--whole-output", is_flag=True, help="With --agent-command: the result is all that it prints.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="The port. Default: any free one.")
@token_option
def serve(
    handler_name: Optional[str],
    agent_command: Optional[str],
    whole_output: bool,
    host: str,
    port: int,
    token: Optional[str],
) -> None:
    """Host an agent, and print the URL.

    Clients can run any command through it. So it listens on this machine alone unless there is a token.
    Ctrl-C, SIGTERM or SIGHUP ends it, and all that it runs.
    """
    # What it runs inherits the environment, and must not learn the token from it.
    os.environ.pop(TOKEN_VARIABLE, None)
    with open_screen() as screen, endings(TextReport(screen), one_signal=True) as signals:
        from ..local._server.latch import Latch

        runtime = _start(_agent(handler_name, agent_command, whole_output), host, port, token)
        try:
            is_over = Latch()
            signals.call(is_over.set)
            screen.data(f"{runtime.url}\n")
            _hint(screen, token)
            is_over.wait()
        except KeyboardInterrupt:
            pass
        finally:
            signals.hold_off()
            runtime.close()


def _hint(screen: Screen, token: Optional[str]) -> None:
    who = "Whoever has the token" if token else "Every user of this machine"
    screen.say(f"{who} can run commands through it. Ctrl-C ends it.", "dim")


def _agent(handler_name: Optional[str], agent_command: Optional[str], whole_output: bool) -> Handler:
    if (handler_name is None) == (agent_command is None):
        raise click.UsageError("say what to host: --handler MODULE:FUNCTION or --agent-command COMMAND, one of the two")
    if handler_name is not None:
        if whole_output:
            raise click.UsageError("--whole-output goes with --agent-command")
        return _imported(handler_name)
    from ..local import CommandLineAgent

    try:
        return CommandLineAgent(agent_command or "", whole_output=whole_output)
    except ValueError as error:
        raise click.UsageError(f"--agent-command: {error}") from None


def _imported(name: str) -> Handler:
    module_name, _, path = name.partition(":")
    if not (module_name and path):
        raise click.UsageError("--handler: write MODULE:FUNCTION, as in my_module:my_function")
    # A console script, unlike `python -m`, does not look in the current directory.
    sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # The module is there, but one of its own imports fails: the traceback shows its author which.
        raise click.UsageError(f"--handler: there is no module {error.name!r} here or on the Python path") from None
    try:
        handler: Handler = attrgetter(path)(found)
    except AttributeError:
        raise click.UsageError(f"--handler: {module_name} has no {path!r}") from None
    return handler


def _start(handler: Handler, host: str, port: int, token: Optional[str]) -> LocalRuntime:
    from ..local import LocalRuntime

    try:
        return LocalRuntime(handler, host, port, token=token).start()
    except TypeError as error:
        raise click.UsageError(f"--handler: {error}") from None
    except ValueError as error:
        raise click.UsageError(f"{error} (--token, or {TOKEN_VARIABLE} in the environment)") from None
    except OSError as error:
        raise Failure(f"cannot listen on {host}, port {port}: {error.strerror}") from None
