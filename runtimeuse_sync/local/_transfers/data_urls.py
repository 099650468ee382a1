"""``data:`` URLs as downloads: the bytes are the URL, and the file's name is what stands behind its last slash."""

from __future__ import annotations

import binascii
import re
import threading
import urllib.parse
from collections.abc import Iterator
from typing import IO

from ...exceptions import CancelledException

_SCHEME = "data:"

# Characters that are decoded at once: urllib makes an object of every escape.
_CHUNK = 64 * 1024

# Characters of a name, each of which may be escaped as twelve. No file system takes longer ones.
_LONGEST_NAME = 255 * 12

_WHITESPACE = re.compile(rb"[\t\n\f\r ]+")


class DataURLError(Exception):
    """A ``data:`` URL that cannot be read, in words that are fit for a message."""


def is_data_url(url: str) -> bool:
    """Whether ``url`` is one.

    >>> is_data_url("DATA:,x"), is_data_url("https://example.com/data:")
    (True, False)
    """
    return url[: len(_SCHEME)].lower() == _SCHEME


def file_name(url: str) -> str:
    """The part of ``url`` after its last slash, decoded; without a slash, all after the scheme.

    Query and fragment do not belong to it, as in any URL.

    Raises:
        DataURLError: if it is too long, or no text.

    >>> file_name("data:text/plain;base64,aGVsbG8=/a%20b.txt")
    'a b.txt'
    """
    ends = [at for at in (url.find("?"), url.find("#")) if at >= 0]
    end = min(ends, default=len(url))
    start = max(url.rfind("/", 0, end) + 1, len(_SCHEME))
    if end - start > _LONGEST_NAME:
        raise DataURLError("its name is too long: a data: URL has to end in a slash and a file name")
    try:
        return urllib.parse.unquote(url[start:end], errors="strict")
    except UnicodeDecodeError:
        raise DataURLError("its name is not text") from None


def write(url: str, target: IO[bytes], *, limit: int, cancelled: threading.Event) -> None:
    """Write the bytes of ``url`` to ``target``.

    Raises:
        DataURLError: if there are more than ``limit``, or it is malformed.
        CancelledException: if ``cancelled`` was set.
    """
    comma = url.find(",")
    if comma < 0:
        raise DataURLError("the data: URL has no comma")
    end = url.find("#")
    pieces = _unquoted(url, comma + 1, len(url) if end < comma else end)
    # Whitespace around the word is allowed: the standard is that of browsers.
    is_base64 = url[:comma].rpartition(";")[2].strip(" ").lower() == "base64"
    size = 0
    for piece in _from_base64(pieces) if is_base64 else pieces:
        size += len(piece)
        if size > limit:
            raise DataURLError(f"it is larger than the limit of {limit} bytes")
        if cancelled.is_set():
            raise CancelledException
        target.write(piece)


def _unquoted(url: str, start: int, end: int) -> Iterator[bytes]:
    """The part of ``url`` with its escapes decoded, a piece at a time; no escape is cut in two."""
    while start < end:
        stop = min(start + _CHUNK, end)
        escape = url.find("%", max(start, stop - 2), stop)
        # At least one character, or a "%" that begins no escape would never be passed.
        if start < escape and stop < end:
            stop = escape
        try:
            yield urllib.parse.unquote_to_bytes(url[start:stop])
        except UnicodeEncodeError:
            raise DataURLError("the data: URL is not text") from None
        start = stop


def _from_base64(pieces: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        rest += _WHITESPACE.sub(b"", piece)
        # The end, which may hold padding, is decoded last.
        whole = max(0, (len(rest) - 4) // 4 * 4)
        yield _decoded(rest[:whole])
        rest = rest[whole:]
    if len(rest) % 4 == 0:
        rest = rest[:-2] + rest[-2:].rstrip(b"=")
    yield _decoded(rest)


def _decoded(digits: bytes) -> bytes:
    """Base64 without its padding."""
    try:
        decoded = binascii.a2b_base64(digits + b"=" * (-len(digits) % 4))
    except binascii.Error:
        decoded = b""
    # a2b_base64 passes over what is no digit.
    if b"=" in digits or len(decoded) != len(digits) * 3 // 4:
        raise DataURLError("the base64 of the data: URL is not valid")
    return decoded
