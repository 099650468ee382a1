"""One connection: reads what the client sends, one request at a time, until it ends the session or goes."""

from __future__ import annotations

import threading
import time
from typing import Optional

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection

from ..._protocol.codec import UnknownMessage, decode_client_message
from ...exceptions import ProtocolError
from ...messages import (
    ArtifactUploadResponseMessageInterface,
    CancelMessage,
    CommandExecutionMessage,
    EndSessionConfirmMessage,
    EndSessionMessage,
    InvocationMessage,
)
from .._artifacts.artifacts import Artifacts
from .._processes.processes import KILL_GRACE, Processes
from .outbox import Outbox
from .request import Request, RequestMessage
from .settings import Settings

# Seconds that a cancelled request gets to end its processes and its handler before the client is answered.
_CANCEL_GRACE = 2 * KILL_GRACE + 0.5

_POLL = 0.1


class Session:
    """What one connection is served by, on the thread that the server gives it."""

    def __init__(self, connection: ServerConnection, settings: Settings, processes: Processes) -> None:
        self._connection = connection
        self._settings = settings
        self._processes = processes
        self._outbox = Outbox(connection)
        self._artifacts = Artifacts(self._outbox, settle_seconds=settings.settle_seconds)
        self._request: Optional[Request] = None
        self._next_beat = 0.0
        self._drain: Optional[threading.Thread] = None
        self._aborted = threading.Event()

    def serve(self) -> None:
        """Serve until the connection is closed, by either side; then end what is left of its work."""
        try:
            while True:
                self._take(self._receive())
        except ConnectionClosed:
            pass
        finally:
            self._abort()

    # --- reading -------------------------------------------------------------------------------------

    def _receive(self) -> object:
        while True:
            try:
                return self._connection.recv(timeout=self._until_beat())
            except TimeoutError:
                self._beat()

    def _until_beat(self) -> Optional[float]:
        return max(0.0, self._next_beat - time.monotonic()) if self._is_busy() else None

    def _beat(self) -> None:
        self._next_beat += self._settings.heartbeat_interval
        if self._request:
            self._request.beat()

    def _is_busy(self) -> bool:
        return self._request is not None and self._request.in_flight

    def _take(self, frame: object) -> None:
        if not isinstance(frame, str):
            self._outbox.error("a binary frame; messages are JSON in text frames")
            return
        try:
            message = decode_client_message(frame.encode())
        except ProtocolError as error:
            self._outbox.error(f"malformed message: {error}")
            return
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

    # --- what messages do ----------------------------------------------------------------------------

    def _begin(self, message: RequestMessage) -> None:
        if self._drain:
            self._outbox.error("the session is ending; open another one")
        elif self._is_busy():
            self._outbox.error("a request is in flight on this connection; wait for its result, or cancel it")
        else:
            self._outbox.keep_secret(message.secrets_to_redact)
            self._artifacts.watch(message.artifacts_dirs or (), message.artifacts_ignore_content or "")
            self._next_beat = time.monotonic() + self._settings.heartbeat_interval
            self._request = Request(message, self._outbox, self._settings, self._processes)
            self._request.start()

    def _cancel(self) -> None:
        request = self._request
        if request and request.in_flight:
            request.cancelled.set()
            if not request.join(_CANCEL_GRACE):
                request.abandon()

    def _end(self) -> None:
        if not self._drain:
            self._drain = threading.Thread(target=self._wind_up, name="runtimeuse-drain", daemon=True)
            self._drain.start()

    def _wind_up(self) -> None:
        """Runs beside the reading of the connection, which takes the answers that this waits for."""
        request = self._request
        while request and not (request.is_over() or request.join(_POLL) or self._aborted.is_set()):
            pass
        self._artifacts.drain(self._settings.drain_timeout, self._aborted)
        if not self._aborted.is_set():
            self._outbox.send(EndSessionConfirmMessage())
            # An empty Close frame, as the wire has it.
            self._connection.close(None)  # type: ignore[arg-type]

    def _abort(self) -> None:
        self._aborted.set()
        if self._request:
            self._request.cancelled.set()
        self._artifacts.close()
        if self._request:
            self._request.join(_CANCEL_GRACE)
        if self._drain:
            self._drain.join(_CANCEL_GRACE)
