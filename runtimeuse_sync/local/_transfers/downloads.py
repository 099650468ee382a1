"""What a request wants fetched before it begins: files, and zip archives unpacked, never outside their folder."""

from __future__ import annotations

import os
import posixpath
import stat
import threading
import urllib.parse
import zipfile
from pathlib import Path, PurePosixPath

from ...exceptions import CancelledException
from ...messages import RuntimeEnvironmentDownloadableInterface
from . import http
from .files import is_inside, scratch_path

_ZIP_TYPES = ("application/zip", "application/x-zip-compressed")
_CHUNK = 256 * 1024


class DownloadError(Exception):
    """A download that failed, in words that are fit for a message."""


def fetch(item: RuntimeEnvironmentDownloadableInterface, *, limit: int, cancelled: threading.Event) -> None:
    """Download ``item`` into its ``working_dir``; a zip archive is unpacked there.

    Args:
        item: the URL and the directory, which is made if need be.
        limit: bytes that the download, and what an archive unpacks to, may have.
        cancelled: ends the download when set.

    Raises:
        DownloadError: for whatever went wrong.
        CancelledException: if ``cancelled`` was set.
    """
    try:
        _fetch(item.download_url, Path(os.path.realpath(item.working_dir)), limit, cancelled)
    except OSError as error:
        raise DownloadError(f"download failed: {http.reason_of(error)}") from None
    except (http.TransferError, _RefusedError) as error:
        raise DownloadError(f"download failed: {error}") from None


class _RefusedError(Exception):
    """What was downloaded is not acceptable."""


def _fetch(url: str, folder: Path, limit: int, cancelled: threading.Event) -> None:
    name = _name(url)
    folder.mkdir(parents=True, exist_ok=True)
    with scratch_path(folder) as path:
        with open(path, "xb") as file:
            content_type = http.download(url, file, limit=limit, cancelled=cancelled)
        if name.lower().endswith(".zip") or content_type in _ZIP_TYPES:
            _unpack(path, folder, limit, cancelled)
        else:
            os.replace(path, folder / name)


def _name(url: str) -> str:
    try:
        path = urllib.parse.urlsplit(url).path
    except ValueError:
        raise _RefusedError("the URL is not valid") from None
    name = urllib.parse.unquote(posixpath.basename(path)) or "download"
    if name in (".", "..") or any(c in name for c in "/\\\0"):
        raise _RefusedError("its name is not a file name")
    return name


def _unpack(path: Path, folder: Path, limit: int, cancelled: threading.Event) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            for member in members:
                _check(member, folder)
            for member in members:
                limit -= _extract(archive, member, folder, limit, cancelled)
    except (_RefusedError, CancelledException, OSError):
        raise
    except Exception:  # noqa: BLE001 - zipfile raises anything at all, from RuntimeError to struct.error
        raise _RefusedError("the archive is damaged, encrypted or of an unknown kind") from None


def _check(member: zipfile.ZipInfo, folder: Path) -> None:
    """Refuse what leads out of ``folder``. All members are checked before the first is unpacked."""
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _RefusedError("the archive holds a link or a device")
    name = PurePosixPath(member.filename.replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts or ":" in name.parts[:1][0:1]:
        raise _RefusedError("the archive holds a path outside its folder")
    # A link that was there before, or that an earlier download made, may lead out as well.
    if not is_inside((folder / name).parent, folder):
        raise _RefusedError("the archive holds a path outside its folder")


def _extract(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path, limit: int, cancelled: threading.Event
) -> int:
    target = folder / member.filename
    if member.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        return 0
    target.parent.mkdir(parents=True, exist_ok=True)
    with scratch_path(target.parent) as path:
        size = _inflate(archive, member, path, limit, cancelled)
        if member.external_attr >> 16 & 0o111:
            mode = path.stat().st_mode
            os.chmod(path, mode | (mode & 0o444) >> 2)
        os.replace(path, target)
    return size


def _inflate(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path, limit: int, cancelled: threading.Event
) -> int:
    """Counts what comes out: what the archive says of its sizes may be a lie."""
    size = 0
    with archive.open(member) as source, open(path, "xb") as file:
        for chunk in iter(lambda: source.read(_CHUNK), b""):
            size += len(chunk)
            if size > limit:
                raise _RefusedError("the archive unpacks to more than the limit")
            if cancelled.is_set():
                raise CancelledException
            file.write(chunk)
    return size
