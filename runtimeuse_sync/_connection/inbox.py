"""What the connection thread has read and the caller has not yet taken: batches, and at last the end."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import Any, Callable, Optional, Union

Batch = Sequence[Any]
_NOTHING: Batch = ()


class Inbox:
    """A queue of batches that knows how many bytes wait in it.

    ``put``, ``end`` and ``is_full`` belong to the connection thread, ``get`` to the caller's; ``wake`` to any, and to
    signal handlers.

    ``queue.SimpleQueue`` would do, but for a fault that Python 3.9 to 3.12 have: its ``get`` waits for ever if its
    thread is held up for the length of the timeout at the wrong moment. ``queue.Queue`` deadlocks in a signal handler.
    """

    def __init__(self, limit: int, on_room: Callable[[], None]) -> None:
        self._items: deque[Union[tuple[Batch, int], BaseException]] = deque()
        self._news = threading.Lock()  # no lock, but a signal: released whenever there is something to get
        self._news.acquire()
        self._is_woken = False
        self._limit = limit
        self._on_room = on_room
        self._put = 0  # bytes; written by the connection thread alone, as _got is by the caller's: no lock
        self._got = 0
        self._wants_room = False
        self._end: Optional[BaseException] = None

    def put(self, batch: Batch, size: int) -> None:
        self._put += size
        self._items.append((batch, size))
        self._signal()

    def end(self, error: BaseException) -> None:
        """Nothing more will come; ``get`` raises ``error`` once all that came before is taken."""
        self._items.append(error)
        self._signal()

    def wake(self) -> None:
        """Let ``get`` return now, or else the next one at once, with nothing."""
        self._is_woken = True
        self._signal()

    def _signal(self) -> None:
        try:
            self._news.release()
        except RuntimeError:  # it has been given already
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
        # What earlier items have signalled is forgotten first. What comes from here on signals anew.
        self._news.acquire(blocking=False)
        if not self._items and not self._is_woken:
            self._news.acquire(timeout=min(timeout, threading.TIMEOUT_MAX))
        if self._items:
            return self._items.popleft()
        self._is_woken = False
        return None
