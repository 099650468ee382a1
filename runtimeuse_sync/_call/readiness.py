"""Waiting until a runtime accepts connections, which takes a while when its sandbox has just been started."""

from __future__ import annotations

import random
from typing import Optional

from .._common.deadline import Deadline
from .._common.waiter import Waiter
from ..exceptions import CancelledException, ConnectionFailedError
from ..transports import Transport
from .cancellation import Cancellation
from .channel import Channel
from .lending import wait_until_open
from .waits import CLOSE_WAIT, IMPATIENT_CLOSE_WAIT

# Seconds between two attempts, at first and at most: doubled each time, with jitter so that clients spread out.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
# Seconds that one attempt may take: a gateway that does not answer this one may answer the next.
_LONGEST_ATTEMPT = 10.0


def wait_until_ready(transport: Transport, call: Cancellation, timeout: Optional[float]) -> None:
    """Connect again and again until it works; see ``Client.wait_until_ready``."""
    deadline, longest_pause = Deadline(timeout), _FIRST_PAUSE
    while True:
        failure = _try_to_connect(transport, call, deadline)
        if failure is None:
            return
        pause = max(random.uniform(longest_pause / 2, longest_pause), failure.retry_after or 0.0)
        if pause >= deadline.remaining():
            raise _not_ready(timeout, failure) from failure
        _sleep(pause, call)
        longest_pause = min(_LONGEST_PAUSE, longest_pause * 2)


def _try_to_connect(transport: Transport, call: Cancellation, deadline: Deadline) -> Optional[ConnectionFailedError]:
    """Return None if the handshake succeeds, and a temporary failure; raise any other failure."""
    channel, close_wait = Channel(transport.connection()), IMPATIENT_CLOSE_WAIT
    try:
        wait_until_open(channel, min(deadline.remaining(), _LONGEST_ATTEMPT), call)
        close_wait = CLOSE_WAIT
    except ConnectionFailedError as error:
        if not error.may_pass:
            raise
        return error
    finally:
        channel.connection.close(close_wait)
    return None


def _sleep(seconds: float, call: Cancellation) -> None:
    """Sleep; ``abort()`` ends it early."""
    deadline, waiter = Deadline(seconds), Waiter()
    call.on_abort(waiter.wake, waiter.wake)
    try:
        while not deadline.expired:
            waiter.wait(call.begin_wait(deadline.remaining()))
            if call.requested():
                raise CancelledException
    finally:
        call.end_wait()


def _attempt(error: ConnectionFailedError) -> str:
    """The text of a failure, without its advice to call ``wait_until_ready``."""
    return str(error) if error.status is None else f"it answered {error.status} {error.reason}"


def _not_ready(timeout: Optional[float], last: ConnectionFailedError) -> ConnectionFailedError:
    return ConnectionFailedError(
        f"the runtime was not ready within {timeout:g} s; the last attempt: {_attempt(last)}",
        status=last.status,
        reason=last.reason,
        retry_after=last.retry_after,
    )
