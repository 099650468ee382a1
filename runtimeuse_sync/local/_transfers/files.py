"""Helpers for files: opening regular files only, writing a file completely or not at all, checking its folder."""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Union

# Without O_NONBLOCK, opening a FIFO waits for its other end. Windows has neither FIFOs nor the flag, but text mode.
_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)

# Control characters, line separators, and lone surrogates, which UTF-8 cannot encode.
_HARMFUL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


@contextmanager
def scratch_path(folder: Path) -> Iterator[Path]:
    """A path in ``folder`` for a new file, removed at the end unless it was moved away.

    It is opened by the caller, with mode ``"xb"``: such a file gets the permissions that the user's umask
    gives, which one of ``tempfile`` does not.
    """
    path = folder / f".incoming-{secrets.token_hex(8)}"
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def is_inside(path: Union[str, Path], folder: Union[str, Path]) -> bool:
    """Whether ``path``, its links followed, is ``folder`` or below it."""
    real, root = os.path.realpath(path), os.path.realpath(folder)
    return real == root or real.startswith(os.path.join(root, ""))


def open_regular(path: Union[str, Path]) -> BinaryIO:
    """Open ``path`` to read it, if it is a regular file. Waits for nothing: a FIFO's other end may never come.

    Raises:
        OSError: if it is no regular file, or cannot be opened.
    """
    descriptor = os.open(path, _READ)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    raise OSError(errno.EINVAL, "Not a regular file")


def harmless(name: str, mark: str = "\ufffd") -> str:
    """``name`` with ``mark`` for each character that does harm when it is printed, or that is no text.

    >>> from runtimeuse_sync.local._transfers.files import harmless
    >>> harmless("a\\x1b[2J.txt", "_")
    'a_[2J.txt'
    """
    return _HARMFUL.sub(mark, name)
