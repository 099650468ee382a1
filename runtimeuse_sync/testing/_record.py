"""``Record``: the log of all connections, which the test can read and wait for."""

from __future__ import annotations

import threading
import time
from typing import Any, Callable, Optional

import attrs

from ._mailbox import Received
from ._peer import Peer


@attrs.frozen
class Entry:
    """A message that came, and when (``time.monotonic()``)."""

    at: float
    message: Received


class Record:
    """Written by the loop's thread and the scripts', read by the test's."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._peers: list[Peer] = []  # guarded by _changed
        self._entries: list[Entry] = []  # guarded by _changed
        self._failures: list[BaseException] = []  # guarded by _changed

    def add_peer(self, peer: Peer) -> int:
        """Returns how many there were before."""
        with self._changed:
            self._peers.append(peer)
            self._changed.notify_all()
            return len(self._peers) - 1

    def add_message(self, message: Received) -> None:
        with self._changed:
            self._entries.append(Entry(time.monotonic(), message))
            self._changed.notify_all()

    def add_failure(self, error: BaseException) -> None:
        with self._changed:
            self._failures.append(error)
            self._changed.notify_all()

    def peers(self) -> list[Peer]:
        with self._changed:
            return list(self._peers)

    def failures(self) -> list[BaseException]:
        with self._changed:
            return list(self._failures)

    def entries(self, message_class: Optional[type] = None) -> list[Entry]:
        """The received messages, in order; only those of ``message_class`` if it is given."""
        with self._changed:
            return [entry for entry in self._entries if isinstance(entry.message, message_class or object)]

    def wait_for(self, condition: Callable[[], Any], what: str, timeout: float) -> None:
        """Wait until ``condition`` holds, which is asked whenever something was added.

        Raises:
            AssertionError: it did not hold within ``timeout`` seconds, or a script failed meanwhile.
        """
        with self._changed:
            self._changed.wait_for(lambda: condition() or self._failures, timeout)
            if condition():
                return
            failure = self._failures[0] if self._failures else None
        if failure:
            raise AssertionError(f"waited for {what}, but the script failed: {failure}") from failure
        raise AssertionError(f"waited {timeout:g} s for {what} in vain")
