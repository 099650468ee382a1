"""Any command-line agent as a handler."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, Union

from .._common.redaction import Redactor
from ..exceptions import AgentRuntimeError
from ..messages import InvocationMessage
from ._command_line import directory, words
from ._processes.commands import CommandNotStartedError, run_command
from ._processes.output import MOST_COLLECTED, Collected, Emit, Tail
from ._processes.processes import Processes
from .handlers import HandlerResult, Sender

# Characters of a line that are passed on as one block: enough for any text that a person reads.
_LONGEST_LINE = 1024 * 1024

# Characters of the error output that go into an error: its end, where programs say why they failed.
_ERROR_TAIL = 4000

TOO_LONG = f"the agent's result is longer than the limit of {MOST_COLLECTED} characters"


class CommandLineAgent:
    """A handler that runs a program for each request.

    The contract with the program:

    - **The prompt** arrives on standard input, or in the arguments: where an argument contains ``{prompt}``,
      the prompt takes its place, and standard input is empty. No shell is involved, so nothing needs quoting.
      Write ``--`` before such an argument, if the program knows it: a prompt that begins with a dash would be an
      option to the program. Without ``--``, such a prompt is an error, and the program is not started.
    - **The rest** arrives in the environment: ``RUNTIMEUSE_SYSTEM_PROMPT``, ``RUNTIMEUSE_MODEL`` and
      ``RUNTIMEUSE_OUTPUT_SCHEMA`` (the two last only if the client set them), and the client's ``agent_env``.
      ``{system_prompt}`` and ``{model}`` work in arguments too.
    - **What a program can be given** is limited by the system: on Linux, 131,071 bytes for each argument and each
      variable. What is longer is an error that names it. Standard input has no limit.
    - **Each line** of standard output is sent as an assistant message, blank ones left out. Of a line of more
      than 1 Mi characters, parts are sent.
    - **The result** is the last line that is not blank. If the client asked for structured output, that line
      has to be a JSON object. With ``whole_output=True``, all of standard output is taken instead of a line.
      A result of more than 16 Mi characters is an error.
    - **An exit code** other than 0 is an error; the end of standard error goes along as its metadata.
    - **Cancellation** is SIGTERM to the program and all its descendants, and SIGKILL a second later.

    Args:
        command (str or sequence of str): the program and its arguments; a string is split as a shell would.
        cwd (str, os.PathLike or None): the directory to run it in. Default: the runtime's own.
        whole_output (bool): the result is all of standard output. Default: its last line.

    Raises:
        ValueError: if there is no command, or its quotes do not match.
        TypeError: for a command or a directory of another type.

    >>> CommandLineAgent("my-agent --model {model} -- {prompt}").command
    ('my-agent', '--model', '{model}', '--', '{prompt}')
    """

    def __init__(
        self,
        command: Union[str, Sequence[str]],
        *,
        cwd: Union[str, os.PathLike[str], None] = None,
        whole_output: bool = False,
    ) -> None:
        self.command = words(command, ["my-agent", "--", "{prompt}"])
        self.cwd = directory(cwd)
        self.whole_output = whole_output

    def __call__(self, invocation: InvocationMessage, sender: Sender) -> Union[str, dict[str, Any], HandlerResult]:
        """Run the program for ``invocation``; what a runtime calls."""
        reading, errors = self._reading(invocation, sender), Tail(_ERROR_TAIL)
        with self._arguments(invocation) as arguments:
            code = self._run(arguments, invocation, sender, reading.add, errors.add)
        return reading.answer(code, errors.text)

    # --- what an agent that calls its program in another way has otherwise ---------------------------------

    _redacts_stdout = True

    def _reading(self, invocation: InvocationMessage, sender: Sender) -> Reading:
        return _Lines(invocation, sender, self.whole_output)

    @contextmanager
    def _arguments(self, invocation: InvocationMessage) -> Iterator[list[str]]:
        yield _arguments(self.command, invocation)

    # -------------------------------------------------------------------------------------------------------

    def _run(
        self,
        arguments: Sequence[str],
        invocation: InvocationMessage,
        sender: Sender,
        on_stdout: Emit,
        on_stderr: Emit,
    ) -> int:
        # A file, because a program may print more than a pipe holds before it reads its input.
        with tempfile.TemporaryFile() as stdin:
            if not any("{prompt}" in argument for argument in self.command):
                stdin.write(invocation.user_prompt.encode(errors="replace"))
                stdin.seek(0)
            try:
                return run_command(
                    arguments,
                    # A runtime's sender brings the request's own; a user's, made for a test, need not.
                    processes=getattr(sender, "processes", None) or Processes(),
                    redactor=Redactor(invocation.secrets_to_redact),
                    redacts_stdout=self._redacts_stdout,
                    cancelled=sender.cancelled,
                    on_stdout=on_stdout,
                    on_stderr=on_stderr,
                    cwd=self.cwd,
                    env=_environment(invocation),
                    stdin=stdin,
                )
            except CommandNotStartedError as error:
                hint = _hint(self.command, invocation) if error.is_too_long else ""
                raise AgentRuntimeError(f"agent command {error}{hint}") from None


class Reading(Protocol):
    """The interface of a reader of the standard output of an agent's program."""

    def add(self, text: str) -> None:
        """Take in more of it. Called on another thread; raises nothing but ``CancelledException``."""

    def answer(self, code: int, stderr: str) -> Union[str, dict[str, Any], HandlerResult]:
        """The result, at the program's end; raises ``AgentRuntimeError`` if it failed."""


