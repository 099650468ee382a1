"""The caller's loop around one exchange: waits, asks, answers, and knows when to stop.

All of it runs on the caller's thread, except ``send_cancel``.
"""

from __future__ import annotations

import math
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterator
from typing import Any, Callable, Optional

import attrs

from .. import messages as m
from .._common.deadline import Deadline
from .._common.validation import kind
from .._connection.connection import WebSocketConnection
from .._protocol.codec import RawResult, UnknownMessage, structure_result
from .._protocol.exchange import RESULTS, Action, Exchange, State
from ..exceptions import (
    CancelledException,
    ConnectionFailedError,
    ConnectionLostError,
    IdleTimeoutError,
    InvocationTimeoutError,
    ProtocolError,
    RuntimeUseError,
)
from ..options import CallOptions, Logger, OnArtifactUploadRequestCallback
from ..transports import Connection
from .cancellation import Cancellation

# The longest wait in one go, in seconds: on Windows Ctrl-C is only seen between two waits.
LONGEST_WAIT = 0.25
# How long to wait for the runtime's answer to a cancel_message, in seconds.
CANCEL_WAIT = 5.0
IMPATIENT_CANCEL_WAIT = 0.7


@attrs.define(eq=False, repr=False)
class Line:
    """A connection, and what has come over it without having been looked at."""

    connection: Connection
    backlog: deque[Any] = attrs.field(factory=deque)
    requests: int = 0  # sent so far
    unknown_types: set[str] = attrs.field(factory=set)  # those that have been logged


