"""``runtimeuse-sync exec``: run a command, as if it ran here."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Optional

import click

from ..messages import CommandInterface, CommandResultItem
from ..options import ExecuteCommandsOptions
from ._artifacts import Wanted, artifact_options, receiving
from ._endings import EXEC_FAILED, Failure, endings
from ._parameters import (
    connection_options,
    env_option,
    is_url,
    json_option,
    make_client,
    missing,
    secret_option,
    timeout_option,
)
from ._recording import record_option, recorded
from ._reports import ExecReport, open_report
from ._screen import PROGRAM

EXAMPLE = f"""Examples:

\b
  {PROGRAM} exec ws://localhost:8080 -- make test
  {PROGRAM} exec ws://localhost:8080 --cwd /src -- 'git log | head -3'
  {PROGRAM} exec ws://localhost:8080 -e API_KEY --secret-env API_KEY -- ./deploy
"""


# Where the context keeps what stood behind the dashes.
_BEHIND = f"{__name__}.behind"

_HINT = "\nAn option of the command's own goes behind --, as in: exec URL -- ls -l"

_NO_URL = "Without a URL, the command goes behind --, as in: exec -- ls -l"


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
    """Exit code 125 for wrong usage too: a 2 might be the remote command's. What is behind ``--`` is told apart."""

    def make_context(self, info_name: Optional[str], args: list[str], *rest: Any, **options: Any) -> click.Context:
        """Override of click's, for the exit code of wrong usage."""
        # A tuple, since click empties the list.
        with _own_exit_code(tuple(args)):
            return super().make_context(info_name, args, *rest, **options)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Override of click's: click itself does not tell which words stood after the dashes."""
        before, behind = _split(args)
        ctx.meta[_BEHIND] = behind
        return super().parse_args(ctx, before)

    def invoke(self, ctx: click.Context) -> Any:
        """Override of click's, for the exit code of wrong usage."""
        with _own_exit_code():
            return super().invoke(ctx)


def _split(args: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words before the first ``--``, and those behind it."""
    place = args.index("--") if "--" in args else len(args)
    return list(args[:place]), list(args[place + 1 :])


@click.command("exec", cls=_Exec, epilog=EXAMPLE)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[URL] -- COMMAND...")
@connection_options
@click.option("--cwd", metavar="DIRECTORY", help="Where to run it. Default: the runtime's own.")
@env_option
@secret_option
@artifact_options
@timeout_option(None, "For the whole run. Default: no limit.")
@record_option
@json_option
@click.pass_context
def execute(
    context: click.Context,
    words: Sequence[str],
    token: Optional[str],
    headers: Sequence[tuple[str, str]],
    cwd: Optional[str],
    env: Sequence[tuple[str, str]],
    secrets: Sequence[str],
    wanted: Wanted,
    timeout: Optional[float],
    journal: Optional[str],
    as_json: bool,
) -> None:
    """Run COMMAND at URL (default: RUNTIMEUSE_URL), its output and exit code as if it ran here.

    One word is a line for the remote shell; several are a program and its arguments. Ctrl-C ends the remote command.

    The exit code is the remote command's; 125 for a failure of ours, wrong usage included.
    """
    url, command = _url_and_command(words, context.meta[_BEHIND])
    client = make_client(url, token, headers)
    wanted.check()
    report = open_report(as_json=as_json, of=ExecReport)
    code = EXEC_FAILED
    with report.screen, endings(report, failed=EXEC_FAILED):
        with recorded(client, journal) as client, receiving(wanted, report) as artifacts:
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
            ended = _last(client.execute_commands([item], options).results)
        # The system keeps the low byte of an exit code: 256 would become 0, a success.
        is_own = 0 <= ended.exit_code <= 255
        code = ended.exit_code if is_own else 255
        report.exit(code, None if is_own else ended.failure)
    raise click.exceptions.Exit(code)


def _url_and_command(before: Sequence[str], behind: Sequence[str]) -> tuple[Optional[str], Sequence[str]]:
    # Only dashes say that the URL is left out: else one with a mistake in it would be run as a command.
    words = [*before, *behind]
    has_url = before or (behind and is_url(behind[0]))
    url, command = (words[0], words[1:]) if has_url else (None, words)
    if not command:
        raise missing("COMMAND", _NO_URL if words and not is_url(words[0]) else None)
    return url, command


def _last(results: Sequence[CommandResultItem]) -> CommandResultItem:
    if not results:
        raise Failure("the runtime did not say how the command ended")
    return results[-1]
