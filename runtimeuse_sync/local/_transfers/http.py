"""Streaming downloads and uploads by the standard library; errors name causes, never URLs: those carry signatures."""

from __future__ import annotations

import http.client
import os
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any, Optional

from ..._common.hosts import is_loopback
from ...exceptions import CancelledException
from .._cancel_event import calling_when_set
from .abortable import HTTPHandler, HTTPSHandler, Sockets
from .files import open_regular

# Bytes of one read.
_CHUNK = 256 * 1024

# Characters of a URL: several times what servers take, and little enough for the cache of urllib.parse to keep.
_LONGEST_URL = 64 * 1024

# Characters of a status's reason, which a server may choose.
_LONGEST_REASON = 80

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
    """Copy what is at ``url`` to ``target``, in chunks; returns its content type.

    Raises:
        TransferError: if it could not be had, or is larger than ``limit``.
        CancelledException: if ``cancelled`` was set, at once, however long the server is silent.
    """
    with _cancelled_by(cancelled) as sockets, closing(_open(urllib.request.Request(checked(url)), sockets)) as response:
        promised = _length(response.headers.get("Content-Length"))
        if promised is not None and promised > limit:
            raise _too_large(limit)
        size = _copy(response, target, limit)
        # read(n) reports a body that was cut short as its end.
        if promised is not None and size != promised:
            raise TransferError("the connection ended early", transient=True)
        return str(response.headers.get_content_type())


@contextmanager
def _cancelled_by(cancelled: threading.Event) -> Iterator[Sockets]:
    """Sockets that are shut down when ``cancelled`` is set; what breaks by it is a ``CancelledException``."""
    sockets = Sockets()
    try:
        with calling_when_set(cancelled, sockets.abort):
            yield sockets
    except TransferError:
        if not cancelled.is_set():
            raise
    finally:
        sockets.close()
    if cancelled.is_set():
        raise CancelledException


def _length(header: Optional[str]) -> Optional[int]:
    """The value of ``Content-Length``. int() alone would take signs, spaces and the digits of other scripts."""
    if header is None:
        return None
    # A number of more digits is larger than any file.
    if not (header.isascii() and header.isdecimal() and len(header) < 20):
        raise TransferError("the Content-Length of the answer is not valid")
    return int(header)


def _too_large(limit: int) -> TransferError:
    return TransferError(f"it is larger than the limit of {limit} bytes")


def _copy(source: Any, target: IO[bytes], limit: int) -> int:
    size = 0
    for chunk in iter(lambda: _read(source), b""):
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        target.write(chunk)
    return size


def _read(source: Any) -> bytes:
    try:
        return bytes(source.read(_CHUNK))
    except (OSError, http.client.HTTPException) as error:
        raise TransferError(reason_of(error), transient=True) from None


def upload(path: Path, url: str, content_type: str, *, cancelled: threading.Event) -> None:
    """PUT the regular file at ``path`` to ``url``, in chunks.

    Raises:
        TransferError: if the server did not take it.
        CancelledException: if ``cancelled`` was set, at once.
        OSError: if it is no regular file, or cannot be read.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        # Without the length, it would go out chunked, which object stores refuse for a presigned PUT.
        headers = {"Content-Type": content_type, "Content-Length": str(size)}
        body: Any = _Body(file, size)
        request = urllib.request.Request(checked(url), data=body, headers=headers, method="PUT")
        with _cancelled_by(cancelled) as sockets, closing(_open(request, sockets)) as response:
            _read(response)


class _Body:
    """The first ``size`` bytes of a file: it may grow while it is sent, and the length is already promised."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._left = size

    def read(self, _: int = 0) -> bytes:
        # Larger blocks than the 8 KiB that http.client asks for.
        chunk = self._file.read(min(_CHUNK, self._left))
        if self._left and not chunk:
            raise TransferError("the file became shorter while it was sent", transient=True)
        self._left -= len(chunk)
        return chunk


def checked(url: str) -> str:
    """``url`` with its spaces and other characters quoted.

    Raises:
        TransferError: if it is no http or https URL.
    """
    if len(url) > _LONGEST_URL:
        raise TransferError(f"the URL is longer than {_LONGEST_URL} characters")
    try:
        parts = urllib.parse.urlsplit(url)
        host, _ = parts.hostname, parts.port
        # urllib.request refuses spaces and non-ASCII characters, which people write and browsers quote.
        quoted = urllib.parse.quote(url, safe="!#$%&'()*+,/:;=?@[]~")
    except ValueError:
        raise TransferError("the URL is not valid") from None
    if parts.scheme not in ("http", "https") or not host:
        raise TransferError("the URL is not an http or https one")
    return quoted


def _open(request: urllib.request.Request, sockets: Sockets) -> Any:
    try:
        return _opener(request.host, sockets).open(request, timeout=_STALLED)
    except urllib.error.HTTPError as error:
        error.close()
        raise TransferError(_status(error), transient=error.code >= 500) from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise TransferError(reason_of(error), transient=isinstance(error, OSError)) from None


def _status(error: urllib.error.HTTPError) -> str:
    """Such as ``404 Not Found``: the words of the real runtimes, which users match on."""
    reason = "".join(c for c in str(error.reason) if " " <= c <= "~")[:_LONGEST_REASON]
    return f"{error.code} {reason}".strip()


def reason_of(error: BaseException) -> str:
    """The system's text for ``error``, without URLs, to be sent in a message."""
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, BaseException):
        error = error.reason
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    # What other exceptions say may quote the URL.
    return type(error).__name__


def _opener(host: str, sockets: Sockets) -> urllib.request.OpenerDirector:
    """HTTP and HTTPS alone: urllib's default would open file: and ftp: URLs, by redirect too."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        # The environment's proxy cannot reach this machine's loopback.
        urllib.request.ProxyHandler({} if _is_loopback(host) else None),
        HTTPHandler(sockets),
        HTTPSHandler(sockets),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


def _is_loopback(host: str) -> bool:
    return is_loopback(urllib.parse.urlsplit(f"//{host}").hostname or "")
