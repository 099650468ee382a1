"""A file lock that tells whether a process still writes. The system releases it however the process ends."""

from __future__ import annotations

import contextlib

try:
    import fcntl
except ImportError:  # Windows: not known.
    fcntl = None  # type: ignore[assignment]


def lock(descriptor: int) -> None:
    """Hold the file for as long as ``descriptor`` is open, together with whoever else writes to it."""
    if fcntl is not None:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_SH)


def may_be_locked(descriptor: int) -> bool:
    """Whether a process may hold the lock; False if certainly none does."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False
