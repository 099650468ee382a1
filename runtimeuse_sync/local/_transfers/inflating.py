"""The bytes of an archive's member, decompressed a piece at a time.

``zipfile`` bounds what it decompresses at once for deflate alone: by bzip2 and LZMA, 4 KiB become gigabytes before
anybody can count them. So it is asked for the bytes as they are stored, and they are decompressed here.
"""

from __future__ import annotations

import bz2
import copy
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, Any

# Bytes of one piece, compressed or not.
_CHUNK = 64 * 1024

# Bytes that LZMA may look back on, all of which it allocates: as many as 7-Zip takes for its highest level.
_LARGEST_DICTIONARY = 64 * 2**20


class UnknownMethodError(Exception):
    """A member that is compressed in a way that is not known here."""


def inflated(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[bytes]:
    """The content of ``member``, in pieces of 64 KiB at most.

    Raises:
        UnknownMethodError: for a way of compression other than deflate, bzip2 and LZMA.
        Exception: whatever the decompressors say of damaged bytes.
    """
    with archive.open(_as_stored(member)) as raw:
        if member.compress_type == zipfile.ZIP_STORED:
            yield from iter(lambda: raw.read(_CHUNK), b"")
        elif member.compress_type == zipfile.ZIP_DEFLATED:
            yield from _deflated(raw)
        elif member.compress_type == zipfile.ZIP_BZIP2:
            yield from _decompressed(raw, bz2.BZ2Decompressor())
        elif member.compress_type == zipfile.ZIP_LZMA:
            yield from _decompressed(raw, _lzma_decompressor(raw))
        else:
            raise UnknownMethodError


def _as_stored(member: zipfile.ZipInfo) -> zipfile.ZipInfo:
    """``member`` as if it were not compressed, and had no checksum, which is that of the content."""
    stored = copy.copy(member)
    stored.compress_type, stored.file_size = zipfile.ZIP_STORED, member.compress_size
    del stored.CRC
    return stored


def _deflated(raw: IO[bytes]) -> Iterator[bytes]:
    inflator = zlib.decompressobj(-zlib.MAX_WBITS)
    while not inflator.eof:
        data = inflator.unconsumed_tail or raw.read(_CHUNK)
        piece = inflator.decompress(data, _CHUNK)
        # No more comes in, and no more comes out: the member is cut short, as its size will tell.
        if not (data or piece):
            return
        yield piece


def _decompressed(raw: IO[bytes], decompressor: Any) -> Iterator[bytes]:
    """By ``bz2`` or ``lzma``, which keep what they have not used yet."""
    while not decompressor.eof:
        data = raw.read(_CHUNK) if decompressor.needs_input else b""
        # A member of LZMA need not tell its end.
        if decompressor.needs_input and not data:
            return
        yield decompressor.decompress(data, _CHUNK)


def _lzma_decompressor(raw: IO[bytes]) -> lzma.LZMADecompressor:
    """A decompressor with the settings at the beginning of ``raw``: a version, their length, and the settings."""
    _, length, bits, dictionary = struct.unpack("<HHBL", raw.read(9))
    if length != 5 or dictionary > _LARGEST_DICTIONARY:
        raise UnknownMethodError
    rest, lc = divmod(bits, 9)
    pb, lp = divmod(rest, 5)
    settings = {"id": lzma.FILTER_LZMA1, "dict_size": dictionary, "lc": lc, "lp": lp, "pb": pb}
    return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[settings])
