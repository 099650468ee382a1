"""Transports, by which a client reaches a runtime: the interfaces, and the implementation for WebSocket.

Implement ``Transport`` and ``Connection`` to reach a runtime by other means (a process's pipes, a test
double) and pass it as ``Client(transport=…)``. ``encode_message`` and ``decode_message`` are the wire's JSON.

>>> from runtimeuse_sync import AssistantMessageInterface, Client, InvocationMessage, ResultMessageInterface, TextResult
>>> class Echo:
...     '''A transport, and its own connection, whose "runtime" answers with the prompt.'''
...     was_opened = True
...     def connection(self):
...         return self
...     def open(self, timeout):
...         self.inbox = []
...     def send(self, message):
...         if isinstance(message, InvocationMessage):
...             self.inbox.append(AssistantMessageInterface(text_blocks=["thinking"]))
...             self.inbox.append(ResultMessageInterface(data=TextResult(text=message.user_prompt)))
...     def receive(self, timeout):
...         batch, self.inbox = self.inbox, []
...         return batch
...     def wake(self):
...         pass
...     def close(self, timeout):
...         pass
>>> Client(transport=Echo()).invoke(InvocationMessage(system_prompt="", user_prompt="hello")).text
'hello'
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, Optional, Protocol, Union

import attrs

from ._common.tracebacks import made_without_a_trace
from ._connection import proxy
from ._connection.endpoint import Endpoint, checked_headers, current_headers, parse_url
from ._connection.settings import ConnectionSettings, check_settings
from ._protocol import codec
from ._protocol.codec import RawResult as RawResult
from ._protocol.codec import UnknownMessage as UnknownMessage
from .messages import ClientMessage

if TYPE_CHECKING:
    from ._connection.connection import WebSocketConnection


class Connection(Protocol):
    """One connection to a runtime, used by one call or one session.

    >>> from runtimeuse_sync.transports import WebSocketTransport
    >>> connection = WebSocketTransport("ws://localhost:8080").connection()
    >>> connection.was_opened
    False
    """

    @property
    def was_opened(self) -> bool:
        """Whether the connection has come about; True also when it is lost by now. Once called ``is_open``, a name
        that is deprecated, but still read where there is no other."""

    def open(self, timeout: Optional[float]) -> None:
        """Connect within ``timeout`` seconds (None: no limit). It need not wait for the outcome, and may leave the
        beginning to the first ``send`` or ``receive``."""

    def send(self, message: ClientMessage) -> None:
        """Queue a message; from any thread, without blocking. Messages leave in the order of the calls."""

    def receive(self, timeout: float) -> Sequence[Any]:
        """Messages that have come, in order: as soon as there are any, or none after ``timeout`` seconds.

        Raises ``ConnectionFailedError``, ``ConnectionLostError`` or ``ProtocolError`` when no more will come.
        """

    def wake(self) -> None:
        """Make a ``receive`` that waits in another thread return, or else the next one at once.

        A connection that has no such method is asked again four times a second.
        """

    def close(self, timeout: float) -> None:
        """Send what is queued, then close; return after ``timeout`` seconds at the latest."""


class ClosesItself(Protocol):
    """An optional method of a connection, beside those of ``Connection``. It saves two thread switches at the end.

    >>> from runtimeuse_sync.transports import WebSocketTransport
    >>> connection: ClosesItself = WebSocketTransport("ws://localhost:8080").connection()
    """

    def close_after(self, classes: Collection[type]) -> None:
        """Begin to close, without waiting for ``close``, once the last message that has come is of one of ``classes``.

        Asked for before the request of a call that closes the connection behind its result.
        """


class WakesWhenOpen(Protocol):
    """An optional method of a connection: with it, observers are told when the connection comes about, however silent
    the agent is.

    >>> from runtimeuse_sync.transports import WebSocketTransport
    >>> connection: WakesWhenOpen = WebSocketTransport("ws://localhost:8080").connection()
    """

    def wake_when_open(self) -> None:
        """Make the ``receive`` that waits return once ``was_opened`` is true, with nothing."""


class Transport(Protocol):
    """Makes connections; shared by the threads that share a ``Client``.

    >>> from runtimeuse_sync.transports import WebSocketTransport
    >>> transport: Transport = WebSocketTransport("ws://localhost:8080")
    """

    def connection(self) -> Connection:
        """A new connection, not yet opened: no thread, no socket."""


def encode_message(message: Any) -> bytes:
    """A message, of a client or a runtime, as the JSON text that travels.

    What came as a number too large for a float, such as 1e999, becomes a string, ``"Infinity"``.

    >>> from runtimeuse_sync import CancelMessage
    >>> encode_message(CancelMessage())
    b'{"message_type":"cancel_message"}'
    """
    return codec.encode_whatever_came(message)


def decode_message(payload: Union[bytes, bytearray]) -> Any:
    """A runtime's JSON text as a message; raises ``ProtocolError``.

    >>> decode_message(b'{"message_type":"assistant_message","text_blocks":["hi"]}').text_blocks
    ['hi']
    """
    return codec.decode_runtime_message(payload)


@made_without_a_trace
@attrs.frozen
class WebSocketTransport(ConnectionSettings):
    """Connects over WebSocket: what ``Client(ws_url)`` uses.

    Args:
        ws_url (str): ws://, wss://, http:// or https://, with path and query. A user and password in it
            become an Authorization header.
        headers, ssl_context, proxy, connect_timeout, ping_interval, ping_timeout, max_message_size: what they are for
            ``Client``.

    Raises:
        TypeError, ValueError: for what cannot be used, with what to write instead.

    >>> WebSocketTransport("ws://localhost:8080", ping_interval=0)
    Traceback (most recent call last):
    ...
    ValueError: ping_interval must be a positive number of seconds, or None for no pings; got 0
    """

    ws_url: str = attrs.field(repr=False)
    endpoint: Endpoint = attrs.field(init=False)

    @endpoint.default
    def _parse(self) -> Endpoint:
        return parse_url(self.ws_url)

    def __attrs_post_init__(self) -> None:
        check_settings(self)
        # The modules of a connection take half of the time that importing this package would take with them. They are
        # imported here, before a call: a signal or a fork in the midst of a call must not meet them half imported.
        from ._connection import connecting, connection  # noqa: F401

    def connection(self) -> WebSocketConnection:
        """A new connection, not yet opened. Asks ``headers`` if it is a callable.

        >>> WebSocketTransport("ws://localhost:8080").connection().was_opened
        False
        """
        from ._connection.connecting import Dialer
        from ._connection.connection import WebSocketConnection

        dialer = Dialer(
            endpoint=self.endpoint,
            headers=checked_headers(current_headers(self.headers)),
            proxy=proxy.choose(self.endpoint, self.proxy),
            ssl_context=self.ssl_context,
        )
        return WebSocketConnection(dialer, self, encode=codec.encode, decode=codec.decode_runtime_message)
