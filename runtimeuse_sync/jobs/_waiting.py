"""The waits of jobs and maps: their lengths, and the queue of what has ended."""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import Generic, Optional, TypeVar

T = TypeVar("T")

# Seconds. On Windows, Ctrl-C does not end a wait of the main thread; elsewhere, nothing need wake up before its time.
LONGEST_STEP = 0.25 if os.name == "nt" else None

# Seconds to wait for cancelled runs: the runtime has five to confirm, and one to close.
END_WAIT = 7.0
# The same while an exception is being raised.
IMPATIENT_END_WAIT = 1.0


def step(seconds: Optional[float]) -> Optional[float]:
    """``seconds`` (None: for ever), but not longer than a thread may wait in one go.

    >>> step(0.1)
    0.1
    """
    if LONGEST_STEP is None or seconds is None:
        return seconds if LONGEST_STEP is None else LONGEST_STEP
    return min(seconds, LONGEST_STEP)


class Ended(Generic[T]):
    """A queue that many threads fill, and one empties, whose wait a KeyboardInterrupt may end at any point.

    After that a ``queue.Queue`` may never release its lock. And ``SimpleQueue.get`` of Python 3.9 to 3.12 waits for
    ever if it finds nothing and its timeout, of a microsecond for example, has passed while it looked.
    """

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        self._news = threading.Lock()  # used as a binary semaphore: released when there may be something to get
        self._news.acquire()

    def put(self, item: T) -> None:
        self._items.append(item)
        try:
            self._news.release()
        except RuntimeError:  # released already
            pass

    def get(self, seconds: Optional[float]) -> Optional[T]:
        """The next item; None after ``seconds`` (None: no limit), or sooner, for an item that was got before."""
        if not self._items:
            seconds = step(seconds)
            self._news.acquire(timeout=-1 if seconds is None else min(seconds, threading.TIMEOUT_MAX))
        return self._items.popleft() if self._items else None
