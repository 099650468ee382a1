"""An Event that calls functions when it is set, so that a wait for something else can be ended without polling."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Callable

# Seconds between two checks of a plain Event, which calls nothing when it is set. A runtime uses CancelEvent only.
_POLL = 0.1


class CancelEvent(threading.Event):
    """A ``threading.Event`` that calls functions when it is set, on the thread that sets it."""

    def __init__(self) -> None:
        super().__init__()
        # Guards the list.
        self._registry = threading.Lock()
        self._actions: list[Callable[[], None]] = []

    def set(self) -> None:
        """Set the event, and call the registered functions."""
        super().set()
        with self._registry:
            actions = tuple(self._actions)
        for action in actions:
            action()

    def add(self, action: Callable[[], None]) -> None:
        """Register ``action``; called at once if the event is set already."""
        with self._registry:
            self._actions.append(action)
        if self.is_set():
            action()

    def remove(self, action: Callable[[], None]) -> None:
        """Forget ``action``. A call that has begun on another thread is not waited for."""
        with self._registry:
            self._actions.remove(action)


@contextmanager
def calling_when_set(event: threading.Event, action: Callable[[], None]) -> Iterator[None]:
    """Call ``action`` when ``event`` is set while the block runs.

    ``action`` must not block, and must do no harm when it is called twice, or late.

    >>> event = CancelEvent()
    >>> with calling_when_set(event, lambda: print("cancelled")):
    ...     event.set()
    cancelled
    """
    with _registered(event, action) if isinstance(event, CancelEvent) else _polled(event, action):
        yield


@contextmanager
def _registered(event: CancelEvent, action: Callable[[], None]) -> Iterator[None]:
    event.add(action)
    try:
        yield
    finally:
        event.remove(action)


@contextmanager
def _polled(event: threading.Event, action: Callable[[], None]) -> Iterator[None]:
    """Call ``action`` by polling a plain Event, which a user may pass who calls a handler without a runtime."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(_POLL):
            if event.is_set():
                action()
                return

    thread = threading.Thread(target=look, name="runtimeuse-cancel", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
