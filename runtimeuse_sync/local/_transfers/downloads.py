"""The downloads of a request: files, and zip archives to unpack, which are never written outside their folder."""

from __future__ import annotations

import os
import posixpath
import threading
import urllib.parse
from pathlib import Path
from typing import IO

from ...messages import RuntimeEnvironmentDownloadableInterface
from . import data_urls, http
from .archives import ArchiveError, unpack
from .files import scratch_path

_ZIP_TYPES = ("application/zip", "application/x-zip-compressed")


class DownloadError(Exception):
    """A download that failed, in words that are fit for a message."""


class _NameError(Exception):
    """A URL that does not give a file name."""


def fetch(item: RuntimeEnvironmentDownloadableInterface, *, limit: int, cancelled: threading.Event) -> None:
    """Download ``item`` into its ``working_dir``; a zip archive is unpacked there.

    Args:
        item: the URL (http, https or data) and the directory, which is made if need be.
        limit: bytes that the download, and what an archive unpacks to, may have.
        cancelled: ends the download when set.

    Raises:
        DownloadError: for whatever went wrong.
        CancelledException: if ``cancelled`` was set.
    """
    # The words of the real runtimes, which users match on: "Download failed: 404 Not Found".
    try:
        _fetch(item.download_url, Path(os.path.realpath(item.working_dir)), limit, cancelled)
    except OSError as error:
        raise DownloadError(f"Download failed: {http.reason_of(error)}") from None
    except ValueError:
        raise DownloadError("Download failed: its name or its folder's is none that a file can have") from None
    except (http.TransferError, data_urls.DataURLError, ArchiveError, _NameError) as error:
        raise DownloadError(f"Download failed: {error}") from None


def _fetch(url: str, folder: Path, limit: int, cancelled: threading.Event) -> None:
    name = _name(url)
    folder.mkdir(parents=True, exist_ok=True)
    with scratch_path(folder) as path:
        with open(path, "xb") as file:
            content_type = _transfer(url, file, limit, cancelled)
        if name.lower().endswith(".zip") or content_type in _ZIP_TYPES:
            unpack(path, folder, limit=limit, cancelled=cancelled)
        else:
            os.replace(path, folder / name)


def _transfer(url: str, file: IO[bytes], limit: int, cancelled: threading.Event) -> str:
    """Write what is at ``url`` to ``file``; the content type, where it counts: of a data: URL, the name alone does."""
    if data_urls.is_data_url(url):
        data_urls.write(url, file, limit=limit, cancelled=cancelled)
        return ""
    return http.download(url, file, limit=limit, cancelled=cancelled)


def _name(url: str) -> str:
    name = data_urls.file_name(url) if data_urls.is_data_url(url) else _last_segment(http.checked(url))
    if name in ("", ".", "..") or any(c in name for c in "/\\\0"):
        raise _NameError("its name is not a file name")
    return name


def _last_segment(url: str) -> str:
    return urllib.parse.unquote(posixpath.basename(urllib.parse.urlsplit(url).path)) or "download"
