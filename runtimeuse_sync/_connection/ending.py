"""The state of a connection's end: who ended it, why, and how long to wait for the peer's Close frame."""

from __future__ import annotations

from collections.abc import Collection
from typing import Optional

from .._common.deadline import Deadline
from ..exceptions import ConnectionLostError, ProtocolError, RuntimeUseError
from .inbox import Inbox

# Seconds to wait, after the end, for the peer to read the Close frame and answer it.
LINGER = 1.0
# The codes of a connection that ended without a Close frame, and of a normal closure (RFC 6455, section 7.4.1).
ABNORMAL = 1006
_NORMAL = 1000
# The reason of an end that this side has asked for.
CLOSED = "closed on this side"


class Ending:
    """The state of a connection's end. Used by the connection thread only, unless marked shared."""

    def __init__(self, inbox: Inbox) -> None:
        self.close_by: Optional[Deadline] = None  # shared: any thread sets it, to close the connection
        self.last_classes: Collection[type] = ()  # shared: the caller sets it before the first send
        self.error: Optional[RuntimeUseError] = None  # the error with which receiving ends; the first counts
        self.is_complete = False  # a message of ``last_classes`` has come
        self.peer_closed = False  # the peer's Close frame has come
        self.is_gone = False  # the socket cannot be used any more
        self.listen_by: Optional[Deadline] = None  # set when writing failed: the reason may be unread
        self._linger_by: Optional[Deadline] = None
        self._inbox = inbox

    @property
    def is_leaving(self) -> bool:
        """Whether the connection is closing: later messages are discarded, and a Close frame is sent and awaited."""
        return self.error is not None or self.close_by is not None or self.is_complete

    def remaining(self) -> float:
        """Seconds, while closing, that this side still waits for the peer."""
        return min(deadline.remaining() for deadline in (self.close_by, self._linger_by) if deadline is not None)

    def is_over(self, *, has_said_all: bool) -> bool:
        """Whether to close the socket, while closing; ``has_said_all`` means that the Close frame has been written."""
        return self.is_gone or (self.peer_closed and has_said_all) or not self.remaining()

    def listen(self) -> None:
        """Note that writing failed: read for a second more, since the peer may have sent a reason before."""
        self.listen_by = Deadline(LINGER)

    def complete(self) -> None:
        """Note that a message of ``last_classes`` has come: the caller wants no more."""
        self.is_complete = True
        self._linger_by = Deadline(LINGER)

    def finish(self, error: RuntimeUseError) -> None:
        """End receiving with ``error``, unless it has ended before."""
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
        """``lose``, without waiting for the peer."""
        self.is_gone = True
        self.lose(reason)

    def close_code(self) -> int:
        """The code of the Close frame to send: as an answer, the peer's own; after a protocol error, the error's."""
        if isinstance(self.error, ProtocolError):
            return self.error.close_code
        if isinstance(self.error, ConnectionLostError) and self.error.code != ABNORMAL:
            return self.error.code
        return _NORMAL


def _drop_frames(error: Optional[BaseException]) -> None:
    """Remove the tracebacks of ``error``: their frames would keep the socket and partial payloads alive."""
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
