"""The loop on the caller's thread that waits for the messages of one request, and acts as its ``Exchange`` says."""

from __future__ import annotations

import math
import time
import weakref
from collections.abc import Iterator, Sequence
from typing import Any, Callable, Optional

from .. import messages as m
from .._protocol.codec import UnknownMessage
from .._protocol.exchange import Action, Exchange, State
from ..exceptions import CancelledException, ConnectionFailedError, ConnectionLostError, ProtocolError, RuntimeUseError
from ..options import CallOptions, Logger
from . import waits
from .cancellation import Cancellation
from .cancelling import Canceller
from .channel import Channel
from .conversions import as_result, as_upload_result
from .limits import Limits
from .lost import is_normal_end, second_request_refused
from .ticker import Ticker

# The number of unknown message types that are logged, for each connection.
_UNKNOWN_TYPES = 100


class RequestLoop:
    """Runs one exchange over a channel.

    Attributes:
        exchange: the state of the request.
        canceller: cancels the request.
        escaped: a ``StopIteration`` that a callback raised; Python turns it into a ``RuntimeError``.
    """

    def __init__(
        self,
        exchange: Exchange,
        channel: Channel,
        cancellation: Cancellation,
        limits: Limits,
        *,
        options: CallOptions,
        result_cls: type,
        logger: Logger,
    ) -> None:
        self.exchange = exchange
        self.canceller = Canceller(exchange, channel, cancellation)
        self.escaped: Optional[StopIteration] = None
        self._open_channel: Optional[Channel] = channel
        self._was_opened = False  # the answer after ``release``
        self._cancellation = cancellation
        self._limits = limits
        self._ticker = Ticker(options.tick)
        self._options = options
        self._result_cls = result_cls
        self._logger = logger

    # --- starting and letting go --------------------------------------------------------------------

    def start(self, request: m.ClientMessage, *, is_last: bool = True) -> None:
        """Send the request; ``is_last`` says that the call sends no other."""
        # The state changes before the request is sent: should a signal handler raise in between, the cancel_message
        # for a request that was not sent does no harm.
        self.exchange.start()
        self._channel.send_request(request, closes=is_last and not self.exchange.drains)
        self._limits.heard()
        # Weak, to make no reference cycle: a call that a signal handler's exception kept from ending is then freed
        # with its last reference, which releases the session's lock.
        self._cancellation.on_abort(_weakly(self.canceller.send), self._channel.wake)

    def start_drain(self) -> None:
        """Send no request; wait for the messages that may still follow earlier ones."""
        self.exchange.start_drain(self._channel.last_result)
        self._cancellation.on_abort(_weakly(self.canceller.send), self._channel.wake)
        self._begin_drain()

    def stop(self, limit: float) -> None:
        """Cancel the request if it runs, within ``limit`` seconds; store in the channel what the next call needs."""
        exchange, channel = self.exchange, self._channel
        try:
            if not exchange.is_over:
                self.canceller.cancel(None, limit)
        finally:
            channel.last_result = exchange.result or channel.last_result
            channel.stale_cancel = self.canceller.was_sent and not exchange.is_confirmed

    def hand_over(self) -> Channel:
        """Stop, release, and return the channel, for the next request of the same call."""
        channel = self._channel
        self.stop(0.0)
        self.release()
        return channel

    def release(self) -> None:
        """Drop the references to connection and error: the traceback of a raised error refers to this object."""
        self._was_opened = self.was_opened
        self._open_channel = None
        self.canceller.release()
        self.exchange.error = None
        self._cancellation.on_abort(_do_nothing)
        self._cancellation.end_wait()  # a safety net: a signal may have cut off the one at the end of deliveries()

    @property
    def _channel(self) -> Channel:
        if self._open_channel is None:
            raise RuntimeUseError("this run has been left: iterate inside its `with` block")
        return self._open_channel

    @property
    def was_opened(self) -> bool:
        """Whether the connection was established; it may be lost or given back by now."""
        channel = self._open_channel
        return self._was_opened if channel is None else channel.was_opened

    @property
    def is_inherited(self) -> bool:
        """Whether this is a forked child of the process that the call belongs to."""
        return self._open_channel is not None and self._open_channel.is_inherited

    def check_process(self) -> None:
        """Raise in a forked child."""
        if self._open_channel is not None:
            self._open_channel.check_process()

    # --- the loop -----------------------------------------------------------------------------------

    def deliveries(self) -> Iterator[Any]:
        """The messages for the caller, in wire order; raises the outcome if it is an error."""
        exchange, backlog, cancellation = self.exchange, self._channel.backlog, self._cancellation
        # Local variables, for speed: one property or Enum look-up costs as much as the rest of a message's processing.
        clock, over, deliver = time.monotonic, State.OVER, Action.DELIVER
        try:
            while exchange.state is not over:
                if clock() >= cancellation.look_at:
                    self._look()
                elif not backlog:
                    yield from self._wait()
                else:
                    message = backlog.popleft()
                    action = exchange.receive(message)
                    if action is deliver:
                        yield message
                    else:
                        yield from self._act(action, message)
        except StopIteration as error:
            self.escaped = error
            raise
        finally:
            cancellation.end_wait()
        if exchange.error is not None:
            raise exchange.error

    def _wait(self) -> Sequence[m.Tick]:
        """Wait for a batch of messages, the end of the connection, or a limit; return the tick that is due, if any."""
        channel, cancellation = self._channel, self._cancellation
        channel.check_process()
        limit = min(self._limits.remaining(self.exchange.state), self._ticker.remaining())
        pause = cancellation.begin_wait(limit)
        try:
            batch = channel.receive(pause, limit=limit)
        except RuntimeUseError as error:
            self._disconnect(error)
            return ()
        if batch:
            cancellation.end_wait()
            channel.backlog.extend(batch)
            self._limits.heard()
            self._ticker.heard()
        elif self._limits.is_silent_for_too_long(self.exchange.state):
            self.canceller.cancel(self._limits.silent_for_too_long(), waits.IMPATIENT_CANCEL_WAIT)
        else:
            cancellation.look_at = -math.inf
        return self._ticker.due()

    def _look(self) -> None:
        """Check the clock and the cancellation, and set the time of the next check."""
        cancellation, state = self._cancellation, self.exchange.state
        # An abort() by another thread lowers it, which must not be lost: so it is set before the check, only lowered
        # after it, and the abort looked for once more at the end.
        cancellation.look_at = math.inf
        if cancellation.requested():
            self.canceller.cancel(CancelledException(), waits.CANCEL_WAIT)
        elif state is State.DRAINING:
            self._look_at_drain()
        elif self._limits.is_over:
            self.canceller.cancel(self._limits.timed_out(), waits.IMPATIENT_CANCEL_WAIT)
        pause = cancellation.pause(self._limits.until_look(state))
        cancellation.look_at = min(cancellation.look_at, time.monotonic() + pause)
        if cancellation.was_requested:
            cancellation.look_at = -math.inf

    def _look_at_drain(self) -> None:
        if self._limits.drain_is_over:
            self._logger.warning(
                "the runtime did not end the session within %g s; artifacts may be missing", self._limits.drain_timeout
            )
            self.exchange.stop_waiting()

    def _disconnect(self, error: RuntimeUseError) -> None:
        """End the exchange, since the connection has ended with ``error``."""
        if self._cancellation.was_requested and self.exchange.cancel(CancelledException()):
            # Cancelled by another thread. It is a race whether the connection closes before that is noticed here, so
            # the outcome is the cancellation either way.
            self.exchange.disconnect(error)
            return
        error.__traceback__ = None  # the inbox's frames in it would keep the connection alive
        if self.exchange.state is State.DRAINING and not is_normal_end(error):
            # Only the error's type is logged: its text quotes the peer.
            name = type(error).__name__
            self._logger.warning("%s while artifacts were awaited; some may be missing", name)
        self.exchange.disconnect(self._explained(error))

    def _explained(self, error: RuntimeUseError) -> RuntimeUseError:
        if isinstance(error, ConnectionFailedError) and self._limits.is_over:
            # The call's timeout limits connecting as well. It is a race which of the two notices first, so the error
            # is the call's timeout either way.
            return self._limits.timed_out()
        if isinstance(error, ConnectionLostError) and is_normal_end(error) and self._channel.requests > 1:
            return second_request_refused(error)
        return error

    # --- actions on messages ------------------------------------------------------------------------

    def _act(self, action: Action, message: Any) -> Sequence[Any]:
        """Do ``action``; return the messages for the caller. A generator would alter a callback's StopIteration."""
        if action is Action.RESULT:
            return self._resolve(message)
        if action is Action.ANSWER:
            self._answer(message)
            return (message,)
        if action is Action.JUDGE:
            self._judge(message)
        elif isinstance(message, UnknownMessage):
            self._note_unknown(message.message_type)
        return ()

    def _resolve(self, message: Any) -> Sequence[Any]:
        try:
            result = as_result(message, self._result_cls)
        except ProtocolError as error:
            self.exchange.disconnect(error)
            return ()
        self.exchange.resolve(result)
        if self.exchange.state is State.DRAINING:
            self._begin_drain()
        return (result,)

    def _begin_drain(self) -> None:
        self._limits.begin_drain()
        self._cancellation.look_at = -math.inf  # another limit counts from now on
        self._channel.connection.send(m.EndSessionMessage())

    def _answer(self, request: m.ArtifactUploadRequestMessageInterface) -> None:
        on_artifact = self._channel.on_artifact
        if on_artifact is None:
            self._logger.warning("the runtime offers an artifact, but there is no on_artifact_upload_request")
            return
        where = as_upload_result(on_artifact(request))
        self._channel.connection.send(
            m.ArtifactUploadResponseMessageInterface(
                filename=request.filename,
                filepath=request.filepath,
                presigned_url=where.presigned_url,
                content_type=where.content_type,
            )
        )

    def _judge(self, error: m.ErrorMessageInterface) -> None:
        callback = self._options.on_error_message
        self.exchange.judge(error, is_soft=callback is not None and callback(error) is True)

    def _note_unknown(self, message_type: str) -> None:
        seen = self._channel.unknown_types
        if message_type not in seen and len(seen) < _UNKNOWN_TYPES:
            seen.add(message_type)
            self._logger.warning("skipping messages of the unknown type %.60r", message_type)


def _do_nothing() -> None:
    pass


def _weakly(method: Callable[[], None]) -> Callable[[], None]:
    reference = weakref.WeakMethod(method)

    def call_if_alive() -> None:
        alive = reference()
        if alive is not None:
            alive()

    return call_if_alive
