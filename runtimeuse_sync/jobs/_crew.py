"""The threads of a map."""

from __future__ import annotations

import threading
import time
from queue import Empty, SimpleQueue
from typing import Callable, Optional

Work = Callable[[], object]

# Seconds that a thread waits for more before it ends: one that has ended would have to be started again.
_LINGER = 1.0
# Seconds that is waited for the ends of threads whose work is done.
_JOIN_WAIT = 0.5


class Crew:
    """A pool of threads: it starts as many as are needed at once, and ends those that are idle."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # On Python 3.9 to 3.12, a ``get`` may outlast its timeout: then the thread waits for work until ``end``.
        self._given: SimpleQueue[Optional[Work]] = SimpleQueue()
        self._threads: set[threading.Thread] = set()  # guarded by _lock
        self._idle = 0  # threads that wait, less what is already given to them; guarded by _lock
        self._is_ended = False

    def do(self, work: Work) -> None:
        """Have a thread do ``work``, which must not raise."""
        with self._lock:
            if self._idle:
                self._idle -= 1
                self._given.put(work)
                return
        threading.Thread(target=self._serve, args=(work,), name="runtimeuse-map", daemon=True).start()

    def join(self) -> None:
        """Wait for the ends of the threads that have been told to end and have nothing to do: a moment."""
        give_up = time.monotonic() + _JOIN_WAIT
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join(max(0.0, give_up - time.monotonic()))

    def end(self) -> None:
        """Let each thread end once it has nothing to do."""
        with self._lock:
            self._is_ended = True
            for _ in range(self._idle):
                self._given.put(None)
            self._idle = 0

    def _serve(self, work: Optional[Work]) -> None:
        with self._lock:
            self._threads.add(threading.current_thread())
        try:
            self._work_off(work)
        finally:
            with self._lock:
                self._threads.discard(threading.current_thread())

    def _work_off(self, work: Optional[Work]) -> None:
        while work is not None:
            work()
            work = None  # a waiting thread keeps no finished work alive
            with self._lock:
                if self._is_ended:
                    return
                self._idle += 1
            work = self._next()

    def _next(self) -> Optional[Work]:
        """Wait for the next work; None if there is none for a while."""
        while True:
            try:
                return self._given.get(timeout=_LINGER)
            except Empty:
                with self._lock:
                    if self._given.empty():
                        self._idle -= 1
                        return None
