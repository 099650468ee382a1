"""One keeper: serves its channel, starts commands, tells how they end, and ends what is left."""

from __future__ import annotations

import ctypes
import marshal
import os
import select
import signal
import socket
import time
from contextlib import suppress

from .table import Identity, descendants, send
from .wire import FORK, KILL, KILL_GRACE, RELEASE, START, STATUS, receive

# Seconds until the second look at a tree that is being ended, and between two looks later on: nothing tells of the
# end of a child's child, and a look goes over all processes of the machine.
_LOOK_AGAIN = 0.02
_LONGEST_PAUSE = 0.2

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


class Keeper:
    """One keeper: the leaders that it started, and whatever has been left to it."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        # Process -> the pipe for its status.
        self._leaders: dict[int, int] = {}
        self._keepers: set[int] = set()
        self._is_released = False
        self._is_orphaned = False
        self._signals = _signal_pipe()
        signal.signal(signal.SIGTERM, self._orphan)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)

    def _orphan(self, *_: object) -> None:
        self._is_orphaned = True

    def serve(self) -> None:
        """Serve until the channel or this keeper's parent ends; then end the processes that are left."""
        watched: list[int | socket.socket] = [self._signals, self._channel]
        while not self._is_orphaned:
            ready, _, _ = select.select(watched, (), ())
            self._reap()
            if self._channel in ready and not self._take():
                watched.remove(self._channel)
                self._is_orphaned |= not self._is_released
            if self._is_released and not self._has_children():
                return
        self._end_tree()
        # Their trees have ended. SIGKILL, since one that is stopped would not end otherwise.
        for keeper in self._keepers:
            os.kill(keeper, signal.SIGKILL)

    def _has_children(self) -> bool:
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return False
        return True

    # --- messages ------------------------------------------------------------------------------------

    def _take(self) -> bool:
        try:
            message, descriptors = receive(self._channel)
        except OSError:
            return False
        try:
            self._do(message, descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        return bool(message)

    def _do(self, message: bytes, descriptors: list[int]) -> None:
        if message == START:
            self._start(*descriptors)
        elif message == FORK:
            self._fork(*descriptors)
        elif message == KILL:
            self._end_tree()
        elif message == RELEASE:
            self._is_released = True

    def _fork(self, channel: int) -> None:
        try:
            pid = os.fork()
        except OSError:  # the requester sees the end of the channel
            return
        if pid:
            self._keepers.add(pid)
            return
        # It holds nothing of its parent's: a status pipe has to end with the keeper that it belongs to.
        for descriptor in (self._channel.detach(), self._signals, *self._leaders.values()):
            os.close(descriptor)
        _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        _run(socket.socket(fileno=channel))

    def _start(self, specification: int, stdin: int, stdout: int, stderr: int, status: int) -> None:
        with open(specification, "rb", closefd=False) as file:
            file.seek(0)
            arguments, directory, environment = marshal.load(file)
        failure, failed = os.pipe()
        try:
            pid = os.fork()
        except OSError as error:
            os.write(status, STATUS.pack(-(error.errno or 1)))
            os.close(failure)
            os.close(failed)
            return
        if not pid:
            _become(arguments, directory, environment, (stdin, stdout, stderr), failed)
        os.close(failed)
        with open(failure, "rb") as file:
            fault = file.read()
        # The end of a process that could not become the command is not reported.
        with suppress(OSError):
            os.write(status, fault or STATUS.pack(pid))
        if not fault:
            self._leaders[pid] = os.dup(status)

    # --- ends ----------------------------------------------------------------------------------------

    def _reap(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._signals, 4096)
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    return
                self._keepers.discard(pid)
                self._report(pid, os.waitstatus_to_exitcode(status))

    def _report(self, pid: int, code: int) -> None:
        pipe = self._leaders.pop(pid, None)
        if pipe is not None:
            # The requester may be gone.
            with suppress(OSError):
                os.write(pipe, STATUS.pack(code))
            os.close(pipe)

    def _end_tree(self) -> None:
        """End every process of the tree: SIGTERM, a second later SIGKILL. Takes some two seconds at most."""
        if self._end(signal.SIGTERM, once=True):
            self._end(signal.SIGKILL, once=False)

    def _end(self, number: int, *, once: bool) -> bool:
        told: set[Identity] = set()
        # Counted from the end of the first look, which may take long.
        left = self._left()
        deadline = time.monotonic() + KILL_GRACE
        pause = _LOOK_AGAIN
        # A process may have started another before it got the signal: repeat until none is left.
        while left and time.monotonic() < deadline:
            for process in left:
                if process not in told:
                    send(process, number)
            told.update(left if once else ())
            select.select([self._signals], (), (), pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            left = self._left()
        return bool(left)

    def _left(self) -> list[Identity]:
        self._reap()
        # A process whose parent ends becomes a child of this keeper.
        if not self._has_children():
            return []
        # During one look a process may leave a child and end, unseen: two looks that find none prove that none is left.
        return descendants(os.getpid(), self._keepers) or descendants(os.getpid(), self._keepers)


# --- processes ---------------------------------------------------------------------------------------


def _become(
    arguments: list[bytes],
    directory: bytes,
    environment: dict[bytes, bytes],
    streams: tuple[int, int, int],
    failed: int,
) -> None:
    """In a fork: become the command, as the leader of a session, with nothing inherited that it was not given."""
    try:
        os.setsid()
        for target, source in enumerate(streams):
            os.dup2(source, target)
        os.chdir(directory)
        # All else is as the system has it by default: handlers end with this program.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.execvpe(arguments[0], arguments, environment)
    except OSError as error:
        os.write(failed, STATUS.pack(-(error.errno or 1)))
    finally:
        os._exit(127)


def _reset_signals() -> None:
    """Default dispositions and an empty mask: what was ignored or blocked when all began would be, in commands too."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        # Some belong to the C library.
        with suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _signal_pipe() -> int:
    """A descriptor that is readable when a signal has come."""
    reader, writer = os.pipe()
    for descriptor in (reader, writer):
        os.set_blocking(descriptor, False)
    old = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    if old != -1:
        os.close(old)
    # Without a handler, a signal that is ignored by default does not wake the selector.
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return reader


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _run(channel: socket.socket) -> None:
    try:
        Keeper(channel).serve()
    finally:
        # No more of an interpreter's end than this: after a fork, part of it is the parent's.
        os._exit(0)


def main(channel: int) -> None:
    """Be a keeper, for whoever has the other end of the channel; does not return."""
    _reset_signals()
    end = socket.socket(fileno=channel)
    end.set_inheritable(False)
    _run(end)
