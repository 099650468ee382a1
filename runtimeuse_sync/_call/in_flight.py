"""The calls in flight on a client or a session."""

from __future__ import annotations

import weakref
from typing import Protocol


class Abortable(Protocol):
    """Something that can be aborted: a call, or a session with its calls."""

    def abort(self) -> None:
        """Cancel it, from any thread."""


class CallsInFlight:
    """Weak references to the calls in flight, so that ``abort()`` reaches them and keeps none of them alive."""

    def __init__(self) -> None:
        # Each change is one atomic operation, so there is no lock: at a fork, another thread could hold it.
        self._references: set[weakref.ref[Abortable]] = set()

    def add(self, call: Abortable) -> None:
        self._references.add(weakref.ref(call, self._references.discard))

    def discard(self, call: Abortable) -> None:
        self._references.discard(weakref.ref(call))

    def abort(self) -> None:
        """Abort all that are in flight now."""
        for reference in list(self._references):
            call = reference()
            if call is not None:
                call.abort()
