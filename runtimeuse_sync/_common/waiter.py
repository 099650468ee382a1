"""One thread that waits, and whatever wakes it."""

from __future__ import annotations

import threading


class Waiter:
    """A binary semaphore: ``wake`` lets one ``wait`` return, the one under way or else the next.

    ``wake`` may be called from any thread, a signal handler and a finalizer; an Event's ``set`` may not, for it takes
    a lock that its interrupted thread may hold.

    >>> waiter = Waiter()
    >>> waiter.wake()
    >>> waiter.wait(60.0)
    True
    >>> waiter.wait(0.001)
    False
    """

    def __init__(self) -> None:
        self._semaphore = threading.Lock()  # used as a binary semaphore: taken while there is nothing to wake up for
        self._semaphore.acquire()

    def wake(self) -> None:
        try:
            self._semaphore.release()
        except RuntimeError:  # it has been woken already
            pass

    def wait(self, timeout: float) -> bool:
        """Wait ``timeout`` seconds at most; whether it was woken."""
        return self._semaphore.acquire(timeout=min(timeout, threading.TIMEOUT_MAX))
