"""The processes of a request and of a runtime, each with a keeper of its own. Linux only."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Optional, Union

from .keeper import Keeper, Process


class KeptProcesses:
    """The processes that belong to one request or, as the requests' common parent, to one runtime.

    Whatever they start belongs to them too, to the last descendant. The keeper is started with the first process,
    and let go of with the last.
    """

    def __init__(self, parent: Optional[KeptProcesses] = None) -> None:
        self._parent = parent
        # Guards what follows.
        self._lock = threading.Lock()
        self._keeper: Optional[Keeper] = None
        self._running = 0
        self._is_over = False

    def start(self, command: Union[str, Sequence[str]], **options: Any) -> Process:
        """Start ``command``, a shell's line or a list of arguments, as the leader of a new session.

        Args:
            command: what to run.
            options: ``cwd``, ``env`` (added to this process's environment), ``stdin``, ``stdout`` and ``stderr``,
                as for ``subprocess.Popen``.

        Raises:
            OSError, ValueError: if it cannot be started.
        """
        arguments = ["/bin/sh", "-c", command] if isinstance(command, str) else command
        streams = {name: options.get(name) for name in ("stdin", "stdout", "stderr")}
        env = {**os.environ, **(options.get("env") or {})}
        with self._lock:
            keeper = self._at_hand()
            self._running += 1
        try:
            process = keeper.start(arguments, cwd=options.get("cwd"), env=env, **streams)
        except BaseException:
            self._count_down()
            raise
        process.owner = self
        return process

    def release(self, process: Process) -> None:
        """Forget a process: its end is known, or of no interest any more. What it left in the background lives on."""
        self._count_down()
        process.forget()

    def _count_down(self) -> None:
        with self._lock:
            self._running -= 1
            if self._running == 0 and self._parent:
                self._let_go()

    def _at_hand(self) -> Keeper:
        if self._is_over:
            raise OSError(errno.ESHUTDOWN, "the runtime is closing")
        if self._keeper is None:
            self._keeper = self._parent._fork() if self._parent else Keeper.spawn()
        return self._keeper

    def _fork(self) -> Keeper:
        with self._lock:
            with suppress(BrokenPipeError):
                return self._at_hand().fork()
            # The keeper was killed. Its processes are out of reach; a new keeper is started for later ones.
            self._let_go()
            return self._at_hand().fork()

    def kill(self) -> None:
        """End every process that is left: SIGTERM, a second later SIGKILL. Takes some two seconds at most."""
        if keeper := self._keeper:
            keeper.kill()

    def leave(self) -> None:
        """Start no more; what is left in the background lives as long as the parent."""
        with self._lock:
            self._is_over = True
            self._let_go()

    def end(self) -> None:
        """Start no more, and end every process that is left, those of children as well."""
        with self._lock:
            self._is_over = True
        try:
            self.kill()
        finally:
            self.leave()

    def _let_go(self) -> None:
        keeper, self._keeper = self._keeper, None
        if keeper is None:
            return
        if self._parent:
            keeper.release()
        else:
            keeper.close()

    def __del__(self) -> None:
        self._let_go()
