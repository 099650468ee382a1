"""Any command-line agent as a handler."""

from __future__ import annotations

import json
import os
import re
import shlex
import tempfile
from collections.abc import Sequence
from typing import Any, Union

from .._common.redaction import Redactor
from .._common.validation import kind, strings
from ..exceptions import AgentRuntimeError
from ..messages import InvocationMessage
from ._processes.commands import Collected, CommandNotStartedError, Emit, run_command
from ._processes.processes import Processes
from .handlers import Sender

# Characters: of a line before it is passed on in parts, and of the error output that goes into an error.
_LONGEST_LINE = 1024 * 1024
_ERROR_TAIL = 4000


class CommandLineAgent:
    """A handler that runs a program for each request.

    The contract with the program:

    - **The prompt** arrives on standard input, or in the arguments: where an argument contains ``{prompt}``,
      the prompt takes its place, and standard input is empty. No shell is involved, so nothing needs quoting.
    - **The rest** arrives in the environment: ``RUNTIMEUSE_SYSTEM_PROMPT``, ``RUNTIMEUSE_MODEL`` and
      ``RUNTIMEUSE_OUTPUT_SCHEMA`` (the two last only if the client set them), and the client's ``agent_env``.
      ``{system_prompt}`` and ``{model}`` work in arguments too.
    - **Each line** of standard output is sent as an assistant message, blank ones left out.
    - **The result** is the last line that is not blank. If the client asked for structured output, that line
      has to be a JSON object. With ``whole_output=True``, all of standard output is taken instead of a line.
    - **An exit code** other than 0 is an error; the end of standard error goes along as its metadata.
    - **Cancellation** is SIGTERM to the program and all its descendants, and SIGKILL a second later.

    Args:
        command (str or sequence of str): the program and its arguments; a string is split as a shell would.
        cwd (str, path or None): the directory to run it in. Default: the runtime's own.
        whole_output (bool): the result is all of standard output. Default: its last line.

    Raises:
        ValueError: if there is no command, or its quotes do not match.
        TypeError: for a command or a directory of another type.

    >>> CommandLineAgent("my-agent --model {model} -p {prompt}").command
    ('my-agent', '--model', '{model}', '-p', '{prompt}')
    """

    def __init__(
        self,
        command: Union[str, Sequence[str]],
        *,
        cwd: Union[str, os.PathLike[str], None] = None,
        whole_output: bool = False,
    ) -> None:
        self.command = _words(command)
        if not self.command:
            raise ValueError("command must name a program, such as 'my-agent -p {prompt}'; it is empty")
        if not (cwd is None or isinstance(cwd, (str, os.PathLike))):
            raise TypeError(f"cwd must be a path or None; got {kind(cwd)}")
        self.cwd = None if cwd is None else os.fspath(cwd)
        self.whole_output = whole_output

    def __call__(self, invocation: InvocationMessage, sender: Sender) -> Union[str, dict[str, Any]]:
        """Run the program for ``invocation``; what a runtime calls."""
        lines, output, errors = _Lines(sender), Collected(), _Tail()

        def on_stdout(text: str) -> None:
            output.add(text)
            lines.add(text)

        code = self._run(invocation, sender, on_stdout, errors.add)
        lines.flush()
        if code != 0:
            metadata = {"exit_code": code, "stderr": errors.text}
            raise AgentRuntimeError(f"agent command failed with exit code: {code}", metadata)
        return _answer(output.text if self.whole_output else lines.last, invocation)

    def _run(self, invocation: InvocationMessage, sender: Sender, on_stdout: Emit, on_stderr: Emit) -> int:
        # A file, because a program may print more than a pipe holds before it reads its input.
        with tempfile.TemporaryFile() as stdin:
            if not any("{prompt}" in argument for argument in self.command):
                stdin.write(invocation.user_prompt.encode(errors="replace"))
                stdin.seek(0)
            try:
                return run_command(
                    [_filled(argument, invocation) for argument in self.command],
                    # A runtime's sender brings the request's own; a user's, made for a test, need not.
                    processes=getattr(sender, "processes", None) or Processes(),
                    redactor=Redactor(invocation.secrets_to_redact),
                    cancelled=sender.cancelled,
                    on_stdout=on_stdout,
                    on_stderr=on_stderr,
                    cwd=self.cwd,
                    env=_environment(invocation),
                    stdin=stdin,
                )
            except CommandNotStartedError as error:
                raise AgentRuntimeError(f"agent command {error}") from None


def _words(command: object) -> tuple[str, ...]:
    if not isinstance(command, str):
        return strings(command, "command must be a str or a list of strings, such as ['my-agent', '-p', '{prompt}']")
    try:
        return tuple(shlex.split(command))
    except ValueError as error:
        raise ValueError(f"command cannot be split as a shell would: {error}") from None


def _filled(argument: str, invocation: InvocationMessage) -> str:
    """``argument`` with its placeholders filled, in one pass: a prompt may itself read ``{model}``."""
    values = {
        "{prompt}": invocation.user_prompt,
        "{system_prompt}": invocation.system_prompt,
        "{model}": invocation.model or "",
    }
    return re.sub("|".join(map(re.escape, values)), lambda found: values[found[0]], argument)


def _environment(invocation: InvocationMessage) -> dict[str, str]:
    values = {
        "RUNTIMEUSE_SYSTEM_PROMPT": invocation.system_prompt,
        "RUNTIMEUSE_MODEL": invocation.model,
        "RUNTIMEUSE_OUTPUT_SCHEMA": invocation.output_format_json_schema_str,
    }
    return {**{name: value for name, value in values.items() if value is not None}, **(invocation.agent_env or {})}


class _Lines:
    """Sends each line that is complete, and remembers the last that is not blank."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._rest = ""
        self.last = ""

    def add(self, text: str) -> None:
        *lines, self._rest = (self._rest + text).split("\n")
        if len(self._rest) > _LONGEST_LINE:
            lines.append(self._rest)
            self._rest = ""
        blocks = [line.rstrip("\r") for line in lines if line.strip()]
        if blocks:
            self.last = blocks[-1]
            self._sender.assistant(*blocks)

    def flush(self) -> None:
        self.add("\n")


class _Tail:
    def __init__(self) -> None:
        self.text = ""

    def add(self, text: str) -> None:
        self.text = (self.text + text)[-_ERROR_TAIL:]


def _answer(text: str, invocation: InvocationMessage) -> Union[str, dict[str, Any]]:
    if invocation.output_format_json_schema_str is None:
        return text
    try:
        output = json.loads(text)
    except (ValueError, RecursionError):
        output = None
    if not isinstance(output, dict):
        raise AgentRuntimeError("the agent's result is not the JSON object that was asked for")
    return output
