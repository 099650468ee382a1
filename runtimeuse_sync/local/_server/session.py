"""The session of one connection: it runs one request at a time, handles artifacts meanwhile, and ends the session.

Messages are processed on the connection's thread, which must go on reading, and so never waits: neither for the client,
nor for a request that is being cancelled.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Optional, Union

from ..._protocol.codec import UnknownMessage, decode_client_message
from ...exceptions import ProtocolError
from ...messages import (
    ArtifactUploadResponseMessageInterface,
    CancelMessage,
    ClientMessage,
    CommandExecutionMessage,
    EndSessionConfirmMessage,
    EndSessionMessage,
    InvocationMessage,
)
from .._artifacts.artifacts import Artifacts
from .._processes.processes import KILL_GRACE, Processes
from .connection import Connection
from .framing import Received
from .outbox import Outbox
from .request import Request, RequestMessage
from .settings import Settings

# Seconds that a cancelled request gets to end its processes and its handler before the client is answered.
_CANCEL_GRACE = 2 * KILL_GRACE + 0.5

# Messages that may wait while a cancelled request ends: the next request, and the end of the session.
_MOST_HELD = 2

_NO_THREAD = "the runtime cannot start a thread for this now; try again later"


class Session:
    """A session. All but the winding up runs on the thread of its connection."""

    def __init__(self, connection: Connection, settings: Settings, processes: Processes) -> None:
        self._connection = connection
        self._settings = settings
        self._processes = processes
        self._outbox = Outbox(connection)
        self._artifacts = Artifacts(self._outbox, settle_seconds=settings.settle_seconds)
        self._request: Optional[Request] = None
        self._next_beat = 0.0
        # The time at which a cancellation is confirmed to the client even if the request has not ended.
        self._give_up_at: Optional[float] = None
        self._held: deque[Union[ClientMessage, UnknownMessage]] = deque()
        self._drain: Optional[threading.Thread] = None
        self._aborted = threading.Event()

    # --- called by the connection --------------------------------------------------------------------

    def take(self, message: Received) -> None:
        """Process a message of the client."""
        if self._aborted.is_set():
            return
        if not isinstance(message, str):
            self._outbox.error("a binary frame; messages are JSON in text frames")
            return
        try:
            decoded = decode_client_message(message.encode())
        except ProtocolError as error:
            self._outbox.error(f"malformed message: {error}")
            return
        self._hold_or_do(decoded)

    def tick(self) -> Optional[float]:
        """Send a heartbeat, abandon a request that does not end, process waiting messages; return seconds to wait."""
        now = time.monotonic()
        if self._give_up_at is not None and now >= self._give_up_at and self._request:
            self._request.abandon()
        while self._held and not self._is_cancelling():
            self._do(self._held.popleft())
        if not self._is_busy():
            return None
        if now >= self._next_beat:
            self._beat(now)
        return min(self._next_beat, self._give_up_at or self._next_beat) - now

    def cancel(self) -> None:
        """Cancel what runs, and process no more messages, since the connection is closing."""
        self._aborted.set()
        self._held.clear()
        if self._request:
            self._request.cancel()

    def end(self) -> None:
        """Wait for what runs, after the connection is closed. It delays only the end of this connection's thread.

        A handler that does not end keeps the place of its connection, so that there are never more of them than
        there may be connections.
        """
        self._artifacts.close()
        if self._request:
            self._request.join(_CANCEL_GRACE)
            self._request.abandon()
        if self._drain:
            self._drain.join(_CANCEL_GRACE)
        if self._request:
            self._request.join(None)

    # --- message handlers ----------------------------------------------------------------------------

    def _is_busy(self) -> bool:
        return self._request is not None and self._request.in_flight

    def _is_cancelling(self) -> bool:
        return self._give_up_at is not None and self._is_busy()

    def _hold_or_do(self, message: Union[ClientMessage, UnknownMessage]) -> None:
        if isinstance(message, CancelMessage) or not self._is_cancelling():
            self._do(message)
        elif len(self._held) < _MOST_HELD:
            self._held.append(message)
        else:
            self._outbox.error("a cancelled request is still ending on this connection; wait for its last message")

    def _do(self, message: Union[ClientMessage, UnknownMessage]) -> None:
        if isinstance(message, UnknownMessage):
            self._outbox.error(f"unknown message type: {message.message_type[:100]}")
        elif isinstance(message, (InvocationMessage, CommandExecutionMessage)):
            self._begin(message)
        elif isinstance(message, ArtifactUploadResponseMessageInterface):
            self._artifacts.answer(message)
        elif isinstance(message, CancelMessage):
            self._cancel()
        elif isinstance(message, EndSessionMessage):
            self._end()

    def _begin(self, message: RequestMessage) -> None:
        if self._drain:
            self._outbox.error("the session is ending; open another one")
        elif self._is_busy():
            self._outbox.error("a request is in flight on this connection; wait for its result, or cancel it")
        else:
            try:
                self._start(message)
            except ValueError as error:
                self._outbox.error(str(error))
            except RuntimeError:
                self._outbox.error(_NO_THREAD)

    def _start(self, message: RequestMessage) -> None:
        self._outbox.keep_secret(message.secrets_to_redact)
        self._artifacts.watch(message.artifacts_dirs or (), message.artifacts_ignore_content or "")
        request = Request(message, self._outbox, self._settings, self._processes)
        request.start()
        self._give_up_at = None
        self._next_beat = time.monotonic() + self._settings.heartbeat_interval
        self._request = request

    def _beat(self, now: float) -> None:
        # Missed heartbeats are not sent later.
        self._next_beat = max(now, self._next_beat + self._settings.heartbeat_interval)
        if self._request:
            self._request.beat()

    def _cancel(self) -> None:
        if self._request and self._is_busy() and self._give_up_at is None:
            self._give_up_at = time.monotonic() + _CANCEL_GRACE
            self._request.cancel()

    def _end(self) -> None:
        if self._drain:
            return
        self._drain = threading.Thread(target=self._wind_up, name="runtimeuse-drain", daemon=True)
        try:
            self._drain.start()
        except RuntimeError:
            self._outbox.error(_NO_THREAD)
            self._drain = None

    def _wind_up(self) -> None:
        """Runs beside the connection, which takes in the answers that this waits for."""
        if self._request:
            self._request.wait()
        self._artifacts.drain(self._settings.drain_timeout, self._aborted)
        if not self._aborted.is_set():
            self._outbox.send(EndSessionConfirmMessage())
            # An empty Close frame, as the wire has it.
            self._connection.close(None)
