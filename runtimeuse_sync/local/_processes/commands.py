"""One command from start to end: its output as it comes, its exit code, its cancellation."""

from __future__ import annotations

import select
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO, Callable, Optional, Union

from ..._common.redaction import RedactedStream, Redactor
from ...exceptions import CancelledException
from .processes import Process, Processes

Emit = Callable[[str], None]

_CHUNK = 64 * 1024
_POLL = 0.1

# Seconds of silence after which the pipe of an ended command counts as held open by a background child.
_QUIET = 0.25


# Characters of output that go into a result. The messages that stream it have all of it.
_MOST_COLLECTED = 8 * 1024 * 1024


class Collected:
    """The beginning of an output, up to 8 Mi characters."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._room = _MOST_COLLECTED

    def add(self, text: str) -> None:
        """Take in more of it."""
        if self._room > 0:
            self._pieces.append(text[: self._room])
        self._room -= len(text)

    @property
    def text(self) -> str:
        """What was collected; says so if it is not all."""
        return "".join(self._pieces) + ("" if self._room >= 0 else "\n[the rest is left out]\n")


class CommandNotStartedError(Exception):
    """A command that could not be started, in words that are fit for a message."""


def run_command(
    command: Union[str, Sequence[str]],
    *,
    processes: Processes,
    redactor: Redactor,
    cancelled: threading.Event,
    on_stdout: Emit,
    on_stderr: Emit,
    cwd: Optional[str] = None,
    env: Optional[Mapping[str, str]] = None,
    stdin: Optional[IO[bytes]] = None,
) -> int:
    """Run ``command`` to its end.

    A child that the command leaves in the background lives on, and its later output is discarded.

    Args:
        command: a line for the shell, or a list of arguments.
        processes: whom the process belongs to. On cancellation, all of these are ended.
        redactor: takes the secrets out of the output.
        cancelled: ends the command when set.
        on_stdout, on_stderr: called with each piece of redacted text, on another thread.
        cwd, env: where to run, and environment variables to add.
        stdin: what it reads. Default: nothing.

    Returns:
        The exit code; 128 and the signal's number if a signal ended it.

    Raises:
        CommandNotStartedError: if it could not be started.
        CancelledException: if it was cancelled; its process tree is gone.
    """
    process = _start(command, processes, cwd=cwd, env=env, stdin=stdin)
    pumps = [_Pump(process.stdout, redactor, on_stdout), _Pump(process.stderr, redactor, on_stderr)]
    try:
        code = _wait(process, cancelled)
        for pump in pumps:
            pump.finish(cancelled)
    except CancelledException:
        processes.kill()
        raise
    finally:
        for pump in pumps:
            pump.detach()
        processes.release(process)
    return code if code >= 0 else 128 - code


def _start(
    command: Union[str, Sequence[str]],
    processes: Processes,
    *,
    cwd: Optional[str],
    env: Optional[Mapping[str, str]],
    stdin: Optional[IO[bytes]],
) -> Process:
    source = subprocess.DEVNULL if stdin is None else stdin
    try:
        return processes.start(command, cwd=cwd, env=env, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except OSError as error:
        raise CommandNotStartedError(f"could not be started: {error.strerror}") from None
    except ValueError:
        raise CommandNotStartedError(
            "could not be started: its text or environment holds what no process can take"
        ) from None


def _wait(process: Process, cancelled: threading.Event) -> int:
    while not cancelled.is_set():
        try:
            return process.wait(timeout=_POLL)
        except subprocess.TimeoutExpired:
            pass
    raise CancelledException


class _Pump:
    """Reads a pipe on a thread of its own until the pipe's end, which may come long after the command's."""

    def __init__(self, pipe: Optional[IO[bytes]], redactor: Redactor, emit: Emit) -> None:
        assert pipe is not None
        self._pipe = pipe
        self._descriptor = pipe.fileno()
        self._stream = RedactedStream(redactor)
        self._emit = emit
        # Guards the stream and the order of what is emitted; _detached is set under it.
        self._lock = threading.Lock()
        self._detached = False
        # When the thread last went to wait for output; None from before it takes some until it has handed it on.
        self._idle_since: Optional[float] = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="runtimeuse-output", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with self._pipe:
            for chunk in iter(self._read, b""):
                self._hand_on(chunk)
                self._idle_since = time.monotonic()

    def _read(self) -> bytes:
        if _is_readable(self._descriptor, None):
            self._idle_since = None
        chunk: bytes = self._pipe.read1(_CHUNK)  # type: ignore[attr-defined]
        self._idle_since = None
        return chunk

    def _hand_on(self, chunk: bytes) -> None:
        with self._lock:
            if not self._detached:
                self._send(self._stream.feed(chunk))

    def _send(self, text: str) -> None:
        # A cancellation is for the thread that runs the command; this one goes on reading.
        with suppress(CancelledException):
            if text:
                self._emit(text)

    def finish(self, cancelled: threading.Event) -> None:
        """Wait for what the ended command has printed."""
        while self._thread.is_alive() and not self._is_quiet():
            if cancelled.is_set():
                raise CancelledException
            self._thread.join(0.02)

    def _is_quiet(self) -> bool:
        # The pipe first: what has left it by now is in the hands of the thread, which has said so.
        if _is_readable(self._descriptor, 0):
            return False
        since = self._idle_since
        return since is not None and time.monotonic() - since > _QUIET

    def detach(self) -> None:
        """Emit what was held back; from now on, output is read and thrown away."""
        with self._lock:
            if not self._detached:
                self._detached = True
                self._send(self._stream.flush())


if sys.platform == "win32":

    def _is_readable(descriptor: int, milliseconds: Optional[int]) -> bool:
        """False: of a pipe, Windows does not tell."""
        return False

else:

    def _is_readable(descriptor: int, milliseconds: Optional[int]) -> bool:
        """Whether there is output, or its end, in so many milliseconds; None waits for it."""
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(milliseconds))
