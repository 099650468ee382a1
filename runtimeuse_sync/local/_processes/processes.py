"""Process trees: started with a mark, and ended to the last descendant.

A tree is more than a process group: a grandchild may have made a group of its own. On Linux, each process
that we start carries a mark in its environment, which its descendants inherit, and which finds them all.
Elsewhere the groups alone are ended (on Windows, what ``taskkill /T`` finds).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Optional, Union

# Seconds between SIGTERM and SIGKILL, and again for SIGKILL to do its work.
KILL_GRACE = 1.0

_MARK = "RUNTIMEUSE_SYNC_PROCESS"


class Processes:
    """The processes that belong to one request or, as the requests' common parent, to one runtime."""

    def __init__(self, parent: Optional[Processes] = None) -> None:
        self._parent = parent
        self._name: str = f"{parent._name if parent else ''}/{uuid.uuid4().hex}"
        # By process group. Written by requests' threads; each single operation on it is atomic.
        self._leaders: dict[int, subprocess.Popen[bytes]] = {}
        self._used = False

    def start(self, command: Union[str, Sequence[str]], **options: Any) -> subprocess.Popen[bytes]:
        """Start ``command``, a shell's line or a list of arguments, as the leader of a new process group.

        Args:
            command: what to run.
            options: those of ``subprocess.Popen``; ``env`` is added to this process's environment.
        """
        env = {**os.environ, **(options.pop("env", None) or {})}
        # Kept beside what is there: this runtime may itself be a command of another.
        env[_MARK] = f"{os.environ.get(_MARK, '')} {self._name}"
        for owner in self._line():
            owner._used = True
        process = subprocess.Popen(command, shell=isinstance(command, str), env=env, start_new_session=True, **options)
        for owner in self._line():
            owner._leaders[process.pid] = process
        return process

    def release(self, process: subprocess.Popen[bytes]) -> None:
        """Forget a leader that has ended, unless others of its group live on in the background."""
        if process.poll() is not None and not _group_lives(process.pid):
            for owner in self._line():
                owner._leaders.pop(process.pid, None)

    def kill(self) -> None:
        """End every process that is left: SIGTERM, a second later SIGKILL. Takes some two seconds at most."""
        if not self._used:
            return
        self._end(signal.SIGTERM, once=True)
        self._end(_FORCE, once=False)

    def _end(self, signal_number: int, *, once: bool) -> None:
        told: set[int] = set()
        left = self._left()
        # Since the first look: one that takes long must not be all that is done.
        deadline = time.monotonic() + KILL_GRACE
        # A process may have started another before it was told: look until none is left.
        while left and time.monotonic() < deadline:
            # Groups, which are negative, come first and are told at once: a shell that outlives its command
            # for a moment begins the next.
            for target in sorted(left - told):
                _send(target, signal_number)
            told |= left if once else set()
            time.sleep(0.02)
            left = self._left()

    def _left(self) -> set[int]:
        """Who lives, as kill(2) has it: a process by its number, a group by its number made negative."""
        for leader in tuple(self._leaders.values()):
            self.release(leader)
        return set(_living(tuple(self._leaders), self._name))

    def _line(self) -> Iterator[Processes]:
        owner: Optional[Processes] = self
        while owner:
            yield owner
            owner = owner._parent


if sys.platform == "win32":
    _FORCE = signal.SIGTERM

    def _send(target: int, number: int) -> None:
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(-target)], capture_output=True, check=False)

    def _group_lives(group: int) -> bool:
        return False

else:
    _FORCE = signal.SIGKILL

    def _send(target: int, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(target, number)

    def _group_lives(group: int) -> bool:
        try:
            os.killpg(group, 0)
        except (ProcessLookupError, PermissionError):
            return False
        # There, an ended process that nobody waits for keeps its group in being, and killpg() cannot tell.
        return sys.platform != "linux" or any(_living([group], None))


if sys.platform == "linux":

    def _living(groups: Sequence[int], mark: Optional[str]) -> Iterator[int]:
        for name in os.listdir("/proc"):
            with suppress(OSError):
                if name.isdecimal() and int(name) != os.getpid():
                    yield from _targets(Path("/proc", name), groups, mark)

    def _targets(process: Path, groups: Sequence[int], mark: Optional[str]) -> Iterator[int]:
        # pid (name) state parent group …; the name may hold anything.
        state, _, group = (process / "stat").read_bytes().rpartition(b")")[2].split()[:3]
        if state in (b"Z", b"X"):
            return
        if int(group) in groups:
            yield -int(group)
        elif mark is not None and mark.encode() in (process / "environ").read_bytes():
            yield int(process.name)

else:

    def _living(groups: Sequence[int], mark: Optional[str]) -> Iterator[int]:
        yield from (-group for group in groups if sys.platform == "win32" or _group_lives(group))
