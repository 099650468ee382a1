"""Runs one command: its output as it comes, its exit code, its cancellation, and the limit of its output."""

from __future__ import annotations

import errno
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
from .._cancel_event import calling_when_set
from .processes import Processes

Emit = Callable[[str], None]

# Bytes of one read.
_CHUNK = 64 * 1024

# Seconds of silence after which the pipe of an ended command counts as held open by a background child.
_QUIET = 0.25

# Seconds between two looks at a thread that has output to take and has not woken up yet.
_ABOUT_TO_READ = 0.02

# Seconds for a thread that has nothing left to do but to return.
_JOIN = 1.0

# Characters of output that go into a result: as many as a client takes by default, 64 MiB, if each is four bytes.
MOST_COLLECTED = 16 * 1024 * 1024

# Characters that release 0.15 captures of each stream before it ends the command (Node's 1 MiB), and those that it
# passes on of a command that goes on printing: by then it has read one more piece of 16 KiB.
CAPTURE_LIMIT = 1024 * 1024
_MOST_PASSED_ON = CAPTURE_LIMIT + 16 * 1024

# The exit code of a command that was ended because of the capture limit.
OVER_LIMIT = -1


class Collected:
    """The beginning of an output, up to 16 Mi characters.

    Attributes:
        is_cut (bool): whether there was more.
    """

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._room = MOST_COLLECTED
        self.is_cut = False

    def add(self, text: str) -> None:
        """Take in more of it."""
        if self._room > 0:
            self._pieces.append(text[: self._room])
        self._room -= len(text)
        self.is_cut = self._room < 0

    @property
    def text(self) -> str:
        """What was collected."""
        return "".join(self._pieces)

    @property
    def is_blank(self) -> bool:
        """Whether what was collected is whitespace alone."""
        return not any(map(str.strip, self._pieces))


