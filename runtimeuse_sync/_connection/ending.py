"""How a connection ends: who wants it to, why, and how long the peer may take over its goodbye."""

from __future__ import annotations

from collections.abc import Collection
from typing import Optional

from .._common.deadline import Deadline
from ..exceptions import ConnectionLostError, ProtocolError, RuntimeUseError
from .inbox import Inbox

# Seconds to wait, after the end, for the peer to read the goodbye and close.
LINGER = 1.0
# The code of a connection that ended without a Close frame, and the one that says that all is well (RFC 6455, 7.4.1).
ABNORMAL = 1006
_NORMAL = 1000


class Ending:
    """What is known about a connection's end. Used by the connection thread only, unless marked shared."""

    def __init__(self, inbox: Inbox) -> None:
        self.close_by: Optional[Deadline] = None  # shared: any thread sets it when the caller needs no more
        self.last_classes: Collection[type] = ()  # shared: the caller sets it before the first send
        self.error: Optional[RuntimeUseError] = None  # the first reason why nothing more will come
        self.is_complete = False  # a message of ``last_classes`` has come
        self.peer_closed = False  # its Close frame has come
        self.is_gone = False  # the socket is of no more use
        self.listen_by: Optional[Deadline] = None  # set when the peer takes nothing more: it may have said why
        self._linger_by: Optional[Deadline] = None
        self._inbox = inbox

    @property
    def is_leaving(self) -> bool:
        """Whether what still comes is of no interest: then a Close frame is sent, and the peer's awaited."""
        return self.error is not None or self.close_by is not None or self.is_complete

    def remaining(self) -> float:
        """Seconds, on the way out, until this side waits no longer."""
        return min(deadline.remaining() for deadline in (self.close_by, self._linger_by) if deadline is not None)

    def is_over(self, *, has_said_all: bool) -> bool:
        """Whether to close the socket, on the way out: ``has_said_all`` tells that the goodbye has been written."""
        return self.is_gone or (self.peer_closed and has_said_all) or not self.remaining()

    def listen(self) -> None:
        """Nothing can be written any more; read for a second what the peer said before."""
        self.listen_by = Deadline(LINGER)

    def complete(self) -> None:
        """The last message that the caller wanted has come."""
        self.is_complete = True
        self._linger_by = Deadline(LINGER)

    def finish(self, error: RuntimeUseError) -> None:
        """Nothing more will come, and ``error`` is why; unless there has been a reason before."""
        if self.error is None:
            _drop_frames(error)
            self.error = error
            self._linger_by = Deadline(LINGER)
            self._inbox.end(error)

    def lose(self, reason: str, cause: Optional[BaseException] = None) -> None:
        """``finish`` for a connection that ended without a Close frame."""
        error = ConnectionLostError(code=ABNORMAL, reason=reason)
        error.__cause__ = cause
        self.finish(error)

    def give_up(self, reason: str) -> None:
        """``lose``, and do not wait for the peer."""
        self.is_gone = True
        self.lose(reason)

    def close_code(self) -> int:
        """The code to close with: the peer's own in answer to its Close, the fault's after a fault."""
        if isinstance(self.error, ProtocolError):
            return self.error.close_code
        if isinstance(self.error, ConnectionLostError) and self.error.code != ABNORMAL:
            return self.error.code
        return _NORMAL


def _drop_frames(error: Optional[BaseException]) -> None:
    """Tracebacks keep alive what their frames hold: the socket, half a payload."""
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
