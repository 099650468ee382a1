"""``Client``: the configuration of a runtime's connection, and calls that open one each."""

from __future__ import annotations

import logging
import random
import ssl
import threading
from typing import Any, Optional, TypeVar

import attrs

from . import messages as m
from ._call.request_loop import LONGEST_WAIT
from ._common.deadline import Deadline
from ._common.tracebacks import hides_arguments, made_without_a_trace
from ._common.validation import check_logger, check_seconds
from ._connection.settings import ConnectionSettings, by_name, changed
from .calls import Calls
from .exceptions import CancelledException, ConnectionFailedError
from .options import CallOptions, Logger
from .run import Run
from .session import Registry, Session, SessionSettings
from .transports import Transport, WebSocketTransport

ResultT = TypeVar("ResultT")

# What a server answers, or a gateway in its place, while a sandbox starts.
_STARTING = frozenset({404, 502, 503, 504})
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
_LONGEST_ATTEMPT = 10.0

_default_logger = logging.getLogger("runtimeuse_sync")


@made_without_a_trace
@attrs.frozen(eq=False)
class Client(ConnectionSettings, Calls):
    """A client for an agent runtime. ``RuntimeUseClient`` is the same class.

    A client is configuration: immutable, picklable if what it was given is, safe to share between threads and
    across ``fork``. Each call opens a connection of its own and leaves nothing behind.

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

    Raises:
        TypeError, ValueError: for arguments that cannot be meant, with what to write instead.

    >>> Client("localhost:8080")
    Traceback (most recent call last):
    ...
    ValueError: ws_url must begin with ws://, wss://, http:// or https://, as in 'ws://localhost:8080'
    >>> Client("ws://localhost:8080")
    <Client: ws://localhost:8080>
    """

    ws_url: Optional[str] = attrs.field(default=None, repr=False)  # in a subclass that attrs gives a repr, too
    transport: Optional[Transport] = None
    cancel_poll_interval: float = attrs.field(default=0.25, kw_only=True)
    drain_timeout: Optional[float] = attrs.field(default=60.0, kw_only=True)
    logger: Optional[Logger] = attrs.field(default=None, kw_only=True)
    _transport: Transport = attrs.field(init=False)
    _in_flight: Registry = attrs.field(init=False, factory=Registry)

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

    def __repr__(self) -> str:
        # Missing if the client could not be made: reporters that show variables ask for its text even then.
        transport = getattr(self, "_transport", None)
        if transport is None:
            return "<Client: incomplete>"
        where = transport.endpoint if isinstance(transport, WebSocketTransport) else "custom transport"
        return f"<Client: {where}>"

    def __reduce__(self) -> tuple[Any, ...]:
        cls: type[Any] = type(self)
        return _rebuild, (cls, {a.name: getattr(self, a.name) for a in attrs.fields(cls) if a.init})

    def session(self) -> Session:
        """A connection for several requests (since runtime 0.11): a context manager.

        >>> with client.session() as session:
        ...     session.query("hello", QueryOptions(system_prompt="")).data.text
        'hello'
        """
        return Session(self._transport, self._session_settings(), self._in_flight)

    def _session_settings(self) -> SessionSettings:
        return SessionSettings(
            cancel_poll_interval=self.cancel_poll_interval,
            drain_timeout=self.drain_timeout,
            logger=self.logger or _default_logger,
        )

    def _new_run(self, request: m.ClientMessage, result_cls: type[ResultT], options: CallOptions) -> Run[ResultT]:
        session = Session.for_one_call(self._transport, self._session_settings(), self._in_flight)
        return Run(session, request, result_cls, options)

    def abort(self) -> None:
        """Cancel every call in flight on this client, from any thread, at once; without any, do nothing.

        The calls raise ``CancelledException``; the runtimes are told. Sessions stay usable.

        >>> client.abort()
        """
        for call in self._in_flight.alive():
            call.abort()

    def wait_until_ready(self, timeout: Optional[float] = 60.0) -> None:
        """Wait until the runtime accepts connections: for a sandbox that is still starting.

        Tries again, with growing and jittered pauses, what a starting sandbox does: connection refused, reset,
        closed or timed out, host name unknown, HTTP 404, 502, 503 and 504. Anything else fails at once.

        Args:
            timeout (float or None): seconds. Default 60; None: no limit.

        Raises:
            ConnectionFailedError: refused for good (401 and 403, for example), or not ready in time.
            CancelledException: ``abort()``.

        >>> client.wait_until_ready(timeout=10)
        """
        check_seconds("timeout", timeout)
        deadline, longest_pause = Deadline(timeout), _FIRST_PAUSE
        wait = _Wait()
        self._in_flight.add(wait)
        try:
            while True:
                failure = self._try_to_connect(deadline)
                if failure is None:
                    return
                pause = random.uniform(longest_pause / 2, longest_pause)
                if pause >= deadline.remaining():
                    raise _not_ready(timeout, failure) from failure
                wait.sleep(pause)
                longest_pause = min(_LONGEST_PAUSE, longest_pause * 2)
        finally:
            self._in_flight.discard(wait)

    def _try_to_connect(self, deadline: Deadline) -> Optional[ConnectionFailedError]:
        """None if a handshake succeeds; the failure if it may pass; otherwise raises it."""
        try:
            with self.session().limited_to(min(deadline.remaining(), _LONGEST_ATTEMPT)):
                return None
        except ConnectionFailedError as error:
            if not _may_pass(error):
                raise
            return error


RuntimeUseClient = Client


@hides_arguments
def _rebuild(cls: type[Client], configuration: dict[str, Any]) -> Client:
    return cls(**configuration)


class _Wait:
    """A pause that ``abort()`` cuts short."""

    def __init__(self) -> None:
        self._aborted = threading.Event()

    def abort(self) -> None:
        self._aborted.set()

    def sleep(self, seconds: float) -> None:
        deadline = Deadline(seconds)
        while not deadline.expired:
            if self._aborted.wait(min(LONGEST_WAIT, deadline.remaining())):
                raise CancelledException


def _may_pass(error: ConnectionFailedError) -> bool:
    """Whether a starting sandbox fails like this."""
    if error.status is not None:
        return error.status in _STARTING
    if error.reason in ("timed out", "connection closed"):
        return True
    cause = error.__cause__
    return isinstance(cause, OSError) and not isinstance(cause, ssl.SSLError)


def _attempt(error: ConnectionFailedError) -> str:
    """What became of it, without the advice to wait."""
    return str(error) if error.status is None else f"it answered {error.status} {error.reason}"


def _not_ready(timeout: Optional[float], last: ConnectionFailedError) -> ConnectionFailedError:
    return ConnectionFailedError(
        f"the runtime was not ready within {timeout:g} s; the last attempt: {_attempt(last)}",
        status=last.status,
        reason=last.reason,
    )