class CommandNotStartedError(Exception):
    """A command that could not be started, in words that are fit for a message.

    Attributes:
        is_too_long (bool): whether its arguments or its environment are longer than the system takes.
    """

    def __init__(self, reason: str, *, is_too_long: bool = False) -> None:
        super().__init__(reason)
        self.is_too_long = is_too_long


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
    limits_capture: bool = False,
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
        limits_capture: whether more than ``CAPTURE_LIMIT`` characters on one stream end the command.

    Returns:
        The exit code; 128 and the signal's number if a signal ended it; -1 if the capture limit did.

    Raises:
        CommandNotStartedError: if it could not be started.
        CancelledException: if it was cancelled; its process tree is gone.
    """
    # A tree of its own: beyond the capture limit, this command is ended and no other.
    tree = Processes(processes)
    running = _Running(_start(command, tree, cwd=cwd, env=env, stdin=stdin), tree, cancelled)
    try:
        return running.outcome(redactor, on_stdout, on_stderr, CAPTURE_LIMIT if limits_capture else None)
    except BaseException:
        running.mute()
        processes.kill()
        raise
    finally:
        running.release()


def _start(
    command: Union[str, Sequence[str]],
    processes: Processes,
    *,
    cwd: Optional[str],
    env: Optional[Mapping[str, str]],
    stdin: Optional[IO[bytes]],
) -> subprocess.Popen[bytes]:
    source = subprocess.DEVNULL if stdin is None else stdin
    try:
        return processes.start(command, cwd=cwd, env=env, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except OSError as error:
        is_too_long = error.errno == errno.E2BIG
        raise CommandNotStartedError(f"could not be started: {error.strerror}", is_too_long=is_too_long) from None
    except ValueError:
        raise CommandNotStartedError(
            "could not be started: its text or environment holds what no process can take"
        ) from None


class _Running:
    """A command that has started. One thread waits for its end and two read its output; a fourth waits for those."""

    def __init__(self, process: subprocess.Popen[bytes], tree: Processes, cancelled: threading.Event) -> None:
        self._process = process
        self._tree = tree
        self._cancelled = cancelled
        self._pumps: list[_Pump] = []
        # Notified by whatever the waiting thread waits for.
        self._news = threading.Condition()
        self._waiter = threading.Thread(target=self._wait, name="runtimeuse-command", daemon=True)
        self._ended = False
        self._failure: Optional[Exception] = None

    def outcome(self, redactor: Redactor, on_stdout: Emit, on_stderr: Emit, limit: Optional[int]) -> int:
        """The exit code, once the command has ended and its output is handed on."""
        for pipe, emit in ((self._process.stdout, on_stdout), (self._process.stderr, on_stderr)):
            assert pipe is not None
            self._pumps.append(_Pump(pipe, RedactedStream(redactor), emit, limit, self._tell))
        self._waiter.start()
        with calling_when_set(self._cancelled, self._tell):
            self._wait_for(lambda: self._ended or self._is_over_limit())
            if self._is_over_limit():
                self._tree.kill()
            for pump in self._pumps:
                pump.begin_end()
                self._wait_for(pump.is_finished, pump.seconds_until_quiet)
        for pump in self._pumps:
            pump.detach()
        return OVER_LIMIT if self._is_over_limit() else self._code()

    def _code(self) -> int:
        if self._failure:
            raise self._failure
        code: int = self._process.returncode
        return code if code >= 0 else 128 - code

    def _is_over_limit(self) -> bool:
        return any(pump.is_over_limit for pump in self._pumps)

    def _wait_for(self, is_so: Callable[[], bool], timeout: Callable[[], Optional[float]] = lambda: None) -> None:
        with self._news:
            while not (is_so() or self._cancelled.is_set()):
                self._news.wait(timeout())
        if self._cancelled.is_set():
            raise CancelledException

    def _tell(self) -> None:
        with self._news:
            self._news.notify_all()

    def _wait(self) -> None:
        try:
            self._process.wait()
        except Exception as error:  # noqa: BLE001 - raised by the thread that waits for this one
            self._failure = error
        self._ended = True
        self._tell()

    def mute(self) -> None:
        """Hand nothing on any more. Waits for no thread: one may be held up by whoever takes its output."""
        for pump in self._pumps:
            pump.mute()

    def release(self) -> None:
        """Let go of the process, which has ended."""
        if self._waiter.ident is not None:
            self._waiter.join(_JOIN)
        # Those of pumps that could not be started: a pump closes its own.
        for pipe in (self._process.stdout, self._process.stderr)[len(self._pumps) :]:
            assert pipe is not None
            pipe.close()
        self._tree.release(self._process)


class _Pump:
    """Reads a pipe on a thread of its own until the pipe's end, which may come long after the command's.

    Attributes:
        is_over_limit (bool): whether more came than the limit allows; from then on, nothing is passed on.
    """

    def __init__(
        self,
        pipe: IO[bytes],
        stream: RedactedStream,
        emit: Emit,
        limit: Optional[int],
        tell: Callable[[], None],
    ) -> None:
        self._pipe = pipe
        self._descriptor = pipe.fileno()
        self._stream = stream
        self._emit = emit
        self._limit = limit
        self._tell = tell
        self.is_over_limit = False
        # Guards the stream, the count, and the order of what is emitted.
        self._lock = threading.Lock()
        self._count = 0
        # Once set, output is read and thrown away.
        self._detached = False
        # Whether the command has ended, so that somebody waits for this pump.
        self._is_ending = False
        self._is_closed = False
        # When the thread last went to wait for output; None from before it takes some until it has handed it on.
        self._idle_since: Optional[float] = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="runtimeuse-output", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            with self._pipe:
                for chunk in iter(self._read, b""):
                    self._hand_on(chunk)
                    self._idle_since = time.monotonic()
                    if self._is_ending:
                        self._tell()
        finally:
            self._is_closed = True
            self._tell()

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
        room = _MOST_PASSED_ON - self._count
        self._count += len(text)
        is_over_limit = self._limit is not None and self._count > self._limit
        # A cancellation is for the thread that runs the command; this one goes on reading.
        with suppress(CancelledException):
            if text:
                self._emit(text[:room] if is_over_limit else text)
        if is_over_limit:
            self._detached = self.is_over_limit = True
            self._tell()

    def begin_end(self) -> None:
        """Tell of each silence from now on, as the command has ended."""
        self._is_ending = True

    def is_finished(self) -> bool:
        """Whether all that the ended command has printed is handed on."""
        return self._is_closed or self.is_over_limit or self.seconds_until_quiet() == 0

    def seconds_until_quiet(self) -> Optional[float]:
        """Seconds after which the pipe counts as held open by others; None while the thread is busy."""
        # The pipe first: what has left it by now is in the hands of the thread, which has said so.
        is_waiting = not _is_readable(self._descriptor, 0)
        since = self._idle_since
        if since is None:
            return None
        left = max(0.0, since + _QUIET - time.monotonic())
        # There is output that the thread, idle until now, is about to take.
        return left if is_waiting else max(left, _ABOUT_TO_READ)

    def detach(self) -> None:
        """Emit what was held back; from now on, output is read and thrown away."""
        with self._lock:
            if not self._detached:
                self._detached = True
                self._send(self._stream.flush())

    def mute(self) -> None:
        """Throw away what is held back and what comes; waits for no lock."""
        self._detached = True


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
