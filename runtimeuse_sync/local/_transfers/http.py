"""Streaming downloads and uploads by the standard library; errors name causes, never URLs: those carry signatures."""

from __future__ import annotations

import http.client
import os
import threading
import urllib.error
import urllib.parse
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import IO, Any

from ..._common.hosts import is_loopback
from ...exceptions import CancelledException

_CHUNK = 256 * 1024

# Seconds that one read or write may take: a peer that says nothing for so long is gone.
_STALLED = 30.0


class TransferError(Exception):
    """A transfer that failed, in words that are fit for a message.

    Attributes:
        transient (bool): whether trying again may help.
    """

    def __init__(self, reason: str, *, transient: bool = False) -> None:
        super().__init__(reason)
        self.transient = transient


def download(url: str, target: IO[bytes], *, limit: int, cancelled: threading.Event) -> str:
    """Copy what is at ``url`` to ``target``, in chunks; returns its content type."""
    with closing(_open(urllib.request.Request(_checked(url)))) as response:
        size = _copy(response, target, limit, cancelled)
        promised = response.headers.get("Content-Length")
        # read(n) reports a body that was cut short as its end.
        if promised is not None and size != int(promised):
            raise TransferError("the connection ended early", transient=True)
        return str(response.headers.get_content_type())


def _copy(source: Any, target: IO[bytes], limit: int, cancelled: threading.Event) -> int:
    size = 0
    for chunk in iter(lambda: _read(source), b""):
        size += len(chunk)
        if size > limit:
            raise TransferError(f"it is larger than the limit of {limit} bytes")
        if cancelled.is_set():
            raise CancelledException
        target.write(chunk)
    return size


def _read(source: Any) -> bytes:
    try:
        return bytes(source.read(_CHUNK))
    except (OSError, http.client.HTTPException) as error:
        raise TransferError(reason_of(error), transient=True) from None


def upload(path: Path, url: str, content_type: str, *, cancelled: threading.Event) -> None:
    """PUT the file at ``path`` to ``url``, in chunks."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        # Without the length, it would go out chunked, which object stores refuse for a presigned PUT.
        headers = {"Content-Type": content_type, "Content-Length": str(size)}
        body: Any = _Body(file, size, cancelled)
        request = urllib.request.Request(_checked(url), data=body, headers=headers, method="PUT")
        with closing(_open(request)) as response:
            _read(response)


class _Body:
    """The first ``size`` bytes of a file: it may grow while it is sent, and the length is already promised."""

    def __init__(self, file: IO[bytes], size: int, cancelled: threading.Event) -> None:
        self._file = file
        self._left = size
        self._cancelled = cancelled

    def read(self, _: int = 0) -> bytes:
        # Larger blocks than the 8 KiB that http.client asks for.
        if self._cancelled.is_set():
            raise CancelledException
        chunk = self._file.read(min(_CHUNK, self._left))
        if self._left and not chunk:
            raise TransferError("the file became shorter while it was sent", transient=True)
        self._left -= len(chunk)
        return chunk


def _checked(url: str) -> str:
    try:
        parts = urllib.parse.urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise TransferError("the URL is not valid") from None
    if parts.scheme not in ("http", "https") or not host:
        raise TransferError("the URL is not an http or https one")
    # urllib.request refuses spaces and non-ASCII characters, which people write and browsers quote.
    return urllib.parse.quote(url, safe="!#$%&'()*+,/:;=?@[]~")


def _open(request: urllib.request.Request) -> Any:
    try:
        return _opener(request.host).open(request, timeout=_STALLED)
    except urllib.error.HTTPError as error:
        error.close()
        raise TransferError(f"HTTP status {error.code}", transient=error.code >= 500) from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise TransferError(reason_of(error), transient=isinstance(error, OSError)) from None


def reason_of(error: BaseException) -> str:
    """What the system says of ``error``, in words that are fit for a message."""
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, BaseException):
        error = error.reason
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    # What other exceptions say may quote the URL.
    return type(error).__name__


def _opener(host: str) -> urllib.request.OpenerDirector:
    """HTTP and HTTPS alone: urllib's default would open file: and ftp: URLs, by redirect too."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        # The environment's proxy cannot reach this machine's loopback.
        urllib.request.ProxyHandler({} if _is_loopback(host) else None),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


def _is_loopback(host: str) -> bool:
    return is_loopback(urllib.parse.urlsplit(f"//{host}").hostname or "")
