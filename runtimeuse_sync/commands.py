"""Commands as with ``subprocess.run``: input, both streams apart and whole, and the exit code, on every runtime.

Standard output and standard error go to files in the sandbox. What fits is sent back with the exit code, the rest is
fetched piece by piece: so a runtime that has no output in its results, tells the streams not apart, or ends a command
that prints more than 1 MiB, serves as well.
"""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Optional, Union

import attrs

from . import (
    AgentRuntimeError,
    Client,
    CommandFailedError,
    CommandInterface,
    CommandOutputMessageInterface,
    CommandResultItem,
    CompletedCommand,
    ExecuteCommandsOptions,
    Session,
)
from ._files.live import Live, OnOutput
from ._files.sandbox import (
    Sandbox,
    SandboxError,
    Script,
    decoded,
    downloadable,
    in_pieces,
    new_folder,
    quoted,
    received,
)

__all__ = ["MAX_OUTPUT", "SandboxError", "run"]

# Bytes of each stream that are shown while the command runs: well below the runtime's 1 MiB.
_SHOWN = 900_000

# Bytes of both streams together that come with the exit code: in base64 well below that limit as well.
_SENT_ALONG = 600_000

# Bytes of both streams together that a call takes into memory unless told otherwise.
MAX_OUTPUT = 256 * 2**20

# Passes its standard input to a file, and on as it comes until that were too many bytes; notes how many it passed on.
# "command -p" finds the programs of the system, whatever PATH the command is given.
_PASSING_ON = """\
pass_on() {{
  n=0
  while [ "$n" -lt {most} ]; do
    command -p dd bs=16384 count=1 of={folder}/piece-$1 2>/dev/null
    [ -s {folder}/piece-$1 ] || break
    command -p cat {folder}/piece-$1
    command -p cat {folder}/piece-$1 >>{folder}/$1
    n=$((n + $(command -p wc -c <{folder}/piece-$1)))
    echo "$n" >{folder}/shown-$1
  done
  command -p cat >>{folder}/$1
}}
{{ {{ {command} <{folder}/in; echo $? >{folder}/code; }} 2>&1 >&3 3>&- | pass_on err >&2 3>&-; }} 3>&1 | pass_on out
exit 0
"""

_KEPT_ALONE = "{command} <{folder}/in >{folder}/out 2>{folder}/err; echo $? >{folder}/code; exit 0\n"

_PREPARING = """\
(umask 077 && mkdir -p {folder}) && chmod 700 {folder} && cd {folder} || fail "no folder could be made in /tmp"
: >out; : >err; echo 0 >shown-out; echo 0 >shown-err
[ -e in ] || : >in
"""

_REPORTING = """\
need wc head base64 cat
cd {folder} || fail "the folder of the command is gone"
[ -s code ] || fail "the command was ended before it could tell its exit code"
o=$(($(wc -c <out))) e=$(($(wc -c <err)))
begin
echo "$(cat code) $((o)) $((e)) $(cat shown-out) $(cat shown-err)"
if [ $((o + e)) -le {most} ]; then echo '+'; base64 <out; echo ';'; base64 <err; cd /; rm -rf {folder}; fi
end
"""

# The exit code; the size of each stream, and how much of it was shown; behind a "+", what is sent along.
_NUMBER = r"(\d{1,15})\s+"
_REPORT = re.compile(rf"\s*{_NUMBER * 5}(?:\+(?P<streams>.*))?", re.S)


def run(
    calls: Union[Client, Session],
    command: Union[str, Sequence[str]],
    options: ExecuteCommandsOptions,
    *,
    cwd: Optional[str] = None,
    env: Optional[dict[str, str]] = None,
    input: Optional[bytes] = None,  # noqa: A002 - subprocess's name
    check: bool = False,
    on_output: Optional[OnOutput] = None,
    max_output: int = MAX_OUTPUT,
) -> CompletedCommand:
    """Run one command; see ``Client.run``.

    >>> run(client, ["echo", "a  b"], ExecuteCommandsOptions(timeout=30)).stdout
    'a  b\\n'
    """
    line = _line(command)
    if not (input is None or isinstance(input, (bytes, bytearray, memoryview))):
        raise TypeError("input must be bytes, as in text.encode()")
    on_output = on_output or options.on_command_output
    running = _Running(calls, options, max_output)
    try:
        done = running.outcome(CommandInterface(command=line, cwd=cwd, env=env), bytes(input or b""), on_output)
    except (AgentRuntimeError, SandboxError):
        with suppress(AgentRuntimeError, SandboxError):
            running.sandbox.remove(running.folder)
        raise
    if check and done.exit_code != 0:
        item = CommandResultItem(command=line, exit_code=done.exit_code, stdout=done.stdout)
        raise CommandFailedError(results=[item], stderr=done.stderr)
    return done


