"""A file or a folder as a tar archive, made as it is read."""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterator, Sequence
from typing import Any

import attrs

from .patterns import Pattern

# What the file or folder is called in its archive, whatever it is called elsewhere.
ROOT = "tree"

_CHUNK = 256 * 1024


@attrs.frozen
class Entry:
    """A file or folder to be packed.

    Attributes:
        path (str): where it is.
        header (bytes): what stands before its bytes in the archive.
        size (int): its bytes.
    """

    path: str
    header: bytes = attrs.field(repr=False)
    size: int


def entries(source: str, ignore: str) -> list[Entry]:
    """The files and folders at ``source``, without those that the gitignore lines of ``ignore`` exclude.

    Raises:
        ValueError: for a link or a device in it, or a line that matches nothing.
        OSError: if it cannot be read.
    """
    lines = [line for line in ignore.splitlines() if line.strip() and not line.startswith("#")]
    patterns = [Pattern(line) for line in reversed(lines)]
    # A link to the source itself is its user's own way to name it.
    return list(_walk(source, os.stat(source), patterns))


def _walk(source: str, status: os.stat_result, patterns: Sequence[Pattern]) -> Iterator[Entry]:
    """Each folder before what is in it, by names."""
    waiting: list[tuple[str, tuple[str, ...]]] = [(source, ())]
    while waiting:
        path, names = waiting.pop()
        if names:
            status = os.stat(path, follow_symlinks=False)
        yield _entry(path, names, status)
        if stat.S_ISDIR(status.st_mode):
            waiting += _children(path, names, patterns)


def _children(path: str, names: tuple[str, ...], patterns: Sequence[Pattern]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The entries of a folder that are not ignored, in reverse order."""
    with os.scandir(path) as found:
        children = sorted(found, key=lambda child: child.name, reverse=True)
    for child in children:
        below = (*names, child.name)
        if not _is_ignored(below, patterns, is_folder=child.is_dir(follow_symlinks=False)):
            yield child.path, below


def _is_ignored(names: Sequence[str], patterns: Sequence[Pattern], *, is_folder: bool) -> bool:
    """The last line that matches counts, and it comes first here."""
    return next((pattern.ignores for pattern in patterns if pattern.matches(names, is_folder=is_folder)), False)


def _entry(path: str, names: Sequence[str], status: os.stat_result) -> Entry:
    is_folder = stat.S_ISDIR(status.st_mode)
    if not (is_folder or stat.S_ISREG(status.st_mode)):
        raise ValueError(f"{path!r} is neither a file nor a folder: name it in ignore=, or upload what it leads to")
    info = tarfile.TarInfo("/".join((ROOT, *names)))
    info.type = tarfile.DIRTYPE if is_folder else tarfile.REGTYPE
    info.size = 0 if is_folder else status.st_size
    info.mode = stat.S_IMODE(status.st_mode) & 0o777
    info.mtime = max(0, int(status.st_mtime))
    # The format that every tar reads; a name is the bytes that it is on the disk.
    return Entry(path, info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape"), info.size)


def packed_size(found: Sequence[Entry]) -> int:
    """Bytes of the archive of these entries."""
    return sum(len(entry.header) + entry.size + _padding(entry.size) for entry in found) + 2 * tarfile.BLOCKSIZE


def packed(found: Sequence[Entry]) -> Iterator[bytes]:
    """The archive, a chunk at a time; raises ``OSError`` if a file has become shorter since."""
    for entry in found:
        yield entry.header
        if entry.size:
            yield from _content(entry)
            yield bytes(_padding(entry.size))
    yield bytes(2 * tarfile.BLOCKSIZE)


def _content(entry: Entry) -> Iterator[bytes]:
    left = entry.size
    with open(entry.path, "rb") as file:
        while left:
            chunk = file.read(min(left, _CHUNK))
            if not chunk:
                raise OSError(f"{entry.path!r} became shorter while it was read")
            left -= len(chunk)
            yield chunk


def _padding(size: int) -> int:
    return -size % tarfile.BLOCKSIZE


def hashed(archive: Iterator[bytes], digest: Any) -> Iterator[bytes]:
    """``archive`` as it is, while ``digest`` learns of it."""
    for data in archive:
        digest.update(data)
        yield data
