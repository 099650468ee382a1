"""What the connection thread has read and the caller has not yet taken: batches, and at last the end."""

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
    """A queue of batches that knows how many bytes wait in it.

    ``put``, ``end``, ``notify`` and ``is_full`` belong to the connection thread, ``get`` to the caller's; ``wake`` to
    any, and to signal handlers. ``is_held`` is asked on the caller's thread: while it says True, ``get`` gives no
    batch. When that changes, ``notify`` has to be called. The end is not held.

    ``queue.SimpleQueue`` would do, but for a fault that Python 3.9 to 3.12 have: its ``get`` waits for ever if its
    thread is held up for the length of the timeout at the wrong moment. ``queue.Queue`` deadlocks in a signal handler.
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
        # Bytes. The first is written by the connection thread only, the second by the caller's, so without a lock.
        self._put = 0
        self._got = 0
        self._wants_room = False
        self._end: Optional[BaseException] = None

    def put(self, batch: Batch, size: int) -> None:
        self._put += size
        self._items.append((batch, size))
        self.notify()

    def end(self, error: BaseException) -> None:
        """Nothing more will come; ``get`` raises ``error`` once all that came before is taken."""
        self._items.append(error)
        self._has_ended = True
        self.notify()

    def wake(self) -> None:
        """Make the ``get`` that waits return now, with nothing; if none waits, the next one that would."""
        self._is_woken = True
        self.notify()

    def notify(self) -> None:
        """Let a ``get`` that waits look again."""
        try:
            self._news.release()
        except RuntimeError:  # released already
            pass

    def is_full(self) -> bool:
        """Whether to stop reading. If so, ``on_room`` is called when half of it has been taken."""
        self._wants_room = self._put - self._got >= self._limit
        # Asked again, for the caller may have taken the last batch before it could see the wish.
        return self._wants_room and self._put - self._got >= self._limit

    def get(self, timeout: float) -> Batch:
        """The next batch; an empty one after ``timeout`` seconds or a ``wake``; raises the end."""
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
        # A release for what is in the queue already is taken back first. What comes from here on releases anew.
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