def _line(command: Any) -> str:
    if isinstance(command, str):
        return command
    is_list = isinstance(command, Sequence) and all(isinstance(word, str) for word in command)
    if not is_list or not command:
        raise TypeError('command must be a str, as in "make test", or a list of str, as in ["make", "test"]')
    return shlex.join(command)


class _Running:
    """One command, in a folder of its own in the sandbox."""

    def __init__(self, calls: Union[Client, Session], options: ExecuteCommandsOptions, max_output: int) -> None:
        self.sandbox = Sandbox(calls, options)
        self.folder = new_folder()
        self._max_output = max_output
        self._options = options

    def outcome(self, command: CommandInterface, data: bytes, on_output: Optional[OnOutput]) -> CompletedCommand:
        """Run it and bring all of its output."""
        began = time.monotonic()
        answer = self._execute(command, data, on_output)
        duration = time.monotonic() - began
        told = _REPORT.fullmatch(answer)
        if told is None:
            raise SandboxError("the sandbox did not say how the command ended")
        code, out_size, err_size, out_shown, err_shown = (int(told[place]) for place in range(1, 6))
        out, err = self._streams(told["streams"], out_size, err_size)
        if on_output:
            for stream, rest in (("stdout", out[out_shown:]), ("stderr", err[err_shown:])):
                if rest:
                    text = self._text(rest)
                    on_output(CommandOutputMessageInterface(stream=stream, text=text, command=command.command))
        return CompletedCommand(
            command=command.command,
            exit_code=code,
            stdout=self._text(out),
            stderr=self._text(err),
            duration=duration,
        )

    def _streams(self, sent_along: Optional[str], out_size: int, err_size: int) -> tuple[bytes, bytes]:
        if sent_along is not None:
            first, _, second = sent_along.partition(";")
            return decoded(first), decoded(second)
        if out_size + err_size > self._max_output:
            size, most = out_size + err_size, self._max_output
            advice = "let it write to a file, and download that"
            raise SandboxError(f"the command printed {size} bytes, more than {most} (max_output): {advice}")
        out = b"".join(self.sandbox.fetch(f"{self.folder}/out", out_size))
        err = b"".join(self.sandbox.fetch(f"{self.folder}/err", err_size))
        self.sandbox.remove(self.folder)
        return out, err

    def _text(self, data: bytes) -> str:
        """Redacted here: the runtime does not find a secret in base64."""
        return self._options.redacted(data.decode("utf-8", "replace"))

    def _execute(self, command: CommandInterface, data: bytes, on_output: Optional[OnOutput]) -> str:
        *early, last = in_pieces(iter([data])) if data else [b""]
        self.sandbox.send(iter(early), self.folder, f"{self.folder}/in", lambda size: None)
        folder = quoted(self.folder)
        preparing = _PREPARING.format(folder=folder)
        if last:
            preparing += f"{received(self.folder, len(last))} >>in || fail 'the disk did not take the input'\n"
        form = _PASSING_ON if on_output else _KEPT_ALONE
        # What the runtime would redact does not come in base64, but in pieces that are asked for without secrets.
        most = -1 if self._options.secrets_to_redact else _SENT_ALONG
        text = form.format(folder=folder, command=f"/bin/sh -c {quoted(command.command)}", most=_SHOWN)
        commands = [
            CommandInterface(command=Script(preparing).command),
            CommandInterface(command=text, cwd=command.cwd, env=command.env),
        ]
        report = Script(_REPORTING.format(folder=folder, most=most))
        return self._request(commands, report, last, Live(command.command, report, on_output))

    def _request(self, commands: list[CommandInterface], report: Script, data: bytes, live: Live) -> str:
        items = [*(self._options.pre_execution_downloadables or ())]
        if data:
            items.append(downloadable(data, self.folder))
        options = attrs.evolve(
            self._options,
            pre_execution_downloadables=items or None,
            on_assistant_message=live.assistant,
            on_command_output=live.command,
        )
        commands = [*commands, CommandInterface(command=report.command)]
        results = self.sandbox.execute(commands, options)
        stdout = results[-1].stdout if len(results) == len(commands) else None
        return self.sandbox.answer(report, live.report if stdout is None else stdout)
