"""The time limits of one call: timeout, idle timeout, and drain timeout."""

from __future__ import annotations

import math
import time
from typing import Optional

from .._common.deadline import Deadline
from .._protocol.exchange import State
from ..exceptions import IdleTimeoutError, InvocationTimeoutError


class Limits:
    """The time limits of one call, in seconds; None means no limit. They start to run when this is made.

    Args:
        timeout: for the whole call, from the wait for the session's lock to the end of the drain.
        idle_timeout: the longest silence of the runtime while the request runs.
        drain_timeout: for messages after the result: artifacts, the output of post-agent commands.
    """

    def __init__(self, timeout: Optional[float], idle_timeout: Optional[float], drain_timeout: Optional[float]) -> None:
        self._deadline = Deadline(timeout)
        self._idle_timeout = idle_timeout
        self._idle_since = time.monotonic()
        self._drain_timeout = drain_timeout
        self._drain = Deadline(None)

    # --- events ---------------------------------------------------------------------------------------

    def heard(self) -> None:
        """Restart the idle timeout: the request was sent, or a message has come."""
        self._idle_since = time.monotonic()

    def begin_drain(self) -> None:
        """Start the drain timeout: the result has come, and more messages may follow it."""
        self._drain = Deadline(self._drain_timeout).earlier(self._deadline)

    # --- questions ------------------------------------------------------------------------------------

    @property
    def time_left(self) -> Optional[float]:
        """Seconds left of the timeout; None without one."""
        return None if self._deadline.timeout is None else self._deadline.remaining()

    def check(self) -> None:
        """Raise ``InvocationTimeoutError`` once the timeout is over."""
        if self._deadline.expired:
            raise self.timed_out()

    @property
    def until_start(self) -> float:
        """Seconds that the call may wait for its turn on the connection."""
        return self._deadline.remaining()

    def timed_out(self) -> InvocationTimeoutError:
        """The exception for a call whose timeout is over."""
        return InvocationTimeoutError(timeout=self._deadline.timeout)

    def remaining(self, state: State) -> float:
        """Seconds that a request in ``state`` may wait for a message."""
        return min(self.until_look(state), self._idle_left(state))

    def until_look(self, state: State) -> float:
        """Seconds until a limit ends a request in ``state`` even if messages come."""
        return self._drain.remaining() if state is State.DRAINING else self._deadline.remaining()

    def is_silent_for_too_long(self, state: State) -> bool:
        """Whether the idle timeout of a request in ``state`` is over; ask this only when no message is waiting."""
        return self._idle_left(state) == 0.0

    def silent_for_too_long(self) -> IdleTimeoutError:
        """The exception for a call whose idle timeout is over."""
        return IdleTimeoutError(timeout=self._idle_timeout)

    @property
    def is_over(self) -> bool:
        """Whether the timeout is over."""
        return self._deadline.expired

    @property
    def drain_is_over(self) -> bool:
        """Whether the drain timeout is over."""
        return self._drain.expired

    @property
    def drain_timeout(self) -> Optional[float]:
        """Seconds that the drain got: the drain timeout, or what was left of the call's timeout if that was less."""
        return self._drain.timeout

    def _idle_left(self, state: State) -> float:
        if self._idle_timeout is None or state is not State.RUNNING:
            return math.inf
        return max(0.0, self._idle_since + self._idle_timeout - time.monotonic())
