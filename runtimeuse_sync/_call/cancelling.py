"""Asking the runtime to stop a request, and waiting until it has."""

from __future__ import annotations

import threading
from typing import Optional

from .. import messages as m
from .._common.deadline import Deadline
from .._protocol.exchange import Exchange, State
from ..exceptions import RuntimeUseError
from . import waits
from .cancellation import Cancellation
from .channel import Channel


class Canceller:
    """Cancels one request. ``send`` may be called from any thread, everything else by the caller's only.

    Attributes:
        is_unclean: whether messages of this request may still come after its end.
    """

    def __init__(self, exchange: Exchange, channel: Channel, cancellation: Cancellation) -> None:
        self._exchange = exchange
        self._channel: Optional[Channel] = channel
        self._cancellation = cancellation
        self._token = threading.Lock()  # never released: whoever acquires it sends the one cancel_message
        self.is_unclean = False

    def send(self) -> None:
        """Send the ``cancel_message``, once, and wake the caller."""
        channel = self._channel
        if channel is None or self._exchange.state not in (State.RUNNING, State.CANCELLING):
            return
        if self._token.acquire(blocking=False):
            channel.connection.send(m.CancelMessage())
        if channel.wake is not None:
            channel.wake()

    @property
    def was_sent(self) -> bool:
        return self._token.locked()

    def cancel(self, error: Optional[BaseException], limit: float) -> None:
        """End the exchange with ``error``, and wait ``limit`` seconds for the runtime to stop."""
        if self._channel is not None and self._exchange.cancel(error):
            self._cancellation.stop_asking()
            self.is_unclean = True
            self.send()
            self._settle(self._channel, Deadline(limit))

    def _settle(self, channel: Channel, deadline: Deadline) -> None:
        """Read and discard messages until the runtime has answered or closed the connection."""
        exchange = self._exchange
        while self._may_be_running(channel) and not deadline.expired:
            if exchange.state is State.SETTLED:
                deadline = deadline.earlier(Deadline(waits.IMPATIENT_CANCEL_WAIT))
            limit = deadline.remaining()
            pause = self._cancellation.begin_wait(limit)
            try:
                channel.backlog.extend(channel.receive(pause, limit=limit))
            except RuntimeUseError as error:
                error.__traceback__ = None  # its frames would be kept alive, for the connection keeps the error
                exchange.disconnect(error)
        self._cancellation.end_wait()
        self.is_unclean = exchange.state is State.CANCELLING
        if not exchange.is_over:
            exchange.stop_waiting()

    def _may_be_running(self, channel: Channel) -> bool:
        """Whether the request may still be running, judged by the messages received so far."""
        exchange, backlog = self._exchange, channel.backlog
        while backlog and not exchange.is_over:
            exchange.receive(backlog.popleft())
        if exchange.is_over or not channel.was_opened:
            return False
        # A call that closes the connection anyway does not wait for the confirmation.
        return not (exchange.state is State.SETTLED and channel.serves_one_call)

    def release(self) -> None:
        """Drop the reference to the connection."""
        self._channel = None
