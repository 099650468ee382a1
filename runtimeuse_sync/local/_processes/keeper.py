"""This process's side of keepers: processes that start commands, report their ends, and end their trees (Linux)."""

from __future__ import annotations

import errno
import logging
import marshal
import os
import select
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import IO, Any, Optional, Union

from .keeper_program import wire

# Seconds for a keeper to start, or a command on it. Far more than it takes: what ends this wait is a keeper that was
# stopped, or a machine that cannot go on.
_START_TIMEOUT = 30.0

# Seconds for a keeper to say that its tree has ended: what it takes at most, and some for a busy machine.
_KILL_TIMEOUT = 2 * wire.KILL_GRACE + 3.0

# The package's own path is left out: its imports would take longer than all the rest.
_PROGRAM = f"""
import sys
sys.path.append({os.path.dirname(__file__)!r})
from keeper_program.program import main
main(int(sys.argv[1]))
"""

# The dynamic linker's: the interpreter may need it. All else of the environment is kept from the keeper, since
# commands can read what their parent was started with.
_KEPT_VARIABLES = ("LD_LIBRARY_PATH",)

logger = logging.getLogger(__name__)

Stream = Union[int, IO[bytes], None]


class UnknownStatusError(ChildProcessError):
    """A process whose exit code cannot be known, since its keeper was ended before it."""

    def __init__(self) -> None:
        super().__init__("the command has ended, but its exit code cannot be known: what was to tell it is gone")


class Process:
    """A process that a keeper started; used like a ``subprocess.Popen``, by one thread at a time.

    Attributes:
        pid (int): its number.
        stdin, stdout, stderr: this end of the pipes that were asked for.
        owner: what has to live as long as this, since the process would end with it.
    """

    def __init__(self, pid: int, status: int, stdin: Any, stdout: Any, stderr: Any) -> None:
        self.pid = pid
        self.returncode: Optional[int] = None
        self.owner: Optional[object] = None
        self.stdin: Optional[IO[bytes]] = stdin
        self.stdout: Optional[IO[bytes]] = stdout
        self.stderr: Optional[IO[bytes]] = stderr
        self._status: Optional[int] = status

    def poll(self) -> Optional[int]:
        """The exit code, or minus the number of the signal that ended it; None while it runs."""
        with suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def wait(self, timeout: Optional[float] = None) -> int:
        """Wait for its end.

        Returns:
            The exit code, or minus the number of the signal that ended it.

        Raises:
            subprocess.TimeoutExpired: if it still runs after ``timeout`` seconds.
            UnknownStatusError: if nobody can tell any more.
        """
        if self.returncode is None:
            if self._status is None:
                raise UnknownStatusError
            if not _is_readable(self._status, timeout):
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
            self._take_status(self._status)
        assert self.returncode is not None
        return self.returncode

    def _take_status(self, pipe: int) -> None:
        data = os.read(pipe, wire.STATUS.size)
        self.forget()
        if len(data) < wire.STATUS.size:
            raise UnknownStatusError
        (self.returncode,) = wire.STATUS.unpack(data)

    def forget(self) -> None:
        """Close the pipe by which its end would be reported."""
        self.owner = None
        status, self._status = self._status, None
        if status is not None:
            os.close(status)

    def __del__(self) -> None:
        self.forget()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the pipes; the process goes on."""
        self.forget()
        for pipe in (self.stdin, self.stdout, self.stderr):
            if pipe is not None:
                pipe.close()


class Keeper:
    """A keeper. Its methods may be called by any thread."""

    def __init__(self, channel: socket.socket, interpreter: Optional[subprocess.Popen[bytes]] = None) -> None:
        channel.settimeout(_KILL_TIMEOUT)
        self._channel = channel
        self._interpreter = interpreter

    @classmethod
    def spawn(cls) -> Keeper:
        """A keeper in an interpreter of its own; raises ``OSError`` if it cannot be started."""
        if not sys.executable:
            raise OSError(errno.ENOENT, "there is no Python interpreter (sys.executable)")
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with there, ExitStack() as undo:
            undo.callback(here.close)
            interpreter = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _PROGRAM, str(there.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ},
                cwd="/",
                pass_fds=[there.fileno()],
                # A terminal's Ctrl-C is not for it.
                start_new_session=True,
            )
            undo.pop_all()
        return cls(here, interpreter)

    def fork(self) -> Keeper:
        """Another keeper below this one; raises ``OSError`` if this one is gone."""
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with there:
            try:
                self._say(wire.FORK, there.fileno())
            except BaseException:
                here.close()
                raise
        return Keeper(here)

    def start(
        self,
        arguments: Sequence[str],
        *,
        cwd: Optional[str],
        env: Mapping[str, str],
        stdin: Stream,
        stdout: Stream,
        stderr: Stream,
    ) -> Process:
        """Start a program; the streams are as for ``subprocess.Popen``.

        Raises:
            OSError: if it cannot be started.
            ValueError: if its arguments or environment hold what no process can take.
        """
        specification = _specification(arguments, cwd, env)
        with ExitStack() as ours, ExitStack() as theirs:
            streams = [_Ends(stream, number, ours, theirs) for number, stream in enumerate((stdin, stdout, stderr))]
            reader, writer = os.pipe()
            ours.callback(os.close, reader)
            theirs.callback(os.close, writer)
            file = theirs.enter_context(_file_with(specification))
            self._say(wire.START, file.fileno(), *(ends.theirs for ends in streams), writer)
            theirs.close()
            pid = _started(reader)
            ours.pop_all()
        return Process(pid, reader, *(ends.ours for ends in streams))

    def kill(self) -> None:
        """End all processes. Takes some two seconds at most, unless the keeper itself is kept from working."""
        try:
            reader, writer = os.pipe()
        except OSError:  # no descriptor is left: do not wait for an answer
            with suppress(OSError):
                self._say(wire.KILL)
            return
        with open(reader, "rb", buffering=0):
            with open(writer, "wb", buffering=0), suppress(OSError):
                self._say(wire.KILL, writer)
            if not _is_readable(reader, _KILL_TIMEOUT):
                logger.warning("processes may be left: what was to end them does not answer")

    def release(self) -> None:
        """Tell the keeper to end when its last process has ended by itself."""
        with suppress(OSError):
            self._say(wire.RELEASE)
        self._channel.close()

    def close(self) -> None:
        """End all processes, and the keeper."""
        self._channel.close()
        if self._interpreter:
            try:
                self._interpreter.wait(_KILL_TIMEOUT)
            except subprocess.TimeoutExpired:
                # Those below it see its end, and end what they keep.
                self._interpreter.kill()
                self._interpreter.wait()

    def _say(self, message: bytes, *descriptors: int) -> None:
        try:
            wire.say(self._channel, message, descriptors)
        except socket.timeout:  # it does not read: it was stopped
            raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)) from None


class _Ends:
    """Both ends of one of a process's standard streams."""

    def __init__(self, stream: Stream, number: int, ours: ExitStack, theirs: ExitStack) -> None:
        self.ours: Optional[IO[bytes]] = None
        if stream == subprocess.PIPE:
            reader, writer = os.pipe()
            here, self.theirs = (reader, writer) if number else (writer, reader)
            theirs.callback(os.close, self.theirs)
            self.ours = ours.enter_context(os.fdopen(here, "rb" if number else "wb"))
        elif stream == subprocess.DEVNULL:
            self.theirs = os.open(os.devnull, os.O_RDWR)
            theirs.callback(os.close, self.theirs)
        elif isinstance(stream, int):
            self.theirs = stream
        else:
            self.theirs = number if stream is None else stream.fileno()


