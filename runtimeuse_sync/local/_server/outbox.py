"""The one way out to the client: redacted, encoded, and silent once the connection is gone."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Optional

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection

from ..._common.redaction import Redactor
from ..._protocol.codec import encode
from ...messages import AgentRuntimeMessageInterface, ErrorMessageInterface


class Outbox:
    """Sends messages on one connection, from any thread."""

    def __init__(self, connection: ServerConnection) -> None:
        self._connection = connection
        # Replaced, never changed: secrets of one request stay secret in all that follow.
        self.redactor = Redactor()

    def keep_secret(self, secrets: Iterable[str]) -> None:
        """Take ``secrets`` out of every message from now on."""
        self.redactor = self.redactor.including(secrets)

    def send(self, message: AgentRuntimeMessageInterface) -> None:
        """Send ``message``.

        Raises:
            TypeError, ValueError: if it holds what JSON cannot say.
        """
        payload = encode(self.redactor.value(message))
        # The thread that reads the connection learns of its end too, and ends the request.
        with suppress(ConnectionClosed):
            self._connection.send(payload.decode())

    def error(self, error: str, metadata: Optional[dict[str, Any]] = None) -> None:
        """Send an ``error_message``."""
        self.send(ErrorMessageInterface(error=error, metadata=metadata))
