"""The connection thread as a thread: its start, which cannot hang, its end, and why there can be no more of them."""

from __future__ import annotations

import math
import os
import threading
from typing import Callable, Optional

from .._common.deadline import Deadline

# Seconds of a join in one go: on Windows, Ctrl-C waits for its end. Elsewhere, nothing need wake up before that.
_JOIN_STEP = 0.25 if os.name == "nt" else math.inf
# Seconds to wait, at its end, for a thread that has not begun. It need not be awaited: it will do nothing.
_BEGIN_WAIT = 0.2


class _Begun(threading.Event):
    """Set when a thread begins. Only who gives a limit waits for it; ``Thread.start`` gives none."""

    def wait(self, timeout: Optional[float] = None) -> bool:
        return self.is_set() if timeout is None else super().wait(timeout)


class ConnectionThread(threading.Thread):
    """A daemon thread whose ``start`` returns at once.

    ``Thread.start`` waits until the new thread has begun, and for ever if that dies before it has: for want of memory,
    or by an exception that another thread sets in it (CPython issue 140746). The caller has nothing to do but to wait
    for the first message anyway, and that wait has a limit.
    """

    def __init__(self, target: Callable[[], None]) -> None:
        super().__init__(target=target, name="runtimeuse-connection", daemon=True)
        self._started = _Begun()  # in the place of Thread's own

    def join_by(self, deadline: Deadline) -> None:
        """Wait for its end, but not beyond ``deadline``."""
        if self._started.wait(min(_BEGIN_WAIT, deadline.remaining())):
            while self.is_alive() and not deadline.expired:
                self.join(min(_JOIN_STEP, deadline.remaining()))


def why_not_started(error: Exception) -> str:
    """What to say when a thread cannot be started, and what to do about it."""
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
