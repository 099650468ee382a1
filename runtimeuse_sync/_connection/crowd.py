"""Which of a process's open connections have a thread of their own, and which share one.

A thread that waits for the GIL wakes up every 5 ms (the switch interval) to ask for it. When thousands of threads have
something to do at the same moment, since a server has restarted for example, these wake-ups take all the CPU: 2,000
connections, with a thread each, took more than a minute to end; now they take a second.
"""

from __future__ import annotations

import os
import selectors
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Optional

from .shared import Member, SharedThread, Stay

# The number of open connections of a process that have a thread each. It serves a connection sooner than a shared one,
# and so few never contend for the GIL in a way that is felt.
OWN_THREADS = 256
# A plain select(), all that Windows has, takes no more than 512 sockets.
CAN_SHARE = not issubclass(selectors.DefaultSelector, selectors.SelectSelector)


class Crowd:
    """The open connections of this process: which have a thread of their own, and the thread of the others."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew: in a forked child, the threads do not exist, and one of them may have held the lock."""
        # Each change is one atomic operation, so this needs no lock.
        self._own = deque(range(OWN_THREADS))
        self._lock = threading.Lock()
        self._shared: Optional[SharedThread] = None  # guarded by _lock

    @contextmanager
    def own_thread(self) -> Iterator[bool]:
        """Whether the connection that this thread has opened may keep it, in the ``with`` block."""
        try:
            number = self._own.pop()
        except IndexError:
            yield not CAN_SHARE
            return
        try:
            yield True
        finally:
            self._own.append(number)

    def take(self, member: Member) -> Optional[Stay]:
        """Leave ``member`` to the thread that is shared; None if that cannot be started."""
        with self._lock:
            stay = self._shared.add(member) if self._shared is not None else None
            if stay is None:
                self._shared, stay = self._begin_with(member)
        return stay

    def _begin_with(self, member: Member) -> tuple[Optional[SharedThread], Optional[Stay]]:
        try:
            thread = SharedThread()
            stay = thread.add(member)
            return (thread, stay) if thread.start() else (None, None)
        except (OSError, RuntimeError, MemoryError):  # no descriptor, or no thread, to be had
            return None, None


crowd = Crowd()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=crowd.forget)
