"""Sending of messages to the client, redacted and encoded. After the end of the connection they are dropped."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Callable, Optional

from ..._common.redaction import Redactor
from ..._protocol.codec import encode
from ...messages import AgentRuntimeMessageInterface, ErrorMessageInterface
from .connection import Connection

# Characters of secrets that one connection may ask to keep, in all its requests together: each message is searched
# for all of them.
MOST_SECRETS = 1024 * 1024


class Outbox:
    """Sends messages on one connection, from any thread."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        # Replaced, never changed: secrets of one request stay secret in all that follow.
        self.redactor = Redactor()

    def keep_secret(self, secrets: Iterable[str]) -> None:
        """Take ``secrets`` out of every message from now on; raises ``ValueError`` if they become too many."""
        redactor = self.redactor.including(secrets)
        if sum(map(len, redactor.secrets)) > MOST_SECRETS:
            raise ValueError("the secrets to redact are too many, or too long, for one connection")
        self.redactor = redactor

    def send(
        self,
        message: AgentRuntimeMessageInterface,
        is_wanted: Callable[[], bool] = lambda: True,
        claim: Callable[[], bool] = lambda: True,
    ) -> bool:
        """Send ``message`` as soon as the client is not behind; see ``Connection.send``.

        Raises:
            TypeError, ValueError: if it holds what JSON cannot say.
        """
        return self._connection.send(self._encoded(message), is_wanted, claim)

    def reply(self, message: AgentRuntimeMessageInterface, claim: Callable[[], bool] = lambda: True) -> None:
        """Send an answer to what the client said; never waits, see ``Connection.reply``."""
        self._connection.reply(self._encoded(message), claim)

    def offer(self, message: AgentRuntimeMessageInterface, is_wanted: Callable[[], bool]) -> None:
        """Send ``message`` unless the client is behind; never waits, see ``Connection.offer``."""
        self._connection.offer(self._encoded(message), is_wanted)

    def error(self, error: str, metadata: Optional[dict[str, Any]] = None) -> None:
        """Reply with an ``error_message``."""
        self.reply(ErrorMessageInterface(error=error, metadata=metadata))

    def nudge(self) -> None:
        """Make threads that wait to send check again whether their message is wanted."""
        self._connection.nudge()

    def _encoded(self, message: AgentRuntimeMessageInterface) -> bytes:
        return encode(self.redactor.value(message))
