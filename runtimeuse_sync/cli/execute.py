"""``runtimeuse-sync exec``: run a command, as if it ran here."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Optional

import click

from ..messages import CommandInterface
from ..options import ExecuteCommandsOptions
from ._artifacts import check_pair, receiving
from ._endings import EXEC_FAILED, Failure, endings
from ._parameters import (
    artifact_options,
    connection_options,
    env_option,
    json_option,
    make_client,
    secret_option,
    timeout_option,
)
from ._reports import ExecReport, open_report
from ._screen import PROGRAM

EXAMPLE = f"""Examples:

\b
  {PROGRAM} exec ws://localhost:8080 -- make test
  {PROGRAM} exec ws://localhost:8080 --cwd /src -- 'git log | head -3'
  {PROGRAM} exec ws://localhost:8080 -e API_KEY --secret-env API_KEY -- ./deploy
"""


_HINT = "\nAn option of the command's own goes behind --, as in: exec URL -- ls -l"


class _MisusedError(click.UsageError):
    exit_code = EXEC_FAILED


@contextmanager
def _own_exit_code(arguments: Sequence[str] = ("--",)) -> Iterator[None]:
    try:
        yield
    except click.UsageError as error:
        hint = "" if "--" in arguments or isinstance(error, click.MissingParameter) else _HINT
        raise _MisusedError(error.format_message() + hint, error.ctx) from None


class _Exec(click.Command):
    """Exit code 125 for wrong usage too: a 2 might be the remote command's."""

    def make_context(self, info_name: Optional[str], args: list[str], *rest: Any, **options: Any) -> click.Context:
        """What click asks for."""
        # A copy: click takes them out of the list.
        with _own_exit_code(tuple(args)):
            return super().make_context(info_name, args, *rest, **options)

    def invoke(self, ctx: click.Context) -> Any:
        """What click asks for."""
        with _own_exit_code():
            return super().invoke(ctx)


@click.command("exec", cls=_Exec, epilog=EXAMPLE)
@connection_options
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND...")
@click.option("--cwd", metavar="DIRECTORY", help="Where to run it. Default: the runtime's own.")
@env_option
@secret_option
@artifact_options
@timeout_option(None, "For the whole run. Default: no limit.")
@json_option
def execute(
    url: str,
    token: Optional[str],
    headers: Sequence[tuple[str, str]],
    command: Sequence[str],
    cwd: Optional[str],
    env: Sequence[tuple[str, str]],
    secrets: Sequence[str],
    artifacts_dirs: Sequence[str],
    save_to: Optional[str],
    timeout: Optional[float],
    as_json: bool,
) -> None:
    """Run COMMAND at URL, its output and exit code as if it ran here.

    One word is a line for the remote shell; several are a program and its arguments. Ctrl-C ends the remote command.

    The exit code is the remote command's; 125 for a failure of ours, wrong usage included.
    """
    client = make_client(url, token, headers)
    check_pair(artifacts_dirs, save_to)
    report = open_report(as_json=as_json, of=ExecReport)
    code = EXEC_FAILED
    with report.screen, endings(report, failed=EXEC_FAILED):
        with receiving(artifacts_dirs, save_to, report) as artifacts:
            options = ExecuteCommandsOptions(
                secrets_to_redact=list(secrets),
                artifacts_dirs=artifacts.directories,
                on_assistant_message=report.assistant,
                on_command_output=report.output,
                on_heartbeat=report.heartbeat,
                on_artifact_upload_request=artifacts.callback,
                is_cancelled=report.screen.tick,
                timeout=timeout,
            )
            line = command[0] if len(command) == 1 else shlex.join(command)
            item = CommandInterface(command=line, cwd=cwd, env=dict(env) or None)
            code = _exit_code(client.execute_commands([item], options).results)
        report.exit(code)
    raise click.exceptions.Exit(code)


def _exit_code(results: Sequence[Any]) -> int:
    if not results:
        raise Failure("the runtime did not say how the command ended")
    code = results[-1].exit_code
    # What does not fit must not become a success: 256 would be cut to 0.
    return code if 0 <= code <= 255 else 255
