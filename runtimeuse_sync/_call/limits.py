"""What bounds one call: its timeout, the silence it bears, and the drain behind its result."""

from __future__ import annotations

import math
import time
from typing import Optional

from .._common.deadline import Deadline
from .._protocol.exchange import State
from ..exceptions import IdleTimeoutError, InvocationTimeoutError


class Limits:
    """The clocks of one call, in seconds; None means no limit. They start when the call does.

    Args:
        timeout: for the whole call, from the wait for the session's lock to the end of the drain.
        idle_timeout: that may pass without a message while the request runs.
        drain_timeout: for what belongs to the result and comes behind it.
    """

    def __init__(self, timeout: Optional[float], idle_timeout: Optional[float], drain_timeout: Optional[float]) -> None:
        self._deadline = Deadline(timeout)
        self._idle_timeout = idle_timeout
        self._idle_since = time.monotonic()
        self._drain_timeout = drain_timeout
        self._drain = Deadline(None)

    # --- what the call tells -------------------------------------------------------------------------

    def heard(self) -> None:
        """The request was sent, or a message has come: the silence begins anew."""
        self._idle_since = time.monotonic()

    def begin_drain(self) -> None:
        """The result has come; what belongs to it is awaited."""
        self._drain = Deadline(self._drain_timeout).earlier(self._deadline)

    # --- what it asks --------------------------------------------------------------------------------

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
        """Seconds that the call may wait before it has started."""
        return self._deadline.remaining()

    def timed_out(self) -> InvocationTimeoutError:
        """What a call that is over its timeout raises."""
        return InvocationTimeoutError(timeout=self._deadline.timeout)

    def remaining(self, state: State) -> float:
        """Seconds that a request in ``state`` may wait for a message."""
        return min(self.until_look(state), self._idle_left(state))

    def until_look(self, state: State) -> float:
        """Seconds until a limit ends a request in ``state``, messages or not."""
        return self._drain.remaining() if state is State.DRAINING else self._deadline.remaining()

    def is_silent_for_too_long(self, state: State) -> bool:
        """Whether a request in ``state`` has had no message for its idle timeout; to be asked when none is there."""
        return self._idle_left(state) == 0.0

    def silent_for_too_long(self) -> IdleTimeoutError:
        """What a call raises that has been."""
        return IdleTimeoutError(timeout=self._idle_timeout)

    @property
    def is_over(self) -> bool:
        """Whether the timeout is over."""
        return self._deadline.expired

    @property
    def drain_is_over(self) -> bool:
        """Whether the drain has taken as long as it may."""
        return self._drain.expired

    @property
    def drain_timeout(self) -> Optional[float]:
        """Seconds that the drain was given: what was left of the timeout, if that was less."""
        return self._drain.timeout

    def _idle_left(self, state: State) -> float:
        if self._idle_timeout is None or state is not State.RUNNING:
            return math.inf
        return max(0.0, self._idle_since + self._idle_timeout - time.monotonic())
