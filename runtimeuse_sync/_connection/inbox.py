"""The queue from the connection thread to the caller: batches of messages, and last the error that ends them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import Any, Callable, Optional, Union

from .._common.deadline import Deadline

Batch = Sequence[Any]
_NOTHING: Batch = ()


def _never() -> bool:
    return False


class Inbox:
    """A queue of batches that counts the bytes waiting in it.

    ``put``, ``end``, ``notify`` and ``is_full`` are called by the connection thread, ``get`` by the caller's, ``wake``
    by any thread and by signal handlers. ``is_held`` is called on the caller's thread: while it returns True, ``get``
    returns no batch; when it becomes False, ``notify`` has to be called. Once ``end`` was called, nothing is held.

    It is not a ``queue.SimpleQueue`` because of a fault of Python 3.9 to 3.12: ``get`` waits for ever if its thread is
    delayed for the length of the timeout at the wrong moment. ``queue.Queue`` deadlocks in a signal handler.
    """

    def __init__(self, limit: int, on_room: Callable[[], None], *, is_held: Callable[[], bool] = _never) -> None:
        self._items: deque[Union[tuple[Batch, int], BaseException]] = deque()
        # Used as a binary semaphore: released when there may be something to get, acquired to wait for it.
        self._news = threading.Lock()
        self._news.acquire()
        self._is_woken = False
        self._has_ended = False
        self._limit = limit
        self._on_room = on_room
        self._is_held = is_held
        # Bytes put and taken so far. Only the connection thread writes the first, only the caller's thread the second,
        # so there is no lock.
        self._put = 0
        self._got = 0
        self._wants_room = False
        self._end: Optional[BaseException] = None

    def put(self, batch: Batch, size: int) -> None:
        self._put += size
        self._items.append((batch, size))
        self.notify()

    def end(self, error: BaseException) -> None:
        """Put the end: ``get`` raises ``error`` once all batches before it are taken."""
        self._items.append(error)
        self._has_ended = True
        self.notify()

    def wake(self) -> None:
        """Make a waiting ``get`` return an empty batch now; if none waits, the next one that would."""
        self._is_woken = True
        self.notify()

    def notify(self) -> None:
        """Make a waiting ``get`` check the queue again."""
        try:
            self._news.release()
        except RuntimeError:  # released already
            pass

    def is_full(self) -> bool:
        """Whether to stop reading. If so, ``on_room`` is called when less than half of the limit waits."""
        self._wants_room = self._put - self._got >= self._limit
        # Checked again: the caller may have taken the last batch before it could see that room is wanted.
        return self._wants_room and self._put - self._got >= self._limit

    def get(self, timeout: float) -> Batch:
        """Return the next batch; an empty one after ``timeout`` seconds or a ``wake``. At the end, raise its error."""
        if self._end is not None:
            raise self._end
        item = self._next(timeout)
        if item is None:
            return _NOTHING
        if isinstance(item, BaseException):
            self._end = item
            raise item
        self._got += item[1]
        if self._wants_room and self._put - self._got < self._limit // 2:
            self._wants_room = False
            self._on_room()
        return item[0]

    def _next(self, timeout: float) -> Union[tuple[Batch, int], BaseException, None]:
        deadline = Deadline(timeout)
        # First take a release that is for items already in the queue: the loop checks for those. Later ones release
        # again.
        self._news.acquire(blocking=False)
        while not self._has_next() and not self._is_woken:
            if not self._news.acquire(timeout=min(deadline.remaining(), threading.TIMEOUT_MAX)):
                break
        if self._has_next():
            return self._items.popleft()
        self._is_woken = False
        return None

    def _has_next(self) -> bool:
        return bool(self._items) and (self._has_ended or not self._is_held())
