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
from collections.abc import Container, Iterable, Iterator, Sequence
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
        for signal_number in (signal.SIGTERM, _FORCE):
            deadline = time.monotonic() + KILL_GRACE
            told: set[int] = set()
            # A process may have started another before it was told: look until none is left.
            while (left := self._left()) and time.monotonic() < deadline:
                for pid in left - told:
                    _send(pid, signal_number)
                told |= left
                time.sleep(0.02)

    def _left(self) -> set[int]:
        for leader in tuple(self._leaders.values()):
            self.release(leader)
        return set(_living(self._leaders.keys(), self._name))

    def _line(self) -> Iterator[Processes]:
        owner: Optional[Processes] = self
        while owner:
            yield owner
            owner = owner._parent


if sys.platform == "linux":
    _FORCE = signal.SIGKILL

    def _send(pid: int, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)

    def _group_lives(group: int) -> bool:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return False
        return next(_living({group}, None), None) is not None

    def _living(groups: Container[int], mark: Optional[str]) -> Iterator[int]:
        """The processes that are in one of ``groups`` or carry ``mark``, apart from those that have ended.

        An ended one that its parent does not wait for keeps its group in being: killpg() cannot tell.
        """
        for name in os.listdir("/proc"):
            with suppress(OSError):
                if name.isdecimal() and _belongs(Path("/proc", name), groups, mark) and int(name) != os.getpid():
                    yield int(name)

    def _belongs(process: Path, groups: Container[int], mark: Optional[str]) -> bool:
        # pid (name) state parent group …; the name may hold anything.
        state, _, group = (process / "stat").read_bytes().rpartition(b")")[2].split()[:3]
        if state in (b"Z", b"X"):
            return False
        return int(group) in groups or (mark is not None and mark.encode() in (process / "environ").read_bytes())

elif sys.platform == "win32":
    _FORCE = signal.SIGTERM

    def _send(pid: int, number: int) -> None:
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(pid)], capture_output=True, check=False)

    def _group_lives(group: int) -> bool:
        return False

    def _living(groups: Iterable[int], mark: Optional[str]) -> Iterator[int]:
        yield from groups

else:
    _FORCE = signal.SIGKILL

    def _send(pid: int, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, number)

    def _group_lives(group: int) -> bool:
        try:
            os.killpg(group, 0)
        except (ProcessLookupError, PermissionError):
            return False
        return True

    def _living(groups: Iterable[int], mark: Optional[str]) -> Iterator[int]:
        yield from filter(_group_lives, tuple(groups))
