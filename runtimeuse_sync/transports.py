"""How a client reaches a runtime: the protocols that a transport implements, and the WebSocket one.

Implement ``Transport`` and ``Connection`` to reach a runtime by other means (a process's pipes, a test
double) and pass it as ``Client(transport=…)``. ``encode_message`` and ``decode_message`` are the wire's JSON.

>>> from runtimeuse_sync import AssistantMessageInterface, Client, InvocationMessage, ResultMessageInterface, TextResult
>>> class Echo:
...     '''A transport, and its own connection, whose "runtime" answers with the prompt.'''
...     is_open = True
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

import ssl
from collections.abc import Sequence
from typing import Any, Optional, Protocol, Union

import attrs

from ._common.validation import check_seconds, check_size, check_type
from ._connection import proxy
from ._connection.connecting import Dialer
from ._connection.connection import WebSocketConnection
from ._connection.endpoint import Endpoint, HeaderSource, check_header_source, parse_url, read_headers
from ._connection.worker import ConnectionSettings
from ._protocol import codec
from .messages import ClientMessage

DEFAULT_MAX_MESSAGE_SIZE = 64 * 1024 * 1024


class Connection(Protocol):
    """One connection to a runtime, used by one call or one session.

    >>> from runtimeuse_sync.transports import WebSocketTransport
    >>> connection = WebSocketTransport("ws://localhost:8080").connection()
    >>> connection.is_open
    False
    """

    @property
    def is_open(self) -> bool:
        """Whether the connection has come about. Stays True when it is lost."""

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
        """Make a ``receive`` that waits in another thread return."""

    def close(self, timeout: float) -> None:
        """Send what is queued, then close; return after ``timeout`` seconds at the latest."""


class Transport(Protocol):
    """Makes connections; shared by the threads that share a ``Client``.

    >>> from runtimeuse_sync.transports import WebSocketTransport
    >>> transport: Transport = WebSocketTransport("ws://localhost:8080")
    """

    def connection(self) -> Connection:
        """A new connection, not yet opened: no thread, no socket."""


def encode_message(message: ClientMessage) -> bytes:
    """A client's message as the JSON text that a runtime reads.

    >>> from runtimeuse_sync import CancelMessage
    >>> encode_message(CancelMessage())
    b'{"message_type":"cancel_message"}'
    """
    return codec.encode(message)


def decode_message(payload: Union[bytes, bytearray]) -> Any:
    """A runtime's JSON text as a message; raises ``ProtocolError``.

    >>> decode_message(b'{"message_type":"assistant_message","text_blocks":["hi"]}').text_blocks
    ['hi']
    """
    return codec.decode_runtime_message(payload)


@attrs.frozen
class WebSocketTransport:
    """Connects over WebSocket: what ``Client(ws_url)`` uses.

    Args:
        ws_url (str): ws://, wss://, http:// or https://, with path and query. A user and password in it
            become an Authorization header.
        headers (mapping, callable or None): sent with the handshake; a callable is asked at each connect.
        ssl_context (ssl.SSLContext or None): default: the system's authorities, verified.
        proxy (str or None): ``"env"`` (default), an ``http://`` URL, or None. Never used for loopback.
        connect_timeout (float or None): seconds for host look-up, TCP, TLS and upgrade together. Default 60.
        ping_interval (float or None): seconds between pings. Default 20; None: no pings.
        ping_timeout (float or None): seconds that a ping's answer may take. Default 20.
        max_message_size (int or None): bytes. Default 64 MiB.

    Raises:
        TypeError, ValueError: for what cannot be used, with what to write instead.

    >>> WebSocketTransport("ws://localhost:8080", ping_interval=0)
    Traceback (most recent call last):
    ...
    ValueError: ping_interval must be a positive number of seconds, or None for no pings; got 0
    """

    ws_url: str = attrs.field(repr=False)
    headers: HeaderSource = attrs.field(default=None, kw_only=True, repr=False)
    ssl_context: Optional[ssl.SSLContext] = attrs.field(default=None, kw_only=True, repr=False)
    proxy: Optional[str] = attrs.field(default=proxy.FROM_ENVIRONMENT, kw_only=True, repr=False)
    connect_timeout: Optional[float] = attrs.field(default=60.0, kw_only=True)
    ping_interval: Optional[float] = attrs.field(default=20.0, kw_only=True)
    ping_timeout: Optional[float] = attrs.field(default=20.0, kw_only=True)
    max_message_size: Optional[int] = attrs.field(default=DEFAULT_MAX_MESSAGE_SIZE, kw_only=True)
    endpoint: Endpoint = attrs.field(init=False)

    @endpoint.default
    def _parse(self) -> Endpoint:
        return parse_url(self.ws_url)

    def __attrs_post_init__(self) -> None:
        check_header_source(self.headers)
        proxy.check_setting(self.proxy)
        check_seconds("connect_timeout", self.connect_timeout)
        check_seconds("ping_interval", self.ping_interval, none_means="no pings")
        check_seconds("ping_timeout", self.ping_timeout)
        check_size("max_message_size", self.max_message_size)
        if self.ssl_context is not None:
            check_type("ssl_context", self.ssl_context, ssl.SSLContext, "an ssl.SSLContext")

    def connection(self) -> WebSocketConnection:
        """A new connection, not yet opened. Asks ``headers`` if it is a callable.

        >>> WebSocketTransport("ws://localhost:8080").connection().is_open
        False
        """
        dialer = Dialer(
            endpoint=self.endpoint,
            headers=read_headers(self.headers),
            proxy=proxy.choose(self.endpoint, self.proxy),
            ssl_context=self.ssl_context,
        )
        settings = ConnectionSettings(
            connect_timeout=self.connect_timeout,
            ping_interval=self.ping_interval,
            ping_timeout=self.ping_timeout,
            max_message_size=self.max_message_size,
        )
        return WebSocketConnection(dialer, settings, encode=codec.encode, decode=codec.decode_runtime_message)
