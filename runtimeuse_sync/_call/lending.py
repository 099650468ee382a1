"""Lenders: they give a run its connection, a new one or its session's, and take it back."""

from __future__ import annotations

import os
from typing import Optional, Protocol

import attrs

from ..exceptions import CancelledException, RuntimeUseError
from ..options import Logger
from ..transports import Transport
from .cancellation import Cancellation
from .channel import Channel
from .in_flight import CallsInFlight
from .limits import Limits
from .lock import SessionLock
from .observing import Observers
from .waits import IMPATIENT_CLOSE_WAIT


@attrs.frozen(kw_only=True, eq=False, repr=False)
class CallSettings:
    """The settings that every call takes from its client. Durations are in seconds."""

    cancel_poll_interval: float
    drain_timeout: Optional[float]
    logger: Logger
    observers: Observers

    def cancellation(self, is_cancelled: object) -> Cancellation:
        """A new call's cancellation state."""
        return Cancellation(is_cancelled, self.cancel_poll_interval)


class Lender(Protocol):
    """Lends a channel to one call at a time."""

    settings: CallSettings

    def lend(self, call: Cancellation, limits: Limits) -> Channel:
        """Register ``call`` as in flight, and return a channel for it; raises if the call ends before it has one."""

    def take_back(self, call: Cancellation, *, is_clean: bool, timeout: float) -> None:
        """Take the channel back when ``call`` is over; also called if nothing was lent to it.

        Unless ``is_clean``, messages of the call may still come, so the channel is not lent again: its connection is
        closed within ``timeout`` seconds.
        """


class OneCallLender:
    """Opens a connection for its only call, and closes it."""

    def __init__(self, transport: Transport, settings: CallSettings, in_flight: CallsInFlight) -> None:
        self.settings = settings
        self._transport = transport
        self._in_flight = in_flight
        self._channel: Optional[Channel] = None

    def lend(self, call: Cancellation, limits: Limits) -> Channel:
        self._in_flight.add(call)
        call.check()
        limits.check()
        self._channel = channel = Channel(self._transport.connection(), serves_one_call=True)
        channel.connection.open(limits.time_left)
        return channel

    def take_back(self, call: Cancellation, *, is_clean: bool, timeout: float) -> None:
        self._in_flight.discard(call)
        channel = self._channel
        if channel is not None and not channel.is_inherited:
            channel.connection.close(timeout)
        self._channel = None


class SessionLender:
    """Lends a session's one channel to one call at a time."""

    def __init__(self, transport: Transport, settings: CallSettings) -> None:
        self.settings = settings
        self.in_flight = CallsInFlight()
        self._transport = transport
        self._lock = SessionLock()
        self._channel: Optional[Channel] = None
        self._is_closed = False
        self._process = os.getpid()

    @property
    def channel(self) -> Channel:
        """The open channel; raises if there is none."""
        if self._is_closed:
            raise RuntimeUseError("this session is closed (its block was left, or a cancellation was not confirmed)")
        if self._channel is None:
            raise RuntimeUseError("enter the session first: `with client.session() as session:`")
        return self._channel

    @property
    def is_used(self) -> bool:
        """Whether it has been opened, closed or not."""
        return self._is_closed or self._channel is not None

    @property
    def is_closed(self) -> bool:
        return self._is_closed

    @property
    def is_inherited(self) -> bool:
        """Whether this is a forked child of the process that the session belongs to."""
        return self._process != os.getpid()

    def check_process(self) -> None:
        """Raise in a forked child."""
        if self.is_inherited:
            raise RuntimeUseError("this session belongs to the parent process; open one in the child")

    # --- opening and closing ------------------------------------------------------------------------

    def open(self) -> None:
        """Connect, and wait until connected; raises ``ConnectionFailedError`` or ``CancelledException``."""
        call = self.settings.cancellation(None)
        self.in_flight.add(call)
        try:
            self._channel = channel = Channel(self._transport.connection())
            wait_until_open(channel, None, call)
        except BaseException:
            self.close(IMPATIENT_CLOSE_WAIT)
            raise
        finally:
            self.in_flight.discard(call)

    def close(self, timeout: float) -> None:
        """Close the connection within ``timeout`` seconds."""
        self._is_closed = True
        if self._channel is not None:
            self._channel.connection.close(timeout)
            self._channel = None

    # --- lending ------------------------------------------------------------------------------------

    def lend(self, call: Cancellation, limits: Limits) -> Channel:
        self.check_process()
        self.in_flight.add(call)
        self._lock.acquire(call, limits)
        call.check()
        limits.check()
        return self.channel

    def take_back(self, call: Cancellation, *, is_clean: bool, timeout: float) -> None:
        self.in_flight.discard(call)
        if not self._lock.is_held_by(call):
            return
        if not is_clean:
            self.close(timeout)
        self._lock.release(call)


def wait_until_open(channel: Channel, timeout: Optional[float], call: Cancellation) -> None:
    """Open ``channel``'s connection within ``timeout`` seconds, and wait until it is."""
    channel.connection.open(timeout)
    call.on_abort(channel.wake or _do_nothing, channel.wake)
    try:
        while not channel.was_opened:
            if call.requested():
                raise CancelledException
            channel.backlog.extend(channel.connection.receive(call.begin_wait(float("inf"))))
    finally:
        call.end_wait()


def _do_nothing() -> None:
    pass
