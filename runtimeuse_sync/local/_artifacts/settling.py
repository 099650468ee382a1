"""Decides which versions of files are finished and were not offered yet. No I/O: the caller passes time and stat."""

from __future__ import annotations

import os

from attrs import define, frozen


@frozen
class Version:
    """The identity of one version of a file: the parts of its stat that change when it is written."""

    modified_ns: int
    size: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> Version:
        """The version of a file with this stat."""
        return cls(status.st_mtime_ns, status.st_size, status.st_ino)


@define
class _File:
    version: Version
    unchanged_since: float
    taken: bool = False


class Settling:
    """Files on their way to be settled: unchanged for ``seconds``. Each version is taken once.

    >>> settling = Settling(2.0)
    >>> settling.see("a.txt", Version(1, 10, 7), now=100.0)
    >>> settling.take(now=101.0), settling.take(now=102.0), settling.take(now=103.0)
    ([], ['a.txt'], [])
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._files: dict[str, _File] = {}

    def see(self, path: str, version: Version, *, now: float, quiet_for: float = 0.0) -> None:
        """Note that ``path`` has ``version``, last written ``quiet_for`` seconds ago as its own time stamp says."""
        known = self._files.get(path)
        if known is None or known.version != version:
            self._files[path] = _File(version, now - max(0.0, quiet_for))

    def forget(self, path: str) -> None:
        """Note that ``path`` is gone."""
        self._files.pop(path, None)

    def pending(self) -> list[str]:
        """The paths whose version was not taken yet."""
        return [path for path, file in self._files.items() if not file.taken]

    def take(self, *, now: float, unsettled_too: bool = False) -> list[str]:
        """The paths that are settled and whose version was not taken yet; they count as taken from now on."""
        due = [p for p in self.pending() if unsettled_too or now - self._files[p].unchanged_since >= self._seconds]
        for path in due:
            self._files[path].taken = True
        return due
