"""``Fault``: a failure of the connection, simulated while a recording is played."""

from __future__ import annotations

from typing import Literal, Optional

import attrs

from .. import ConnectionLostError


@attrs.frozen
class Fault:
    """Something that goes wrong in a replay, to try what your code does then, on your own traffic.

    Made by ``Fault.cut``, ``Fault.stall`` and ``Fault.reset``.

    Attributes:
        kind (str): ``"cut"``, ``"stall"`` or ``"reset"``.
        after (int): how many messages of the runtime come before it.
        call (int or None): of which call of the journal, from 1; None: of each.

    >>> Fault.cut(after=2)
    Fault(kind='cut', after=2, call=None)
    """

    kind: Literal["cut", "stall", "reset"]
    after: int
    call: Optional[int] = None

    @classmethod
    def cut(cls, after: int, call: Optional[int] = None) -> Fault:
        """The connection ends in the middle of a frame: ``ConnectionLostError``, code 1006."""
        return cls("cut", _checked(after), call)

    @classmethod
    def stall(cls, after: int, call: Optional[int] = None) -> Fault:
        """Nothing comes any more, and the connection stays: what ``timeout`` and ``idle_timeout`` are for. Without any
        of them the call waits until it is cancelled."""
        return cls("stall", _checked(after), call)

    @classmethod
    def reset(cls, after: int, call: Optional[int] = None) -> Fault:
        """The connection is reset: ``ConnectionLostError``, code 1006."""
        return cls("reset", _checked(after), call)

    @property
    def error(self) -> Optional[ConnectionLostError]:
        """The error of the connection; None if it only falls silent."""
        reasons = {"cut": "ended in the middle of a message", "reset": "connection reset by peer"}
        return ConnectionLostError(code=1006, reason=reasons[self.kind]) if self.kind in reasons else None


def _checked(after: int) -> int:
    if type(after) is not int or after < 0:
        raise ValueError("after must be a number of messages, such as 3")
    return after