class Driver:
    """Drives one exchange over a line.

    ``on_artifact`` is the callback for artifact requests, which may be that of an earlier request of the
    session. ``is_last`` says that the line is closed behind this exchange.
    """

    def __init__(
        self,
        exchange: Exchange,
        cancellation: Cancellation,
        deadline: Deadline,
        *,
        options: CallOptions,
        result_cls: type,
        drain_timeout: Optional[float],
        is_last: bool,
        logger: Logger,
    ) -> None:
        self.exchange = exchange
        self._cancellation = cancellation
        self._deadline = deadline
        self._options = options
        self._result_cls = result_cls
        self._drain_timeout = drain_timeout
        self._is_last = is_last
        self._logger = logger
        self._process = os.getpid()
        self._line: Optional[Line] = None
        self.on_artifact = options.on_artifact_upload_request
        self._idle_since = time.monotonic()
        self._drain_deadline = Deadline(None)
        self._look_at = -math.inf  # when to look at clock and cancellation; lowered by any thread
        self._cancel_token = threading.Lock()  # taken by whoever sends the one cancel_message
        self.escaped: Optional[StopIteration] = None  # a callback's, which Python turns into a RuntimeError
        self.is_unclean = False  # whether messages of this request may still come behind its end

    # --- starting -----------------------------------------------------------------------------------

    def start(
        self, line: Line, request: m.ClientMessage, on_artifact: Optional[OnArtifactUploadRequestCallback]
    ) -> None:
        """Send the request."""
        self._line = line
        self.on_artifact = on_artifact
        # Noted before it is sent: if a signal comes between the two, a cancel_message too many does no harm.
        self.exchange.start()
        line.requests += 1
        self._announce_the_end(line.connection)
        line.connection.send(request)
        self._idle_since = time.monotonic()
        # What a user's transport does when it is woken is not known: its callers look for themselves.
        wake = line.connection.wake if isinstance(line.connection, WebSocketConnection) else None
        # No cycle: a call that a signal kept from being left goes with its last reference, and gives its turn back.
        self._cancellation.on_request(_weakly(self.send_cancel), wake)

    def _announce_the_end(self, connection: Connection) -> None:
        if isinstance(connection, WebSocketConnection) and self._is_last and not self.exchange.drains:
            connection.close_after(RESULTS)

    def start_drain(self, line: Line, on_artifact: Optional[OnArtifactUploadRequestCallback], last_result: Any) -> None:
        """Send no request; only wait for what earlier ones have left."""
        self._line = line
        self.on_artifact = on_artifact
        self.exchange.start_drain(last_result)
        self._begin_drain()

    @property
    def is_inherited(self) -> bool:
        """Whether this is a forked child, which has neither the connection thread nor the right to the socket."""
        return self._process != os.getpid()

    def check_process(self) -> None:
        """Raise in a forked child."""
        if self.is_inherited:
            raise RuntimeUseError("this call belongs to the parent process; make one of its own in the child")

    @property
    def time_left(self) -> Optional[float]:
        """Seconds left of the call's timeout; None without one."""
        return None if self._deadline.timeout is None else self._deadline.remaining()

    def check(self) -> None:
        """Before the start: raise if there is nothing to start any more."""
        if self._cancellation.requested():
            raise CancelledException
        if self._deadline.expired:
            raise InvocationTimeoutError(timeout=self._deadline.timeout)

    def pause(self) -> float:
        """How long to wait, at most, before looking at clock and cancellation again."""
        return self._cancellation.pause(self._longest_wait())

    def _longest_wait(self) -> float:
        return min(LONGEST_WAIT, self._deadline.remaining())

    # --- the loop -----------------------------------------------------------------------------------

    def deliveries(self) -> Iterator[Any]:
        """What the caller is to see, in wire order; raises the outcome if it is an error."""
        exchange, backlog, clock = self.exchange, self._open_line.backlog, time.monotonic
        over, deliver, result = State.OVER, Action.DELIVER, Action.RESULT  # looked up once: see _exchange
        try:
            while exchange.state is not over:  # a property would cost a call a message
                if clock() >= self._look_at:
                    self._look()
                elif not backlog:
                    self._wait()
                else:
                    message = backlog.popleft()
                    action = exchange.receive(message)
                    if action is deliver:
                        yield message
                    elif action is result:
                        yield from self._resolve(message)
                    else:
                        self._act(action, message)
        except StopIteration as error:
            self.escaped = error
            raise
        finally:
            self._cancellation.end_wait()
        if exchange.error is not None:
            raise exchange.error

    @property
    def _open_line(self) -> Line:
        if self._line is None:
            raise RuntimeUseError("this run has been left: iterate inside its `with` block")
        return self._line

    def _wait(self) -> None:
        """Take the next batch, or find that there is none for now, or never."""
        self.check_process()
        limit = min(self._longest_wait(), self._drain_deadline.remaining(), self._idle_left())
        try:
            batch = self._open_line.connection.receive(self._cancellation.begin_wait(limit))
        except RuntimeUseError as error:
            self._disconnect(error)
            return
        if batch:
            self._cancellation.end_wait()
            self._open_line.backlog.extend(batch)
            self._idle_since = time.monotonic()
        elif self._idle_left() == 0.0:
            self.cancel(IdleTimeoutError(timeout=self._options.idle_timeout), IMPATIENT_CANCEL_WAIT)
        else:
            self._look_at = -math.inf

    def _disconnect(self, error: RuntimeUseError) -> None:
        if self._cancellation.was_requested and self.exchange.cancel(CancelledException()):
            # Cancelled from another thread: that the runtime, or who left the session, closed first is chance.
            self.exchange.disconnect(error)
            return
        error.__traceback__ = None  # of the inbox's innards, which would keep the connection alive
        if isinstance(error, ConnectionFailedError) and self._deadline.expired:
            # The call's limit bounds connecting as well; which of the two clocks strikes first is chance.
            error = InvocationTimeoutError(timeout=self._deadline.timeout)
        if isinstance(error, ConnectionLostError) and error.code in (1000, 1001, 1005):
            if self._open_line.requests > 1:
                error = _explained(error)
        elif self.exchange.state is State.DRAINING:
            # Not the error's text: a peer's reason is its own words.
            name = type(error).__name__
            self._logger.warning("%s while artifacts were awaited; some may be missing", name)
        self.exchange.disconnect(error)

    def _idle_left(self) -> float:
        if self._options.idle_timeout is None or self.exchange.state is not State.RUNNING:
            return math.inf
        return max(0.0, self._idle_since + self._options.idle_timeout - time.monotonic())

    def _look(self) -> None:
        """Look at clock and cancellation, and set the time of the next look."""
        # Set first, and looked through last: a request from another thread, which lowers it, must not be overwritten.
        self._look_at = time.monotonic() + LONGEST_WAIT
        if self._cancellation.requested():
            self.cancel(CancelledException(), CANCEL_WAIT)
        elif self.exchange.state is State.DRAINING:
            self._look_at_drain()
        elif self._deadline.expired:
            self.cancel(InvocationTimeoutError(timeout=self._deadline.timeout), IMPATIENT_CANCEL_WAIT)
        self._look_at = min(self._look_at, time.monotonic() + self.pause())
        if self._cancellation.was_requested:
            self._look_at = -math.inf

    def _look_at_drain(self) -> None:
        if self._drain_deadline.expired:
            self._logger.warning(
                "the runtime did not end the session within %g s; artifacts may be missing",
                self._drain_deadline.timeout,
            )
            self.exchange.stop_waiting()

    # --- what messages ask for ----------------------------------------------------------------------

    def _resolve(self, message: Any) -> Iterator[Any]:
        try:
            result = self._as_result(message)
        except ProtocolError as error:
            self.exchange.disconnect(error)
            return
        self.exchange.resolve(result)
        if self.exchange.state is State.DRAINING:
            self._begin_drain()
        yield result

    def _as_result(self, message: Any) -> Any:
        if isinstance(message, self._result_cls):
            return message
        if isinstance(message, RawResult) and issubclass(self._result_cls, m.ResultMessageInterface):
            return structure_result(message, self._result_cls)
        if isinstance(message, RawResult) or not issubclass(self._result_cls, type(message)):
            kind = getattr(message, "message_type", "result_message")
            raise ProtocolError(f"a result that answers another kind of request: {kind}")
        raise ProtocolError(f"the transport brought a {type(message).__name__}, not a {self._result_cls.__name__}")

    def _begin_drain(self) -> None:
        self._drain_deadline = Deadline(self._drain_timeout).earlier(self._deadline)
        self._open_line.connection.send(m.EndSessionMessage())

    def _act(self, action: Action, message: Any) -> None:
        if action is Action.ANSWER:
            self._answer(message)
        elif action is Action.JUDGE:
            self._judge(message)
        elif isinstance(message, UnknownMessage):
            self._note_unknown(message.message_type)

    def _answer(self, request: m.ArtifactUploadRequestMessageInterface) -> None:
        if self.on_artifact is None:
            self._logger.warning("the runtime offers an artifact, but there is no on_artifact_upload_request")
            return
        where = _as_upload_result(self.on_artifact(request))
        self._open_line.connection.send(
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
        seen = self._open_line.unknown_types
        if message_type not in seen and len(seen) < 100:
            seen.add(message_type)
            self._logger.warning("skipping messages of the unknown type %.60r", message_type)

    def release(self) -> None:
        """Let go of connection and error: a raised one leads, by its traceback, back to here."""
        self._line = None
        self.exchange.error = None
        self._cancellation.on_request(_do_nothing)
        self._cancellation.end_wait()  # a safety net: a signal may have cut off the one at the end of deliveries()

    # --- cancelling ---------------------------------------------------------------------------------

    def send_cancel(self) -> None:
        """Send the ``cancel_message``, once, from any thread."""
        line = self._line
        if line is None or self.exchange.state not in (State.RUNNING, State.CANCELLING):
            return
        self._look_at = -math.inf  # before it is sent: the answer must find the caller looking
        if self._cancel_token.acquire(blocking=False):
            line.connection.send(m.CancelMessage())
        line.connection.wake()

    @property
    def cancel_was_sent(self) -> bool:
        return self._cancel_token.locked()

    def cancel(self, error: Optional[BaseException], limit: float) -> None:
        """End the exchange with ``error``, and wait ``limit`` seconds for the runtime to stop."""
        if self.exchange.cancel(error):
            self._cancellation.end_wait()
            self.is_unclean = True
            self.send_cancel()
            self._settle(Deadline(limit))

    def _settle(self, deadline: Deadline) -> None:
        """Read on, delivering nothing, until the runtime has answered or closed."""
        exchange, connection = self.exchange, self._open_line.connection
        while self._may_be_running() and connection.is_open and not deadline.expired:
            if exchange.state is State.SETTLED:
                deadline = deadline.earlier(Deadline(IMPATIENT_CANCEL_WAIT))
            try:
                batch = connection.receive(min(LONGEST_WAIT, deadline.remaining()))
            except RuntimeUseError as error:
                self._disconnect(error)
            else:
                self._open_line.backlog.extend(batch)
        self.is_unclean = exchange.state is State.CANCELLING
        if not exchange.is_over:
            exchange.stop_waiting()

    def _may_be_running(self) -> bool:
        """Whether the request may still be running, as far as what has come tells."""
        exchange, backlog = self.exchange, self._open_line.backlog
        while backlog and not exchange.is_over:
            exchange.receive(backlog.popleft())
        # Who closes the connection anyway need not wait for the last word.
        return not exchange.is_over and not (exchange.state is State.SETTLED and self._is_last)


def _do_nothing() -> None:
    pass


def _weakly(method: Callable[[], None]) -> Callable[[], None]:
    reference = weakref.WeakMethod(method)

    def call_if_alive() -> None:
        alive = reference()
        if alive is not None:
            alive()

    return call_if_alive


def _explained(error: ConnectionLostError) -> ConnectionLostError:
    """What it mostly means when a runtime closes upon the second request of a session."""
    explained = ConnectionLostError(
        code=error.code,
        reason="the runtime closed it; runtimes before 0.11 serve one request a connection: open a session for "
        "each, or call the client itself",
    )
    explained.__cause__ = error
    return explained


def _as_upload_result(answer: Any) -> m.ArtifactUploadResult:
    if isinstance(answer, m.ArtifactUploadResult):
        return answer
    if isinstance(answer, tuple) and len(answer) == 2:
        return m.ArtifactUploadResult(presigned_url=answer[0], content_type=answer[1])
    raise TypeError(
        "on_artifact_upload_request must return an ArtifactUploadResult or a (presigned_url, content_type) tuple; "
        f"it returned {kind(answer)}"
    )
