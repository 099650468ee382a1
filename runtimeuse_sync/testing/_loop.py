"""The one thread that owns all the sockets of a scripted runtime."""

from __future__ import annotations

import selectors
import threading
import time
from collections import deque
from concurrent.futures import Future
from typing import Any, Callable, Optional, Protocol, TypeVar

from .._common.wakeup import Waker

T = TypeVar("T")

# Seconds for a call of the loop, for data that still comes in at the end of a test, and for a thread to end.
_CALL_PATIENCE = 10.0
_SETTLE_PATIENCE = 1.0
JOIN_PATIENCE = 10.0


class Disconnected(Exception):  # noqa: N818 - no error: how a script normally ends
    """The client has left, or the test is over. A script that lets it pass ends without failing the test.

    >>> from runtimeuse_sync.testing import ScriptedRuntime
    >>> seen = []
    >>> def script(peer):
    ...     try:
    ...         peer.receive()
    ...     except Disconnected:
    ...         seen.append("the client said nothing")
    >>> with ScriptedRuntime(script) as runtime:
    ...     Client(runtime.url).wait_until_ready()
    >>> seen
    ['the client said nothing']
    """


class Watched(Protocol):
    """A socket, or what else a selector can wait for."""

    def fileno(self) -> int:
        """The descriptor."""


class Loop:
    """One thread that owns all the sockets of a runtime. Other threads hand it calls."""

    def __init__(self, name: str) -> None:
        self._selector = selectors.DefaultSelector()
        self._ready: dict[object, Callable[[int], None]] = {}
        self._waker = Waker()
        self._waker.open()
        self._lock = threading.Lock()
        self._calls: deque[tuple[Future[Any], Callable[[], Any]]] = deque()  # guarded by _lock
        self._stopped = False  # guarded by _lock
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.watch(self._waker, self._run_calls)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread, then give back what it used. The sockets it watched are their owners' to close."""
        self.call(self._stop)
        self._thread.join(JOIN_PATIENCE)
        self._selector.close()
        self._waker.close()

    def call(self, function: Callable[[], T]) -> T:
        """Run ``function`` on the loop's thread; returns or raises what it does."""
        future: Future[T] = Future()
        with self._lock:
            if self._stopped:
                raise Disconnected("the runtime has stopped")
            self._calls.append((future, function))
        self._waker.wake()
        return future.result(_CALL_PATIENCE)

    # The rest runs on the loop's thread.

    def watch(self, sock: Watched, ready: Callable[[int], None], *, writing: bool = False) -> None:
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if writing else 0)
        if sock not in self._ready:
            self._selector.register(sock, events)
        elif self._selector.get_key(sock).events != events:
            self._selector.modify(sock, events)
        self._ready[sock] = ready

    def forget(self, sock: Watched) -> None:
        del self._ready[sock]
        self._selector.unregister(sock)

    def settle(self) -> None:
        """Handle all that has come in so far, unless it comes without end."""
        give_up = time.monotonic() + _SETTLE_PATIENCE
        while self._turn(0) and time.monotonic() < give_up:
            pass

    def _run(self) -> None:
        while not self._stopped:
            self._turn(None)

    def _turn(self, timeout: Optional[float]) -> int:
        selected = self._selector.select(timeout)
        for key, events in selected:
            # None if an earlier callback of this turn has closed the socket.
            ready = self._ready.get(key.fileobj)
            if ready:
                ready(events)
        return len(selected)

    def _run_calls(self, _: int) -> None:
        self._waker.clear()
        with self._lock:
            calls, self._calls = self._calls, deque()
        for future, function in calls:
            try:
                future.set_result(function())
            except BaseException as error:  # noqa: BLE001 - the thread that asked gets it
                future.set_exception(error)

    def _stop(self) -> None:
        with self._lock:
            self._stopped = True
            late, self._calls = self._calls, deque()
        for future, _ in late:
            future.set_exception(Disconnected("the runtime has stopped"))
