"""``runtimeuse-sync invoke``: run the agent."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from typing import Any, Optional

import click

from ..messages import InvocationMessage
from ._artifacts import Wanted, artifact_options, receiving
from ._endings import Failure, endings
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
from ._reports import open_report
from ._schema import read_schema
from ._screen import PROGRAM

EXAMPLE = f"""Examples:

\b
  {PROGRAM} invoke ws://localhost:8080 "Summarise the README"
  {PROGRAM} invoke ws://localhost:8080 - --schema answer.json < task.txt | jq .files
  {PROGRAM} invoke ws://localhost:8080 "Draw it" --artifacts-dir /tmp/out --save-to pictures
"""


def _url_and_prompt(first: Optional[str], second: Optional[str]) -> tuple[Optional[str], str]:
    if second is not None:
        return first, second
    if first is None or is_url(first):
        raise missing("PROMPT")
    return None, first


def _read_input() -> str:
    if sys.stdin is None:
        raise Failure("standard input is closed")
    # In the C and POSIX locales, bytes that are no text would be read as lone surrogates, which cannot be sent.
    if isinstance(sys.stdin, io.TextIOWrapper) and sys.stdin.errors == "surrogateescape":
        sys.stdin.reconfigure(errors="strict")
    try:
        return sys.stdin.read()
    except UnicodeDecodeError as error:
        raise Failure(f"standard input is not {error.encoding}") from None


@click.command(epilog=EXAMPLE)
@click.argument("url", required=False, metavar="[URL]")
@click.argument("prompt", required=False, metavar="PROMPT")
@connection_options
@click.option("-s", "--system-prompt", default="", metavar="TEXT", help="The agent's instructions.")
@click.option("-m", "--model", metavar="NAME", help="The model. Default: the runtime's own.")
@click.option("--schema", type=read_schema, metavar="FILE", help="A JSON schema: the result has to fit it.")
@env_option
@secret_option
@artifact_options
@timeout_option(None, "For the whole run. Default: no limit.")
@record_option
@json_option
def invoke(
    url: Optional[str],
    token: Optional[str],
    headers: Sequence[tuple[str, str]],
    prompt: Optional[str],
    system_prompt: str,
    model: Optional[str],
    schema: Any,
    env: Sequence[tuple[str, str]],
    secrets: Sequence[str],
    wanted: Wanted,
    timeout: Optional[float],
    journal: Optional[str],
    as_json: bool,
) -> None:
    """Run the agent at URL (default: RUNTIMEUSE_URL) on PROMPT, and print its result.

    A PROMPT of "-" is read from standard input.
    The result goes to standard output, what leads there to standard error. Ctrl-C cancels the run.
    """
    url, prompt = _url_and_prompt(url, prompt)
    client = make_client(url, token, headers)
    wanted.check()
    report = open_report(as_json=as_json)
    with report.screen, endings(report), recorded(client, journal) as client, receiving(wanted, report) as artifacts:
        message = InvocationMessage(
            system_prompt=system_prompt,
            user_prompt=_read_input() if prompt == "-" else prompt,
            model=model,
            agent_env=dict(env) or None,
            secrets_to_redact=list(secrets),
            artifacts_dirs=artifacts.directories,
        )
        client.invoke(
            message,
            report.result,
            on_assistant_message=report.assistant,
            on_command_output=report.output,
            on_heartbeat=report.heartbeat,
            on_artifact_upload_request=artifacts.callback,
            is_cancelled=report.screen.tick,
            timeout=timeout,
            output_type=schema,
        )
