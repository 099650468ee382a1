"""Watching of directories, on a thread: reports each file once it has not been written to for a while.

The watching library says *that* something changed; what is there is read from the disk. So nothing is lost
where its events are: in the moment before a new folder is watched, or when a queue in the kernel overflows.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Callable, Optional

import watchfiles

from ..._common.deadline import Deadline
from .._transfers.files import harmless
from . import ignore
from .settling import Settling, Version

# Seconds that a file which never settles is waited for at the end, on top of the settling time.
_LAST_CHANCE = 1.0

# Seconds between two looks where the system has no events to give: too many watches, a directory that went away.
_POLL = 1.0

# The most problems that are reported, however many folders are bad.
_MOST_PROBLEMS = 10

Identity = tuple[int, int]


class Watcher:
    """Watches the directories of one connection, from their first request on.

    A directory that does not exist yet is waited for: to make it might break the command that is to make it.
    One that is removed and made anew goes on being watched.

    Attributes:
        problems (list of str): what went wrong so far, each once, in words that are fit for a message.
    """

    def __init__(self, settle_seconds: float, on_settled: Callable[[str], None]) -> None:
        self._settle_seconds = settle_seconds
        # Seconds between two looks at files that are being written, which no event says are finished.
        self._tick = min(0.5, max(0.05, settle_seconds / 4))
        self._on_settled = on_settled
        self.problems: list[str] = []
        # Held while the disk is scanned and files are reported. Guards the attributes below.
        self._look_lock = threading.Lock()
        self._settling = Settling(settle_seconds)
        # Directory -> gitignore lines. Replaced, never changed, by the thread that reads the connection.
        self._directories: dict[str, str] = {}
        self._stop = threading.Event()
        self._thread: Optional[threading.Thread] = None

    def add(self, directories: Sequence[str], ignore_content: str) -> None:
        """Watch ``directories`` too; of one that is watched already, ``ignore_content`` is renewed."""
        new = {os.path.abspath(directory): ignore_content for directory in directories if self._can_exist(directory)}
        self._directories = {**self._directories, **new}
        if new and self._thread is None:
            thread = threading.Thread(target=self._run, name="runtimeuse-watcher", daemon=True)
            # No thread can be started now: the next request tries again; else only the end of the session scans.
            with suppress(RuntimeError):
                thread.start()
                self._thread = thread

    def _can_exist(self, directory: str) -> bool:
        if _is_path(directory):
            return True
        self._note(f"{harmless(directory)} is no name that a directory can have")
        return False

    def stop(self) -> None:
        """Stop watching."""
        self._stop.set()
        if self._thread:
            self._thread.join(_LAST_CHANCE + self._settle_seconds)

    def finish(self, timeout: float, aborted: threading.Event) -> None:
        """Stop watching, and wait for the files that are there to settle; what does not is told of as it is.

        It raises nothing, and takes ``timeout`` seconds at most, plus one look at one folder.
        """
        self._stop.set()
        end = Deadline(timeout)
        # The thread that watches may be held up by a client that takes nothing.
        if not self._look_lock.acquire(timeout=end.remaining()):
            return
        self._look_lock.release()
        patience = Deadline(self._settle_seconds + _LAST_CHANCE).earlier(end)

        def is_over() -> bool:
            return aborted.is_set() or end.expired

        with self._noting_problems():
            self._look(everywhere=True, is_over=is_over)
            while self._settling.pending() and not patience.expired and not aborted.wait(self._tick):
                self._look(everywhere=True, is_over=is_over)
            self._tell(unsettled_too=True)

    @contextmanager
    def _noting_problems(self) -> Iterator[None]:
        """Record errors with files, to be reported to the client; they stop nothing else."""
        try:
            yield
        # The watching library, written in Rust, has a BaseException for its faults.
        except BaseException as error:  # noqa: BLE001
            self._note(f"looking for artifacts failed: {type(error).__name__}")

    def _note(self, problem: str) -> None:
        if problem not in self.problems and len(self.problems) < _MOST_PROBLEMS:
            self.problems.append(problem)

    def _note_folder(self, folder: str, reason: str) -> None:
        self._note(f"no file of {harmless(folder)} is offered: {reason}")

    def _run(self) -> None:
        while not self._stop.is_set():
            with self._noting_problems():
                self._watch()
                continue
            self._stop.wait(_POLL)

    def _watch(self) -> None:
        """Look whenever something may have changed, as long as the directories are the same ones."""
        watched = self._identities()
        # Files that came before the watch was set up have no event, so the first look is everywhere.
        everywhere = True
        for changed in self._ticks(tuple(watched)):
            self._look(everywhere=changed or everywhere, is_over=self._stop.is_set)
            everywhere = False
            if self._identities() != watched:
                break

    def _identities(self) -> dict[str, Identity]:
        """The directories that exist, with identities: a recreated one has another, and is not watched yet."""
        found = {}
        for directory in self._directories:
            try:
                status = os.stat(directory)
            except OSError:
                continue
            found[directory] = (status.st_dev, status.st_ino)
        return found

    def _ticks(self, directories: Sequence[str]) -> Iterator[bool]:
        """Yields often, until stopped; True if something may have changed.

        No event tells that a file is finished, or that a directory was made or replaced: those are looked at.
        """
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
            # How often the library looks whether there are events, and whether it is to stop.
            step=milliseconds // 2,
            raise_interrupt=False,
            ignore_permission_denied=True,
        )

    def _look(self, *, everywhere: bool, is_over: Callable[[], bool]) -> None:
        with self._look_lock:
            # Watching may have ended while this waited for the lock: another thread takes the last looks.
            if is_over():
                return
            if everywhere:
                self._look_everywhere(is_over)
            self._look_at_pending()
            self._tell()

    def _look_everywhere(self, is_over: Callable[[], bool]) -> None:
        for directory, content in self._directories.items():
            found = ignore.artifacts(directory, content, on_problem=self._note_folder, is_over=is_over)
            for path, status in found:
                self._see(path, status)

    def _look_at_pending(self) -> None:
        for path in self._settling.pending():
            directories = (directory for directory in self._directories if path.startswith(directory))
            status = next(filter(None, (ignore.regular_file(path, directory) for directory in directories)), None)
            if status:
                self._see(path, status)
            else:
                self._settling.forget(path)

    def _see(self, path: str, status: os.stat_result) -> None:
        quiet_for = time.time() - status.st_mtime
        self._settling.see(path, Version.of(status), now=time.monotonic(), quiet_for=quiet_for)

    def _tell(self, *, unsettled_too: bool = False) -> None:
        for path in self._settling.take(now=time.monotonic(), unsettled_too=unsettled_too):
            try:
                self._on_settled(path)
            except Exception as error:  # noqa: BLE001 - one file that cannot be offered is no reason to lose others
                self._note(f"{harmless(path)} could not be offered: {type(error).__name__}")


def _is_path(text: str) -> bool:
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False