def _specification(arguments: Sequence[str], cwd: Optional[str], env: Mapping[str, str]) -> bytes:
    words = [os.fsencode(argument) for argument in arguments]
    variables = {os.fsencode(name): os.fsencode(value) for name, value in env.items()}
    # The keeper's own directory is another one.
    directory = os.fsencode(os.path.abspath(cwd or ""))
    if any(b"\0" in text for text in (*words, directory, *variables, *variables.values())):
        raise ValueError("embedded null byte")
    if any(not name or b"=" in name for name in variables):
        raise ValueError("illegal environment variable name")
    return marshal.dumps((words, directory, variables))


def _file_with(data: bytes) -> IO[bytes]:
    # In memory if the system supports it, since the environment may hold secrets.
    in_memory = hasattr(os, "memfd_create")
    file = os.fdopen(os.memfd_create("runtimeuse"), "w+b") if in_memory else tempfile.TemporaryFile()  # noqa: SIM115
    file.write(data)
    file.flush()
    return file


def _started(status: int) -> int:
    """The number of the process that was asked for; raises ``OSError`` if it could not be started."""
    if not _is_readable(status, _START_TIMEOUT):
        raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
    data = os.read(status, wire.STATUS.size)
    if len(data) < wire.STATUS.size:
        raise OSError(errno.ESRCH, "the process that starts commands is gone")
    (pid,) = wire.STATUS.unpack(data)
    if pid < 0:
        raise OSError(-pid, os.strerror(-pid))
    return int(pid)


def _is_readable(descriptor: int, timeout: Optional[float]) -> bool:
    """Whether there is something to read, or the end, in so many seconds; None waits for it."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(None if timeout is None else timeout * 1000))
