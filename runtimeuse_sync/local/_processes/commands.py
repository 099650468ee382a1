"""Runs one command: its output as it comes, its exit code, its cancellation, and the limit of its output."""

from __future__ import annotations

import errno
import subprocess
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Callable, Optional, Union

from ..._common.redaction import RedactedStream, Redactor
from ...exceptions import CancelledException
from .._cancel_event import calling_when_set
from .output import CAPTURE_LIMIT, Emit, Pump
from .processes import Process, Processes

# Seconds for a thread that has nothing left to do but to return.
_JOIN = 1.0

# The exit code of a command that was ended because of the capture limit.
OVER_LIMIT = -1


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
    redacts_stdout: bool = True,
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
        redacts_stdout: False leaves the secrets in standard output, for who takes them out of what that says.
        limits_capture: whether more than ``CAPTURE_LIMIT`` characters on one stream end the command.

    Returns:
        The exit code; 128 and the signal's number if a signal ended it; -1 if the capture limit did.

    Raises:
        CommandNotStartedError: if it could not be started.
        CancelledException: if it was cancelled; its process tree is gone.
    """
    # A process tree of its own, so that the capture limit ends this command only.
    tree = Processes(processes)
    running = _Running(_start(command, tree, cwd=cwd, env=env, stdin=stdin), tree, cancelled)
    try:
        stdout, stderr = RedactedStream(redactor if redacts_stdout else Redactor()), RedactedStream(redactor)
        streams = ((stdout, on_stdout), (stderr, on_stderr))
        return running.outcome(streams, CAPTURE_LIMIT if limits_capture else None)
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
) -> Process:
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

    def __init__(self, process: Process, tree: Processes, cancelled: threading.Event) -> None:
        self._process = process
        self._tree = tree
        self._cancelled = cancelled
        self._pumps: list[Pump] = []
        # Notified by whatever the waiting thread waits for.
        self._news = threading.Condition()
        self._waiter = threading.Thread(target=self._wait, name="runtimeuse-command", daemon=True)
        self._ended = False
        self._failure: Optional[Exception] = None

    def outcome(self, streams: Iterable[tuple[RedactedStream, Emit]], limit: Optional[int]) -> int:
        """The exit code, once the command has ended and its output is handed on: of stdout, of stderr."""
        for pipe, (stream, emit) in zip((self._process.stdout, self._process.stderr), streams):
            assert pipe is not None
            self._pumps.append(Pump(pipe, stream, emit, limit, self._news))
        self._waiter.start()
        with calling_when_set(self._cancelled, self._tell):
            self._wait_for(lambda: self._ended or self._is_over_limit())
            if self._is_over_limit():
                self._tree.kill()
            for pump in self._pumps:
                pump.begin_end()
            for pump in self._pumps:
                self._wait_for(pump.is_finished, pump.seconds_until_quiet)
        for pump in self._pumps:
            pump.detach()
        return OVER_LIMIT if self._is_over_limit() else self._code()

    def _code(self) -> int:
        if self._failure:
            raise self._failure
        code = self._process.returncode
        assert code is not None  # its end has been waited for
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
        # Closes the pipes of pumps that could not be started; a pump closes its own.
        for pipe in (self._process.stdout, self._process.stderr)[len(self._pumps) :]:
            assert pipe is not None
            pipe.close()
        self._tree.release(self._process)
