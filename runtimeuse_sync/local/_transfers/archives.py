"""Unpacking of zip archives: never outside of their folder, limited in size, and cancellable at any time."""

from __future__ import annotations

import io
import os
import stat
import threading
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NoReturn, Optional

from ...exceptions import CancelledException
from .files import is_inside, scratch_path
from .inflating import UnknownMethodError, inflated

# Members, and bytes of the directory that lists them. zipfile reads it whole, before anybody can cancel: 100,000
# members take half a second and 70 MiB.
_MOST_MEMBERS = 100_000
_LARGEST_DIRECTORY = 32 * 2**20

# What the entry of each member in the directory begins with.
_ENTRY = b"PK\1\2"

# Folders inside of each other: the paths of all systems hold fewer.
_DEEPEST = 200

# The flags of an encrypted member, of strong encryption, and of an encrypted directory.
_ENCRYPTED = 0x1 | 0x40 | 0x2000


class ArchiveError(Exception):
    """An archive that is not acceptable, in words that are fit for a message."""


def unpack(path: Path, folder: Path, *, limit: int, cancelled: threading.Event) -> None:
    """Unpack the archive at ``path`` in ``folder``.

    Args:
        path: the archive.
        folder: where its files go; it exists.
        limit: bytes that all its files may have together.
        cancelled: ends it when set.

    Raises:
        ArchiveError: if it is damaged, encrypted, too large, or leads out of ``folder``.
        CancelledException: if ``cancelled`` was set.
        OSError: if the disk does not take it.
    """
    try:
        with _Archive(io.FileIO(path)) as file, zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            _check_all(members, folder, cancelled)
            for member in members:
                limit -= _extract(archive, member, folder, limit, cancelled)
    except (ArchiveError, CancelledException):
        raise
    except UnknownMethodError:
        raise ArchiveError("the archive is compressed in a way that is not supported") from None
    except Exception as error:
        # bz2 has an OSError without a number for damaged bytes.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        # zipfile raises anything at all, from RuntimeError to struct.error.
        _refuse_damaged()


class _Archive(io.BufferedReader):
    """The file of an archive. ``zipfile`` reads the directory at its end in one piece, and here that is bounded."""

    def read(self, size: Optional[int] = -1) -> bytes:
        left = os.fstat(self.fileno()).st_size - self.tell()
        wanted = left if size is None or size < 0 else min(size, left)
        if wanted > _LARGEST_DIRECTORY:
            _refuse_too_many()
        data = super().read(wanted)
        if data.count(_ENTRY) > _MOST_MEMBERS:
            _refuse_too_many()
        return data


def _check_all(members: Sequence[zipfile.ZipInfo], folder: Path, cancelled: threading.Event) -> None:
    """Refuse what leads out of ``folder``, before the first member is unpacked."""
    parents: set[PurePosixPath] = set()
    for member in members:
        if cancelled.is_set():
            raise CancelledException
        name = _checked_name(member)
        # A link that was there before, or that an earlier download made, may lead out as well.
        if name.parent not in parents and not is_inside(folder / name.parent, folder):
            _refuse_outside()
        parents.add(name.parent)


def _checked_name(member: zipfile.ZipInfo) -> PurePosixPath:
    if member.flag_bits & _ENCRYPTED:
        raise ArchiveError("the archive is encrypted")
    if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise ArchiveError("the archive holds a link or a device")
    name = PurePosixPath(member.filename.replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts or _leads_out_on_windows(member.filename):
        _refuse_outside()
    if len(name.parts) > _DEEPEST:
        raise ArchiveError(f"the archive holds more than {_DEEPEST} folders inside of each other")
    return name


def _leads_out_on_windows(name: str, *, is_windows: bool = os.name == "nt") -> bool:
    r"""Whether ``name`` is absolute there; on Windows itself, any colon names a drive or a stream.

    >>> _leads_out_on_windows(r"C:\x"), _leads_out_on_windows("C:x"), _leads_out_on_windows("C:x", is_windows=True)
    (True, False, True)
    """
    return bool(PureWindowsPath(name).root) or (is_windows and ":" in name)


def _refuse_too_many() -> NoReturn:
    raise ArchiveError(f"the archive holds more than {_MOST_MEMBERS} files, or names that are too long")


def _refuse_outside() -> NoReturn:
    raise ArchiveError("the archive holds a path outside its folder")


def _refuse_damaged() -> NoReturn:
    raise ArchiveError("the archive is damaged, or of an unknown kind") from None


def _extract(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path, limit: int, cancelled: threading.Event
) -> int:
    if cancelled.is_set():
        raise CancelledException
    target = folder / member.filename
    if member.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        return 0
    target.parent.mkdir(parents=True, exist_ok=True)
    with scratch_path(target.parent) as path:
        size = _write(archive, member, path, limit, cancelled)
        if member.external_attr >> 16 & 0o111:
            mode = path.stat().st_mode
            os.chmod(path, mode | (mode & 0o444) >> 2)
        os.replace(path, target)
    return size


def _write(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path, limit: int, cancelled: threading.Event
) -> int:
    """Counts what comes out: what the archive says of its sizes may be a lie."""
    size, checksum = 0, 0
    with open(path, "xb") as file:
        for piece in inflated(archive, member):
            size += len(piece)
            if size > limit:
                raise ArchiveError("the archive unpacks to more than the limit")
            if cancelled.is_set():
                raise CancelledException
            checksum = zlib.crc32(piece, checksum)
            file.write(piece)
    if (size, checksum) != (member.file_size, member.CRC):
        _refuse_damaged()
    return size