def _arguments(command: Sequence[str], invocation: InvocationMessage) -> list[str]:
    """``command`` with its placeholders filled.

    Raises:
        AgentRuntimeError: if what the client sent would be an option to the program.
    """
    filled = [_filled(argument, invocation) for argument in command]
    options_end = command.index("--") if "--" in command else len(command)
    for template, argument in zip(command[:options_end], filled):
        if argument.startswith("-") and not template.startswith("-"):
            raise AgentRuntimeError(
                f"the text for {template[:30]} in the agent command begins with a dash, so the program may take it for"
                " an option: put `--` before it in the command, or let the prompt go in by standard input"
            )
    return filled


def _filled(argument: str, invocation: InvocationMessage) -> str:
    """``argument`` with its placeholders filled, in one pass: a prompt may itself read ``{model}``."""
    values = {
        "{prompt}": invocation.user_prompt,
        "{system_prompt}": invocation.system_prompt,
        "{model}": invocation.model or "",
    }
    return re.sub("|".join(map(re.escape, values)), lambda found: values[found[0]], argument)


def _hint(command: Sequence[str], invocation: InvocationMessage) -> str:
    """An error text that says which argument or variable is too long, with advice."""
    sizes = {
        "system prompt": len(invocation.system_prompt.encode(errors="replace")),
        "output schema": len((invocation.output_format_json_schema_str or "").encode(errors="replace")),
        "prompt": len(invocation.user_prompt.encode(errors="replace")) if any("{prompt}" in a for a in command) else 0,
    }
    longest = max(sizes, key=lambda name: sizes[name])
    advice = "; without {prompt} in the command, it goes in by standard input" if longest == "prompt" else ""
    return f" (the {longest} has {sizes[longest]} bytes; Linux takes 131,071 in one argument or variable{advice})"


def _environment(invocation: InvocationMessage) -> dict[str, str]:
    values = {
        "RUNTIMEUSE_SYSTEM_PROMPT": invocation.system_prompt,
        "RUNTIMEUSE_MODEL": invocation.model,
        "RUNTIMEUSE_OUTPUT_SCHEMA": invocation.output_format_json_schema_str,
    }
    return {**{name: value for name, value in values.items() if value is not None}, **(invocation.agent_env or {})}


class _Lines:
    """Sends each line that is complete, and remembers the last that is not blank, or all of them.

    A message has to go at some time: of a line that is long without end, parts are sent. The result is the line.
    """

    def __init__(self, invocation: InvocationMessage, sender: Sender, whole_output: bool) -> None:
        self._invocation = invocation
        self._sender = sender
        self._whole = Collected() if whole_output else None
        self._line = Collected()
        self._unsent = ""
        self._last = Collected()

    def add(self, text: str) -> None:
        """Take in more output."""
        if self._whole is not None:
            self._whole.add(text)
        self._add(text)

    def _add(self, text: str) -> None:
        beginning, *others = text.split("\n")
        self._grow(beginning)
        blocks = []
        for piece in others:
            blocks.append(self._unsent.rstrip("\r"))
            self._end_line()
            self._grow(piece)
        if len(self._unsent) > _LONGEST_LINE:
            blocks.append(self._unsent)
            self._unsent = ""
        if filled := [block for block in blocks if block.strip()]:
            self._sender.assistant(*filled)

    def _grow(self, piece: str) -> None:
        self._line.add(piece)
        self._unsent += piece

    def _end_line(self) -> None:
        if not self._line.is_blank:
            self._last = self._line
        self._line, self._unsent = Collected(), ""

    def answer(self, code: int, stderr: str) -> Union[str, dict[str, Any]]:
        """End the last line, and take it as the result, or all of them."""
        self._add("\n")
        if code != 0:
            raise AgentRuntimeError(
                f"agent command failed with exit code: {code}", {"exit_code": code, "stderr": stderr}
            )
        output = self._last if self._whole is None else self._whole
        if output.is_cut:
            raise AgentRuntimeError(TOO_LONG)
        text = output.text.rstrip("\r") if self._whole is None else output.text
        return text if self._invocation.output_format_json_schema_str is None else json_object(text)


def json_object(text: object) -> dict[str, Any]:
    """``text`` read as JSON; raises ``AgentRuntimeError`` if that is no object."""
    try:
        answer = json.loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise AgentRuntimeError("the agent's result is not the JSON object that was asked for")
    return answer
