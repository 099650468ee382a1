"""Running this package's scripts in a sandbox, and finding their answers in the output of any runtime release."""

from __future__ import annotations

import binascii
import shlex
import string
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Callable, Optional, Union

import attrs

from .. import (
    AgentRuntimeError,
    AssistantMessageInterface,
    Client,
    CommandInterface,
    CommandOutputMessageInterface,
    CommandResultItem,
    ExecuteCommandsOptions,
    RuntimeEnvironmentDownloadableInterface,
    RuntimeUseError,
    Session,
)
from .patience import Patience
from .transit import NAME, PIECE, data_url

# Bytes that come back in one answer, which are 983,040 characters of base64: runtimes end a command that prints more
# than 1 MiB. A multiple of three, so that no padding stands inside of it.
FETCH = 720 * 1024

# Characters of messages in which an answer is looked for: twice as many as a runtime lets a command print.
_LONGEST_ANSWER = 2 * 2**20

# Characters of a sandbox's output that are quoted in an error.
_LONGEST_REASON = 500

_WHITESPACE = b"\t\n\r "
_DIGITS = string.ascii_letters.encode() + b"0123456789+/"

# What a script begins with. An answer stands in marks, since before runtime 0.14 other output may be around it, and
# begins with "!" if it is why there is none. A script ends with 0 even then: until 0.9 a runtime keeps silent about
# the output of one that does not.
_PREAMBLE = """\
say() {{ printf '<%s:%s:%s>' {mark} "$*" {mark}; }}
fail() {{ say "!$*"; exit 0; }}
need() {{ for p; do command -v "$p" >/dev/null 2>&1 || fail "the sandbox has no program $p"; done; }}
begin() {{ printf '<%s:' {mark}; }}
end() {{ printf ':%s>' {mark}; }}
LC_ALL=C; export LC_ALL
"""


class SandboxError(RuntimeUseError):
    """A sandbox cannot do what was asked, or what it sent is not acceptable.

    >>> raise SandboxError("the sandbox has no program tar")
    Traceback (most recent call last):
    ...
    runtimeuse_sync._files.sandbox.SandboxError: the sandbox has no program tar
    """


def new_name() -> str:
    """One that nothing has yet. A cassette replaces this: what is played has to ask for the same again."""
    return uuid.uuid4().hex


@attrs.frozen
class Script:
    """A script, and the mark by which its answer is known.

    >>> script = Script("say hello", mark="m")
    >>> script.answer_in("noise <m:hello:m> noise")
    'hello'
    """

    body: str = attrs.field(repr=False)
    mark: str = attrs.field(factory=lambda: new_name())

    @property
    def command(self) -> str:
        """The command line for the sandbox's shell."""
        return _PREAMBLE.format(mark=self.mark) + self.body

    @property
    def begin(self) -> str:
        """The mark before the answer."""
        return f"<{self.mark}:"

    def answer_in(self, text: str) -> str:
        """The answer; raises ``SandboxError`` if there is none, or it is that there can be none."""
        _, begin, rest = text.partition(self.begin)
        answer, end, _ = rest.partition(f":{self.mark}>")
        if not (begin and end):
            raise SandboxError("the sandbox did not answer: it needs a POSIX shell")
        if answer.startswith("!"):
            raise SandboxError(printable(answer[1:]))
        return answer


