"""``Client``: the configuration of connections to a runtime, and the calls, each of which opens one."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Optional

import attrs

from ._call.cancellation import Cancellation
from ._call.generics import Unpack
from ._call.in_flight import CallsInFlight
from ._call.lending import CallSettings, Lender, OneCallLender
from ._call.observing import Observers
from ._call.readiness import wait_until_ready
from ._common.tracebacks import hides_arguments, made_without_a_trace
from ._common.validation import check_is_cancelled, check_list_of, check_logger, check_seconds, check_type
from ._connection.settings import ConnectionSettings, by_name, changed
from .keywords import QueryKeywords, query_options
from .many import ManyRuns
from .observers import Observer
from .options import IsCancelledCallback, Logger, QueryOptions
from .session import Session
from .transports import Transport, WebSocketTransport

if TYPE_CHECKING:
    from .jobs import Work

_default_logger = logging.getLogger("runtimeuse_sync")


@made_without_a_trace
@attrs.frozen(eq=False)
class Client(ConnectionSettings, ManyRuns):
    """A client for an agent runtime. ``RuntimeUseClient`` is the same class.

    A client is configuration: immutable, picklable if its arguments are, safe to share between threads and across
    ``fork``. Each call opens a connection of its own, and leaves no thread or socket behind. As a context manager it
    ends its jobs: see ``submit``.

    Args:
        ws_url (str or None): where the runtime listens: ws://, wss://, http:// or https://, with path and query.
        transport (Transport or None): another way to reach a runtime, instead of ``ws_url``.
        headers (mapping, callable or None): sent when connecting; a callable is asked anew at each connect.
        ssl_context (ssl.SSLContext or None): default: the system's authorities, verified.
        proxy (str or None): ``"env"`` (default: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY count), an
            ``http://`` URL, or None. Loopback addresses never go through a proxy.
        connect_timeout (float or None): seconds to connect in, host look-up to upgrade. Default 60.
        ping_interval (float or None): seconds between pings. Default 20; None: no pings.
        ping_timeout (float or None): seconds without a sign of life after a ping until the connection counts
            as lost. Default 20; None: for ever.
        max_message_size (int or None): bytes that one message may have. Default 64 MiB; None: no limit.
        cancel_poll_interval (float): seconds between two calls of an ``is_cancelled`` function. Default 0.25.
        drain_timeout (float or None): seconds to go on serving artifacts after the result. Default 60; None:
            no limit.
        logger: a ``logging.Logger`` or adapter. Default: the logger ``runtimeuse_sync``.
        defaults (QueryOptions or None): the options of calls that are given none; the keywords of a call count
            before them. ``invoke``, and ``stream`` of an ``InvocationMessage``, take none of them.
        observers (sequence of Observer): are told what the calls do. Default: none.

    Raises:
        TypeError, ValueError: for arguments that cannot be meant, with what to write instead.

    >>> Client("localhost:8080")
    Traceback (most recent call last):
    ...
    ValueError: ws_url must begin with ws://, wss://, http:// or https://, as in 'ws://localhost:8080'
    >>> Client("ws://localhost:8080")
    <Client: ws://localhost:8080>
    """

    ws_url: Optional[str] = attrs.field(default=None, repr=False)  # not in the repr that attrs gives a subclass, either
    transport: Optional[Transport] = None
    cancel_poll_interval: float = attrs.field(default=0.25, kw_only=True)
    drain_timeout: Optional[float] = attrs.field(default=60.0, kw_only=True)
    logger: Optional[Logger] = attrs.field(default=None, kw_only=True)
    defaults: Optional[QueryOptions] = attrs.field(default=None, kw_only=True)
    observers: Sequence[Observer] = attrs.field(default=(), kw_only=True, repr=False)
    _transport: Transport = attrs.field(init=False)
    _in_flight: CallsInFlight = attrs.field(init=False, factory=CallsInFlight)
    _jobs: set[Work] = attrs.field(init=False, factory=set)

    @_transport.default
    def _make_transport(self) -> Transport:
        if self.transport is None:
            return self._web_socket_transport()
        if self.ws_url is not None:
            raise ValueError("give ws_url or transport, not both")
        if not callable(getattr(self.transport, "connection", None)):
            raise TypeError("transport must have a method connection(), see runtimeuse_sync.transports.Transport")
        for name in changed(self):
            raise ValueError(f"{name} is not for a transport of your own: give it to that instead")
        return self.transport

    def _web_socket_transport(self) -> WebSocketTransport:
        if self.ws_url is None:
            raise ValueError("say where the runtime is: Client('ws://localhost:8080')")
        return WebSocketTransport(self.ws_url, **by_name(self))

    def __attrs_post_init__(self) -> None:
        check_seconds("drain_timeout", self.drain_timeout)
        check_seconds("cancel_poll_interval", self.cancel_poll_interval, none_means=None)
        check_logger(self.logger)
        if self.defaults is not None:
            check_type("defaults", self.defaults, QueryOptions, "QueryOptions(...)")
        observers = self.observers
        check_list_of(Observer)("observers", list(observers) if isinstance(observers, tuple) else observers)

    def __repr__(self) -> str:
        # Missing if __init__ raised: error reporters that show variables call repr() even then.
        transport = getattr(self, "_transport", None)
        if transport is None:
            return "<Client: incomplete>"
        return f"<Client: {self._where or 'custom transport'}>"

    @property
    def _where(self) -> Optional[str]:
        """Scheme, host and port of the runtime; None with a custom transport."""
        return str(self._transport.endpoint) if isinstance(self._transport, WebSocketTransport) else None

    def __reduce__(self) -> tuple[Any, ...]:
        cls: type[Any] = type(self)
        return _rebuild, (cls, {a.name: getattr(self, a.name) for a in attrs.fields(cls) if a.init})

    @classmethod
    @hides_arguments
    def from_env(cls, **settings: Any) -> Client:
        """A client of the runtime that the environment names.

        ``RUNTIMEUSE_URL`` is its URL; ``RUNTIMEUSE_TOKEN``, if set, is sent as ``Authorization: Bearer …``.

        Args:
            settings: those of ``Client`` beside its ``ws_url``; ``headers``, a mapping here, count before the token.

        Raises:
            ValueError: ``RUNTIMEUSE_URL`` is not set, or one of them cannot be meant.

        >>> Client.from_env()
        Traceback (most recent call last):
        ...
        ValueError: RUNTIMEUSE_URL is not set: where the runtime listens, such as ws://localhost:8080
        """
        url, token = os.environ.get("RUNTIMEUSE_URL"), os.environ.get("RUNTIMEUSE_TOKEN")
        if not url:
            raise ValueError("RUNTIMEUSE_URL is not set: where the runtime listens, such as ws://localhost:8080")
        if token:
            headers = settings.get("headers")
            if callable(headers):
                raise TypeError("headers must be a mapping beside RUNTIMEUSE_TOKEN; got a function")
            settings["headers"] = {"Authorization": f"Bearer {token}", **(headers or {})}
        return cls(url, **settings)

    def with_options(self, **keywords: Unpack[QueryKeywords]) -> Client:
        """A new client, with ``defaults`` changed by ``keywords``: for what is the same in several calls.

        Raises:
            TypeError, ValueError: for options that cannot be meant, with what to write instead.

        >>> brief = client.with_options(system_prompt="Be brief.", timeout=60)
        >>> brief.query("hello").data.text
        'hello'
        """
        return attrs.evolve(self, defaults=query_options(self.defaults, None, keywords))

    def with_observers(self, *observers: Observer) -> Client:
        """A new client like this one, with ``observers`` beside those that it has.

        Raises:
            TypeError: for one that is no ``Observer``.

        >>> client.with_observers(Observer()).query("hello").output
        'hello'
        """
        return attrs.evolve(self, observers=(*self.observers, *observers))

    def session(self) -> Session:
        """A connection for several requests (since runtime 0.11): a context manager.

        >>> with client.session() as session:
        ...     session.query("hello", QueryOptions(system_prompt="")).data.text
        'hello'
        """
        settings = self._call_settings(session_id=os.urandom(16).hex())
        return Session(self._transport, settings, self._in_flight, self.defaults)

    def _call_settings(self, session_id: Optional[str] = None) -> CallSettings:
        return CallSettings(
            cancel_poll_interval=self.cancel_poll_interval,
            drain_timeout=self.drain_timeout,
            logger=self.logger or _default_logger,
            observers=self._observers_of_calls(session_id),
        )

    def _observers_of_calls(self, session_id: Optional[str]) -> Observers:
        if not self.observers:
            return Observers()
        return Observers(all=tuple(self.observers), url=self._where, session_id=session_id)

    def _new_lender(self) -> Lender:
        return OneCallLender(self._transport, self._call_settings(), self._in_flight)

    def _defaults(self) -> Optional[QueryOptions]:
        return self.defaults

    def abort(self) -> None:
        """Cancel every call in flight on this client, from any thread, at once; without any, do nothing.

        The calls raise ``CancelledException``; the runtimes are told. Sessions stay usable.

        >>> client.abort()
        """
        self._in_flight.abort()

    def wait_until_ready(
        self, timeout: Optional[float] = 60.0, *, is_cancelled: Optional[IsCancelledCallback] = None
    ) -> None:
        """Wait until the runtime accepts connections: for a sandbox that is still starting.

        Tries again, with growing and jittered pauses, what a starting sandbox does: connection refused, reset,
        closed or timed out, host name unknown, HTTP 404, 425, 429, 500, 502 to 504 and 520 to 530. Anything
        else fails at once.

        Args:
            timeout (float or None): seconds. Default 60; None: no limit.
            is_cancelled (threading.Event, callable or None): gives up waiting, as it cancels a call. Default None.

        Raises:
            ConnectionFailedError: refused for good (401 and 403, for example), or not ready in time.
            CancelledException: ``is_cancelled`` or ``abort()``.

        >>> client.wait_until_ready(timeout=10)
        """
        check_seconds("timeout", timeout)
        check_is_cancelled(is_cancelled)
        call = Cancellation(is_cancelled, self.cancel_poll_interval)
        self._in_flight.add(call)
        try:
            wait_until_ready(self._transport, call, timeout)
        finally:
            self._in_flight.discard(call)


RuntimeUseClient = Client


@hides_arguments
def _rebuild(cls: type[Client], configuration: dict[str, Any]) -> Client:
    return cls(**configuration)
