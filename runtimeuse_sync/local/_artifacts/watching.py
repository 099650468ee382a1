"""Directories watched on a thread: tells of each file once its writing has settled.

The watching library says *that* something changed; what is there is read from the disk. So nothing is lost
where its events are: in the moment before a new folder is watched, or when a queue in the kernel overflows.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Callable, Optional

import watchfiles

from . import ignore
from .settling import Settling, Version

# Seconds that a file which never settles is waited for at the end, on top of the settling time.
_LAST_CHANCE = 1.0

# Seconds between two looks where the system has no events to give: too many watches, a directory that went away.
_POLL = 1.0

Identity = tuple[int, int]


class Watcher:
    """Watches the directories of one connection, from their first request on.

    A directory that does not exist yet is waited for: to make it might break the command that is to make it.
    One that is removed and made anew goes on being watched.
    """

    def __init__(self, settle_seconds: float, on_settled: Callable[[str], None]) -> None:
        self._settle_seconds = settle_seconds
        self._tick = min(0.5, max(0.05, settle_seconds / 4))
        self._on_settled = on_settled
        self._settling = Settling(settle_seconds)
        # Directory -> gitignore lines. Replaced, never changed, by the thread that reads the connection.
        self._directories: dict[str, str] = {}
        self._stop = threading.Event()
        self._thread: Optional[threading.Thread] = None

    def add(self, directories: Sequence[str], ignore_content: str) -> None:
        """Watch ``directories`` too; of one that is watched already, ``ignore_content`` is renewed."""
        new = {os.path.abspath(directory): ignore_content for directory in directories}
        self._directories = {**self._directories, **new}
        if new and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="runtimeuse-watcher", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Stop watching."""
        self._stop.set()
        if self._thread:
            self._thread.join(_LAST_CHANCE + self._settle_seconds)

    def finish(self, aborted: threading.Event) -> None:
        """Stop watching, and wait for the files that are there to settle; what does not is told of as it is."""
        self.stop()
        deadline = time.monotonic() + self._settle_seconds + _LAST_CHANCE
        self._look(everywhere=True)
        while self._settling.pending() and time.monotonic() < deadline and not aborted.wait(self._tick):
            self._look(everywhere=True)
        self._tell(unsettled_too=True)

    def _run(self) -> None:
        while not self._stop.is_set():
            watched = self._identities()
            # What came before the watch stood has no event: hence the first look everywhere.
            everywhere = True
            for changed in self._ticks(tuple(watched)):
                self._look(everywhere=changed or everywhere)
                everywhere = False
                if self._identities() != watched:
                    break

    def _identities(self) -> dict[str, Identity]:
        """The directories that exist. One that was made anew has another identity, and no watch."""
        found = {}
        for directory in self._directories:
            try:
                status = os.stat(directory)
            except OSError:
                continue
            found[directory] = (status.st_dev, status.st_ino)
        return found

    def _ticks(self, directories: Sequence[str]) -> Iterator[bool]:
        """Yields often, until stopped; True if something may have changed."""
        try:
            if directories:
                yield from map(bool, self._events(directories))
        except (OSError, RuntimeError):
            while not self._stop.wait(_POLL):
                yield True
        while not self._stop.wait(self._tick):
            yield False

    def _events(self, directories: Sequence[str]) -> Iterator[set[tuple[watchfiles.Change, str]]]:
        milliseconds = int(self._tick * 1000)
        return watchfiles.watch(
            *directories,
            watch_filter=None,
            stop_event=self._stop,
            yield_on_timeout=True,
            rust_timeout=milliseconds,
            # Under constant writing, one look everywhere in this time.
            debounce=milliseconds * 2,
            step=min(50, milliseconds),
            raise_interrupt=False,
            ignore_permission_denied=True,
        )

    def _look(self, *, everywhere: bool) -> None:
        if everywhere:
            for directory, ignore_content in self._directories.items():
                for path, status in ignore.artifacts(directory, ignore_content):
                    self._see(path, status)
        self._look_at_pending()
        self._tell()

    def _look_at_pending(self) -> None:
        for path in self._settling.pending():
            try:
                self._see(path, os.stat(path))
            except OSError:
                self._settling.forget(path)

    def _see(self, path: str, status: os.stat_result) -> None:
        quiet_for = time.time() - status.st_mtime
        self._settling.see(path, Version.of(status), now=time.monotonic(), quiet_for=quiet_for)

    def _tell(self, *, unsettled_too: bool = False) -> None:
        for path in self._settling.take(now=time.monotonic(), unsettled_too=unsettled_too):
            self._on_settled(path)