class Sandbox:
    """The sandbox of a client or a session, for one call of the user, within its ``timeout``.

    Args:
        calls: a request each, on connections of their own or on the session's.
        options: of the user's call. Secrets, artifacts and callbacks are not for the requests made here: what is
            transferred is to arrive as it is, and nothing of it is output.
    """

    def __init__(self, calls: Union[Client, Session], options: ExecuteCommandsOptions) -> None:
        self._calls = calls
        self._patience = Patience(options.timeout)
        self._redacted = options.redacted
        self._options = attrs.evolve(
            options,
            secrets_to_redact=[],
            artifacts_dirs=None,
            artifacts_ignore_content=None,
            on_artifact_upload_request=None,
            on_assistant_message=None,
            on_command_output=None,
            pre_execution_downloadables=None,
        )

    def execute(self, commands: Sequence[CommandInterface], options: ExecuteCommandsOptions) -> list[CommandResultItem]:
        """One request, in what is left of the time; returns how its commands ended."""
        try:
            with self._patience.of_all():
                options = attrs.evolve(options, timeout=self._patience.left())
                return self._calls.execute_commands(commands, options).results
        except AgentRuntimeError as error:
            # The request may have gone without the secrets of the call.
            failure = AgentRuntimeError(self._redacted(error.error), self._redacted(error.metadata))
        raise failure

    def ask(self, body: str, *, deliver: Optional[bytes] = None, folder: str = "") -> str:
        """Run a script and return its answer.

        Args:
            body: uses ``say``, ``fail``, ``need``, or ``begin`` and ``end`` around what it prints.
            deliver: bytes that are there before it begins, in the file that ``received`` tells of.
            folder: where that file is; made if need be.
        """
        script, output = Script(body), Output()
        items = [] if deliver is None else [downloadable(deliver, folder)]
        options = attrs.evolve(
            self._options,
            pre_execution_downloadables=items or None,
            on_assistant_message=output.assistant,
            on_command_output=output.command,
        )
        results = self.execute([CommandInterface(command=script.command)], options)
        stdout = results[-1].stdout if results else None
        return self.answer(script, output.text if stdout is None else stdout)

    def answer(self, script: Script, text: str) -> str:
        """The answer of ``script`` in ``text``; a ``SandboxError`` has none of the secrets of the call."""
        try:
            return script.answer_in(text)
        except SandboxError as error:
            failure = SandboxError(self._redacted(str(error)))
        raise failure

    def send(self, pieces: Iterator[bytes], folder: str, path: str, on_piece: Callable[[int], object]) -> None:
        """Write ``pieces``, one after the other, to the file at ``path`` in the sandbox; both paths are absolute."""
        for piece in pieces:
            script = (
                f"need head\n{received(folder, len(piece))} >>{quoted(path)} || fail 'the disk did not take it'\nsay"
            )
            self.ask(script, deliver=piece, folder=folder)
            on_piece(len(piece))

    def fetch(self, path: str, size: int, start: int = 0) -> Iterator[bytes]:
        """The bytes of the file at ``path``, from ``start`` to ``size``."""
        while start < size:
            wanted = min(FETCH, size - start)
            piece = decoded(self.ask(printing(path, start, wanted)))
            if len(piece) != wanted:
                raise SandboxError(f"the sandbox sent {len(piece)} bytes of a file instead of {wanted}")
            yield piece
            start += wanted

    def remove(self, folder: str) -> None:
        """Remove what was made for the call."""
        self.ask(f"rm -rf {quoted(folder)}; say")


class Output:
    """Collects what commands print, from the messages of any runtime; standard output, where that is told apart.

    Raises ``SandboxError`` if it is more than any answer.
    """

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._room = _LONGEST_ANSWER

    def assistant(self, message: AssistantMessageInterface) -> None:
        """Until 0.13."""
        for text in message.text_blocks:
            self._add(text)

    def command(self, message: CommandOutputMessageInterface) -> None:
        """Since 0.14."""
        if message.stream == "stdout":
            self._add(message.text)

    def _add(self, text: str) -> None:
        self._room -= len(text)
        if self._room < 0:
            raise SandboxError("the sandbox does not stop answering")
        self._pieces.append(text)

    @property
    def text(self) -> str:
        """All collected output."""
        return "".join(self._pieces)


def quoted(path: str) -> str:
    """``path`` for a shell's line."""
    return shlex.quote(path)


def new_folder(parent: str = "/tmp") -> str:
    """A path in the sandbox that nothing has yet."""
    return f"{parent.rstrip('/')}/.runtimeuse-{new_name()}"


def downloadable(data: bytes, folder: str) -> RuntimeEnvironmentDownloadableInterface:
    """``data`` as something that the runtime fetches into ``folder``."""
    return RuntimeEnvironmentDownloadableInterface(download_url=data_url(data), working_dir=folder)


def received(folder: str, size: int) -> str:
    """The command that prints the ``size`` bytes that were delivered to ``folder``."""
    return f"head -c {size} {quoted(f'{folder}/{NAME}')}"


def printing(path: str, start: int, size: int) -> str:
    """The script that prints a part of a file in base64."""
    part = f"tail -c +{start + 1} {quoted(path)} | head -c {size} | base64"
    return f"need tail head base64\nbegin; {part}; end"


def decoded(text: str) -> bytes:
    """Base64 as it came; raises ``SandboxError`` if it is none.

    >>> decoded("YWJj\\nZA==\\n")
    b'abcd'
    """
    digits = text.encode().translate(None, _WHITESPACE)
    # a2b_base64 passes over what is no digit; b64decode looks for that far more slowly.
    if not digits.rstrip(b"=").translate(None, _DIGITS):
        with suppress(binascii.Error):
            return binascii.a2b_base64(digits)
    # The runtime writes [REDACTED], whose brackets are no base64.
    if b"[REDACTED]" in digits:
        raise SandboxError(
            "one of the secrets that the runtime redacts occurs in what it sent: transfer it without them"
        )
    raise SandboxError("the sandbox sent what is not base64")


def printable(text: str) -> str:
    """Words of a sandbox on one line, without control characters."""
    return "".join(c if c.isprintable() else " " for c in text[:_LONGEST_REASON]).strip()


def in_pieces(stream: Iterator[bytes], size: int = PIECE) -> Iterator[bytes]:
    """``stream`` cut anew: every piece but the last has ``size`` bytes.

    >>> list(in_pieces(iter([b"ab", b"cdefg"]), 3))
    [b'abc', b'def', b'g']
    """
    waiting = bytearray()
    for data in stream:
        waiting += data
        while len(waiting) >= size:
            yield bytes(waiting[:size])
            del waiting[:size]
    if waiting:
        yield bytes(waiting)
