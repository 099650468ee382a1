"""The processes of a request and of a runtime on systems without keepers: each is a process group, ended as one.

A process that makes a group of its own gets away (on Windows, one whose parent has ended).
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, Optional, Union

from .keeper_program.wire import KILL_GRACE

# Seconds between two looks at groups that are being ended: nothing tells of their end.
_LOOK_AGAIN = 0.02


class GroupProcesses:
    """The processes that belong to one request or, as the requests' common parent, to one runtime."""

    def __init__(self, parent: Optional[GroupProcesses] = None) -> None:
        self._parent = parent
        # By process group. Written by requests' threads; each single operation on it is atomic, an iteration is not.
        self._leaders: dict[int, subprocess.Popen[bytes]] = {}
        self._is_over = False

    def start(self, command: Union[str, Sequence[str]], **options: Any) -> subprocess.Popen[bytes]:
        """Start ``command``, a shell's line or a list of arguments, as the leader of a new process group.

        Args:
            command: what to run.
            options: those of ``subprocess.Popen``; ``env`` is added to this process's environment.

        Raises:
            OSError, ValueError: if it cannot be started, or its exit code could not be known.
        """
        if self._is_over:
            raise OSError(errno.ESHUTDOWN, "the runtime is closing")
        _check_that_ends_are_told()
        env = {**os.environ, **(options.pop("env", None) or {})}
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
        self._end(signal.SIGTERM, once=True)
        self._end(_FORCE, once=False)

    def leave(self) -> None:
        """Start no more; what is left in the background lives as long as the parent."""
        self._is_over = True

    def end(self) -> None:
        """Start no more, and end every process that is left, those of children as well."""
        self._is_over = True
        self.kill()

    def _end(self, number: int, *, once: bool) -> None:
        told: set[int] = set()
        left = self._left()
        # Counted from the end of the first look, which may take long.
        deadline = time.monotonic() + KILL_GRACE
        while left and time.monotonic() < deadline:
            for group in left - told:
                _send(group, number)
            told |= left if once else set()
            time.sleep(_LOOK_AGAIN)
            left = self._left()

    def _left(self) -> set[int]:
        for leader in self._leaders.copy().values():
            self.release(leader)
        return set(self._leaders.copy())

    def _line(self) -> Iterator[GroupProcesses]:
        owner: Optional[GroupProcesses] = self
        while owner:
            yield owner
            owner = owner._parent


if sys.platform == "win32":
    _FORCE = signal.SIGTERM

    def _check_that_ends_are_told() -> None:
        pass

    def _send(group: int, number: int) -> None:
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(group)], capture_output=True, check=False)

    def _group_lives(group: int) -> bool:
        return False

else:
    _FORCE = signal.SIGKILL

    def _check_that_ends_are_told() -> None:
        # With SIGCHLD ignored, the system drops exit codes, and subprocess reports 0.
        if signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:
            raise OSError(errno.ECHILD, "this program ignores SIGCHLD, so no exit code could be known")

    def _send(group: int, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)

    def _group_lives(group: int) -> bool:
        try:
            os.killpg(group, 0)
        except (ProcessLookupError, PermissionError):
            return False
        return True
