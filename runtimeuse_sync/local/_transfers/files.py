"""Files that appear whole or not at all, and never outside the folder that they are meant for."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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


def is_inside(path: Path, folder: Path) -> bool:
    """Whether ``path``, its links followed, is ``folder`` or below it."""
    real, root = os.path.realpath(path), os.path.realpath(folder)
    return real == root or real.startswith(os.path.join(root, ""))
