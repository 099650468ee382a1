"""What the connection thread has read and the caller has not yet taken: batches, and at last the end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from queue import Empty, SimpleQueue
from typing import Any, Callable, Optional, Union

Batch = Sequence[Any]
_NOTHING: Batch = ()


class Inbox:
    """A queue of batches that knows how many bytes wait in it.

    ``put``, ``end`` and ``is_full`` belong to the connection thread, ``get`` to the caller's; ``wake`` to any.
    """

    def __init__(self, limit: int, on_room: Callable[[], None]) -> None:
        self._queue: SimpleQueue[Union[tuple[Batch, int], BaseException]] = SimpleQueue()
        self._limit = limit
        self._on_room = on_room
        self._put = 0  # bytes; written by the connection thread alone, as _got is by the caller's: no lock
        self._got = 0
        self._wants_room = False
        self._end: Optional[BaseException] = None

    def put(self, batch: Batch, size: int) -> None:
        self._put += size
        self._queue.put((batch, size))

    def end(self, error: BaseException) -> None:
        """Nothing more will come; ``get`` raises ``error`` once all that came before is taken."""
        self._queue.put(error)

    def wake(self) -> None:
        """Let ``get`` return now, with nothing."""
        self._queue.put((_NOTHING, 0))

    def is_full(self) -> bool:
        """Whether to stop reading. If so, ``on_room`` is called when half of it has been taken."""
        self._wants_room = self._put - self._got >= self._limit
        # Asked again, for the caller may have taken the last batch before it could see the wish.
        return self._wants_room and self._put - self._got >= self._limit

    def get(self, timeout: float) -> Batch:
        """The next batch; an empty one after ``timeout`` seconds or a ``wake``; raises the end."""
        if self._end is not None:
            raise self._end
        try:
            item = self._queue.get(timeout=None if timeout == math.inf else timeout)
        except Empty:
            return _NOTHING
        if isinstance(item, BaseException):
            self._end = item
            raise item
        self._got += item[1]
        if self._wants_room and self._put - self._got < self._limit // 2:
            self._wants_room = False
            self._on_room()
        return item[0]
