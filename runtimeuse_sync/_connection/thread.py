"""The ``Thread`` class of the connection thread, whose start and join cannot hang, and the error if it cannot start."""

from __future__ import annotations

import math
import os
import threading
from typing import Callable, Optional

from .._common.deadline import Deadline

# Seconds of one join. On Windows, Ctrl-C takes effect only when a join ends; elsewhere a join may be of any length.
_JOIN_STEP = 0.25 if os.name == "nt" else math.inf
# Seconds for a thread to begin to run. One that has not begun by then has died before it could, even on a busy machine.
BEGIN_LIMIT = 60.0
# Seconds that a join waits for a thread that has not begun to run. When it begins, it will end at once.
_BEGIN_WAIT = 0.2


class _Begun(threading.Event):
    """Set when a thread begins to run. A ``wait`` without a limit, as in ``Thread.start``, does not wait at all."""

    def wait(self, timeout: Optional[float] = None) -> bool:
        return self.is_set() if timeout is None else super().wait(timeout)


class ConnectionThread(threading.Thread):
    """A daemon thread whose ``start`` returns at once.

    ``Thread.start`` waits until the new thread has begun to run, and waits for ever if that dies first: for lack of
    memory, or by an exception that another thread sets in it (CPython issue 140746). The caller waits for the first
    message anyway, and that wait has a limit.
    """

    def __init__(self, target: Callable[[], None]) -> None:
        super().__init__(target=target, name="runtimeuse-connection", daemon=True)
        self._started = _Begun()  # replaces Thread's own Event

    def has_begun_by(self, deadline: Deadline) -> bool:
        """Wait until it runs; return False if it does not by ``deadline``."""
        return self._started.wait(min(deadline.remaining(), threading.TIMEOUT_MAX))

    def join_by(self, deadline: Deadline) -> None:
        """Wait for the thread's end, until ``deadline`` at most."""
        if self.has_begun_by(deadline.earlier(Deadline(_BEGIN_WAIT))):
            while self.is_alive() and not deadline.expired:
                self.join(min(_JOIN_STEP, deadline.remaining()))


def why_not_started(error: Exception) -> str:
    """The error text for a thread that could not be started, with advice."""
    said = str(error) or "out of memory"
    return (
        f"{said}; {threading.active_count()} run in this process. The limit is that of the user's processes "
        f"(RLIMIT_NPROC, ulimit -u{_process_limit()}), of the container's (pids.max), or the memory for their stacks: "
        "raise it, or make fewer calls at once"
    )


def _process_limit() -> str:
    try:
        import resource
    except ImportError:  # Windows
        return ""
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    return "" if soft == resource.RLIM_INFINITY else f": {soft}"
