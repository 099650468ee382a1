"""``Observer``: the interface to be told what calls do. Journals and tracing are implemented by it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextvars import Context, copy_context
from typing import Any, Optional, Union

import attrs

from . import messages as m

ObservedRequest = Union[m.InvocationMessage, m.CommandExecutionMessage, m.EndSessionMessage]


def _new_id() -> str:
    return os.urandom(16).hex()


@attrs.frozen(kw_only=True, eq=False)
class ObservedCall:
    """One call, as its observers see it: the same object from ``call_began`` to ``call_ended``.

    Attributes:
        request (InvocationMessage, CommandExecutionMessage or EndSessionMessage): what the caller asked for, as it was
            given. ``EndSessionMessage``: a session is being left, and waits for what its runtime still has.
        id (str): of no other call in the world.
        url (str or None): scheme, host and port of the runtime; None with a transport of one's own.
        session_id (str or None): of the session that the call is made on; None without one.
        context (contextvars.Context): that of where the call was made, ``client.stream(…)`` for one: what iterates the
            run may be elsewhere, such as a web server's thread.

    >>> ObservedCall(request=InvocationMessage(system_prompt="", user_prompt="hi"), url="ws://sandbox:8080").session_id
    """

    request: ObservedRequest
    id: str = attrs.field(factory=_new_id)
    url: Optional[str] = None
    session_id: Optional[str] = None
    context: Context = attrs.field(factory=copy_context, repr=False)


class Observer:
    """Is told what calls send and receive, and how they end. Each method does nothing by default.

    For one call: ``call_began``, ``environment``, ``connected``, then ``message_sent`` and ``message_received`` in the
    order of the wire, at last ``call_ended``. A call to which no connection came about has sent nothing, and tells
    only its beginning and its end. All of them run on the thread that makes the call, and hold it up; no lock is held.
    Calls of several threads tell the same observer at once. What a method raises (an ``Exception``) is logged by
    its type, and the call goes on.

    Messages are told as they are, secrets and presigned URLs among them.

    >>> class Counter(Observer):
    ...     def __init__(self):
    ...         self.sent = self.received = 0
    ...     def message_sent(self, call, message):
    ...         self.sent += 1
    ...     def message_received(self, call, message):
    ...         self.received += 1
    >>> counter = Counter()
    >>> client.with_observers(counter).query("hello").output
    'hello'
    >>> counter.sent, counter.received
    (1, 2)
    """

    def call_began(self, call: ObservedCall) -> None:
        """A call has begun; it may still wait for its session's turn. Nothing is connected yet.

        >>> Observer().call_began(ObservedCall(request=EndSessionMessage()))
        """

    def environment(self, call: ObservedCall) -> Mapping[str, str]:
        """Variables to add to the environment of the agent and of all commands; where the caller sets the same, that
        counts. Asked once, before the request is sent.

        >>> Observer().environment(ObservedCall(request=EndSessionMessage()))
        {}
        """
        return {}

    def connected(self, call: ObservedCall) -> None:
        """The connection has come about; on a session it has before, and this is told at once.

        >>> Observer().connected(ObservedCall(request=EndSessionMessage()))
        """

    def message_sent(self, call: ObservedCall, message: m.ClientMessage) -> None:
        """A message was handed to the connection: the request first.

        >>> Observer().message_sent(ObservedCall(request=EndSessionMessage()), CancelMessage())
        """

    def message_received(self, call: ObservedCall, message: Any) -> None:
        """A message has come, and was not yet delivered. A result is still a ``RawResult``: the caller's class
        is made of it later, and is told by ``call_ended``.

        >>> Observer().message_received(ObservedCall(request=EndSessionMessage()), EndSessionConfirmMessage())
        """

    def messages_received(self, call: ObservedCall, messages: Sequence[Any]) -> None:
        """All that was read at once: ``message_received`` for each, unless overridden by who is faster with many.

        >>> Observer().messages_received(ObservedCall(request=EndSessionMessage()), [])
        """
        for message in messages:
            self.message_received(call, message)

    def call_ended(self, call: ObservedCall, result: Optional[Any], error: Optional[BaseException]) -> None:
        """The call is over, and its connection closed or given back. Told once, last.

        Args:
            call: which one.
            result: the result message, if it came.
            error: what the call raised, or what was raised inside its ``with`` block. A call that was left before
                its end has neither result nor error.

        >>> Observer().call_ended(ObservedCall(request=EndSessionMessage()), None, CancelledException())
        """
