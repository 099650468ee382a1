"""A binary semaphore on which one thread waits until it is woken."""

from __future__ import annotations

import threading


class Waiter:
    """A binary semaphore: ``wake`` makes one ``wait`` return, the current one or else the next.

    ``wake`` may be called from any thread, from a signal handler and from a finalizer. ``Event.set`` may not: it takes
    a lock, which the interrupted thread may hold.

    >>> waiter = Waiter()
    >>> waiter.wake()
    >>> waiter.wait(60.0)
    True
    >>> waiter.wait(0.001)
    False
    """

    def __init__(self) -> None:
        self._semaphore = threading.Lock()  # used as a binary semaphore: locked until ``wake``
        self._semaphore.acquire()

    def wake(self) -> None:
        try:
            self._semaphore.release()
        except RuntimeError:  # released already: woken before
            pass

    def wait(self, timeout: float) -> bool:
        """Wait ``timeout`` seconds at most; return whether it was woken."""
        return self._semaphore.acquire(timeout=min(timeout, threading.TIMEOUT_MAX))
