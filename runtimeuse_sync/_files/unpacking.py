"""Unpacking of a tar archive from a sandbox while it is received, never outside of its folder, and limited in size.

``tarfile`` reads a name of any length into memory, knows links, devices and sparse files, and takes what it can make
sense of. Here, what is not a plain file or folder is refused.
"""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

import attrs

from .sandbox import SandboxError

# Bytes of a name, and of the records that may hold one. Paths of all systems are shorter.
_LONGEST_NAME = 64 * 1024

# The nesting depth of folders. Programs that remove or move a tree may do so by recursion.
_DEEPEST = 200

_CHUNK = 256 * 1024

# What stands for a name that does not fit in a header: GNU's way, and POSIX's.
_GNU_NAME = tarfile.GNUTYPE_LONGNAME
_POSIX_RECORDS = tarfile.XHDTYPE


class _Bytes:
    """A stream of bytes, read in the portions that are asked for."""

    def __init__(self, stream: Iterator[bytes]) -> None:
        self._stream = stream
        self._waiting = b""
        self._at = 0

    def some(self, most: int) -> bytes:
        """At least one byte, and ``most`` at most."""
        while self._at == len(self._waiting):
            self._waiting, self._at = next(self._stream, None) or _refuse_cut(), 0
        found = self._waiting[self._at : self._at + most]
        self._at += len(found)
        return found

    def exactly(self, size: int) -> bytes:
        """So many bytes, which are few."""
        found = b""
        while len(found) < size:
            found += self.some(size - len(found))
        return found

    def drain(self) -> None:
        """Read what is left, and throw it away."""
        for _ in self._stream:
            pass


@attrs.frozen
class Unpacked:
    """The contents of an unpacked archive.

    Attributes:
        folders (list): the path of each folder inside of the archive, and its mode.
    """

    folders: list[tuple[tuple[str, ...], int]]


def unpack(stream: Iterator[bytes], root: Path, *, max_files: int) -> Unpacked:
    """Unpack the archive to ``root``, which is not there yet; read all of ``stream``.

    The modes of folders are not set: files may still have to be moved out of them.

    Raises:
        SandboxError: for what is no plain archive of files and folders inside of it.
        OSError: if the disk does not take it.
    """
    source = _Bytes(stream)
    folders, made = [], 0
    for info, names in _members(source):
        path = root.joinpath(*names)
        is_folder = info.type == tarfile.DIRTYPE
        try:
            made += 1 + _make_folders(path if is_folder else path.parent)
            if made > max_files:
                raise SandboxError(f"the archive holds more than {max_files} files and folders (max_files)")
            if is_folder:
                folders.append((names, info.mode & 0o777))
            else:
                _write(source, path, info)
        except (FileExistsError, NotADirectoryError):
            raise SandboxError("the archive holds one path twice") from None
    source.drain()
    return Unpacked(folders)


def _make_folders(path: Path) -> int:
    """Make the folder ``path`` and those above it; how many there were not yet beside the folder itself."""
    missing = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    for folder in reversed(missing):
        folder.mkdir()
    return max(0, len(missing) - 1)


def _members(source: _Bytes) -> Iterator[tuple[tarfile.TarInfo, tuple[str, ...]]]:
    name: Optional[bytes] = None
    while any(block := source.exactly(tarfile.BLOCKSIZE)):
        info = _header(block)
        if info.type in (_GNU_NAME, _POSIX_RECORDS):
            name = _long_name(source, info) or name
        elif info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE):
            raise SandboxError("the archive holds a link, a device, or something else that is no file or folder")
        else:
            yield info, _checked_names(os.fsencode(info.name) if name is None else name)
            name = None


def _header(block: bytes) -> tarfile.TarInfo:
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError, OverflowError):
        raise SandboxError("the archive is damaged") from None
    if info.size < 0 or (info.type == tarfile.DIRTYPE and info.size):
        raise SandboxError("the archive is damaged")
    return info


def _long_name(source: _Bytes, info: tarfile.TarInfo) -> Optional[bytes]:
    if info.size > _LONGEST_NAME:
        raise SandboxError("the archive holds a name that is too long")
    data = source.exactly(info.size)
    source.exactly(-info.size % tarfile.BLOCKSIZE)
    if info.type == _GNU_NAME:
        return data.partition(b"\0")[0]
    return _path_record(data)


def _path_record(data: bytes) -> Optional[bytes]:
    """The path among POSIX's records ``LENGTH KEY=VALUE``; times and owners, which stand there too, are not for us."""
    path = None
    while data:
        found = re.match(rb"(\d{1,5}) ([^=]{1,200})=", data)
        length = int(found[1]) if found else 0
        if found is None or not found.end() < length <= len(data) or found[2] == b"size" or b"sparse" in found[2]:
            raise SandboxError("the archive is damaged, or of a kind that is not supported")
        if found[2] == b"path":
            path = data[found.end() : length - 1]
        data = data[length:]
    return path


def _checked_names(name: bytes) -> tuple[str, ...]:
    text = os.fsdecode(name)
    names = tuple(part for part in text.split("/") if part not in ("", "."))
    is_odd_on_windows = os.name == "nt" and any(c in text for c in "\\:")
    if text.startswith("/") or ".." in names or "\0" in text or is_odd_on_windows:
        raise SandboxError("the archive holds a path that leads out of it")
    if len(names) > _DEEPEST:
        raise SandboxError(f"the archive holds folders nested more than {_DEEPEST} deep")
    return names


def _write(source: _Bytes, path: Path, info: tarfile.TarInfo) -> None:
    left = info.size
    with open(path, "xb") as file:
        while left:
            chunk = source.some(min(left, _CHUNK))
            file.write(chunk)
            left -= len(chunk)
    source.exactly(-info.size % tarfile.BLOCKSIZE)
    os.chmod(path, info.mode & 0o777)


def _refuse_cut() -> bytes:
    raise SandboxError("the archive ends too early")
