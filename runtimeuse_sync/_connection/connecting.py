"""Opening a WebSocket: TCP, the proxy's tunnel, TLS and the upgrade, each with its waits.

One deadline and the waker end every wait; websocket-client's own timeouts, which are for each system call, could not.
The HTTP requests and answers are in ``upgrade``.
"""

from __future__ import annotations

import selectors
import socket
import ssl
from collections.abc import Collection, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Callable, Optional, Union

import attrs

from .._common.deadline import Deadline
from .._common.wakeup import Waker
from ..exceptions import ConnectionFailedError
from . import upgrade
from .addresses import Address, AddressRace
from .endpoint import Endpoint
from .failures import cannot_connect, system_failure, words
from .proxy import Proxy

# Seconds of one poll(), which takes 2**31 milliseconds at most. A longer wait calls it again.
_LONGEST_WAIT = 86_400.0
# Bytes, at most, of one read.
_READ_SIZE = 64 * 1024
Selector = getattr(selectors, "PollSelector", selectors.DefaultSelector)  # unlike epoll, poll needs no descriptor
Socket = Union[socket.socket, ssl.SSLSocket]


class AbandonedError(Exception):
    """The caller no longer wants this connection."""


@attrs.define(eq=False, repr=False)
class Stream:
    """An open WebSocket: its socket, and the data that was already read after the handshake's answer."""

    sock: Socket
    early_data: bytes


@attrs.frozen(eq=False, repr=False)
class Dialer:
    """The parameters of a connection, and ``dial``, which opens it."""

    endpoint: Endpoint
    headers: list[tuple[str, str]]
    proxy: Optional[Proxy]
    ssl_context: Optional[ssl.SSLContext]

    def dial(self, waker: Waker, is_wanted: Callable[[], bool], deadline: Deadline) -> Stream:
        """Open a connection; raises ``ConnectionFailedError``.

        At each wake-up by the waker it calls ``is_wanted``, and raises ``AbandonedError`` if that returns False.
        """
        attempt = _Attempt(self, waker, is_wanted, deadline)
        try:
            return attempt.run()
        except BaseException:
            attempt.close()
            raise


class _Attempt:
    """One attempt to connect; ``stage`` is the current step, for errors."""

    def __init__(self, dialer: Dialer, waker: Waker, is_wanted: Callable[[], bool], deadline: Deadline) -> None:
        self.dialer = dialer
        self.endpoint = dialer.endpoint
        self.waker = waker
        self.is_wanted = is_wanted
        self.deadline = deadline
        self.sock: Optional[Socket] = None
        self.stage = "looking up the host"

    def close(self) -> None:
        if self.sock is not None:
            self.sock.close()

    def run(self) -> Stream:
        try:
            self._connect()
            if self.dialer.proxy is not None:
                self._tunnel(self.dialer.proxy)
            if self.endpoint.is_secure:
                self._start_tls()
            return self._upgrade()
        except UnicodeError as error:
            raise self.failure("a host name that is not valid", "invalid host name") from error
        except ssl.SSLCertVerificationError as error:
            reason = getattr(error, "verify_message", None) or words(error)
            raise self.failure(f"its certificate was refused: {reason}", reason) from error
        except ConnectionFailedError:
            raise
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError) as error:
            raise self.closed() from error
        except OSError as error:
            raise system_failure(self.endpoint, error, self.stage) from error

    def closed(self) -> ConnectionFailedError:
        return self.failure(f"the server closed the connection while {self.stage}", "connection closed")

    def timed_out(self) -> ConnectionFailedError:
        return self.failure(f"timed out after {self.deadline.timeout:.3g} s while {self.stage}", "timed out")

    def failure(self, text: str, reason: str) -> ConnectionFailedError:
        return cannot_connect(self.endpoint, text, reason)

    # --- waiting ------------------------------------------------------------------------------------

    def wait(self, event: int) -> None:
        """Wait until the socket is ready; raises at the deadline, and if the connection is no longer wanted."""
        assert self.sock is not None
        if not self._wait_for([self.sock], event, self.deadline):
            raise self.timed_out()

    def _wait_for(self, socks: Collection[Socket], event: int, deadline: Deadline) -> list[Socket]:
        """Wait for ``socks``, and return those that are ready; none if ``deadline`` has passed."""
        with Selector() as selector:
            for sock in socks:
                selector.register(sock, event)
            selector.register(self.waker, selectors.EVENT_READ)
            while True:
                patience = min(deadline.remaining(), _LONGEST_WAIT)
                ready = {key.fileobj for key, _ in selector.select(patience)}
                if self.waker in ready:
                    self._check_wanted()
                # The deadline counts only if a poll made after it finds nothing: the process may have been suspended.
                if not patience or not ready.isdisjoint(socks):
                    return [sock for sock in socks if sock in ready]

    def _check_wanted(self) -> None:
        self.waker.clear()
        if not self.is_wanted():
            raise AbandonedError

    def send_all(self, data: bytes) -> None:
        assert self.sock is not None
        view = memoryview(data)
        while view:
            try:
                view = view[self.sock.send(view) :]
            except (BlockingIOError, ssl.SSLWantWriteError):
                self.wait(selectors.EVENT_WRITE)
            except ssl.SSLWantReadError:
                self.wait(selectors.EVENT_READ)
            except (ssl.SSLEOFError, ConnectionError):
                self._hear_why()
                raise

    def _hear_why(self) -> None:
        """Read once, after a write failed: a peer's TLS alert with the reason may be unread; then this raises it."""
        assert self.sock is not None
        try:
            self.sock.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLEOFError):
            pass

    def receive(self) -> bytes:
        assert self.sock is not None
        while True:
            try:
                return self.sock.recv(_READ_SIZE)
            except (BlockingIOError, ssl.SSLWantReadError):
                self.wait(selectors.EVENT_READ)
            except ssl.SSLWantWriteError:
                self.wait(selectors.EVENT_WRITE)

    def exchange(self, request: bytes, reader: upgrade.AnswerReader) -> upgrade.Answer:
        """Send a request, and wait for its answer."""
        self.send_all(request)
        while True:
            chunk = self.receive()
            if not chunk:
                raise self.closed()
            answer = reader.feed(chunk)
            if answer is not None:
                return answer

    # --- the steps ----------------------------------------------------------------------------------

    def _connect(self) -> None:
        proxy = self.dialer.proxy
        host, port = (proxy.host, proxy.port) if proxy else (self.endpoint.host, self.endpoint.port)
        race = AddressRace(_look_up(host, port), self._wait_to_write, self.deadline)
        try:
            self.sock = race.run()
        finally:
            self.stage = f"connecting to {'the proxy at ' if proxy else ''}{race.tried()}"
        if self.sock is None:
            raise self.timed_out()

    def _wait_to_write(self, socks: Collection[socket.socket], deadline: Deadline) -> list[Socket]:
        return self._wait_for(socks, selectors.EVENT_WRITE, deadline)

    def _tunnel(self, proxy: Proxy) -> None:
        self.stage = "waiting for the proxy"
        reader = upgrade.AnswerReader(self.endpoint, "the proxy")
        answer = self.exchange(upgrade.tunnel_request(self.endpoint, proxy), reader)
        upgrade.check_tunnel(answer, reader.rest(), self.endpoint)

    def _start_tls(self) -> None:
        self.stage = "shaking hands over TLS"
        assert isinstance(self.sock, socket.socket)
        context = self.dialer.ssl_context or default_ssl_context()
        self.sock = sock = context.wrap_socket(
            self.sock, server_hostname=self.endpoint.host, do_handshake_on_connect=False
        )
        while True:
            try:
                return sock.do_handshake()
            except ssl.SSLWantReadError:
                self.wait(selectors.EVENT_READ)
            except ssl.SSLWantWriteError:
                self.wait(selectors.EVENT_WRITE)

    def _upgrade(self) -> Stream:
        self.stage = "waiting for the answer to the upgrade"
        reader = upgrade.AnswerReader(self.endpoint)
        upgrade.upgrade(self.endpoint, self.dialer.headers, lambda request: self.exchange(request, reader))
        assert self.sock is not None
        return Stream(self.sock, reader.rest())


def _look_up(host: str, port: int) -> Sequence[Address]:
    """Look up a host's addresses. Nothing can interrupt this wait; ``WebSocketConnection`` times out without it."""
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror:
        # If no descriptor is left, the resolver reports an unknown name. In that case this raises the true error.
        socket.socket().close()
        raise


@lru_cache(maxsize=1)
def default_ssl_context() -> ssl.SSLContext:
    """A context that verifies with the system's CA certificates. Cached: to read them takes longer than a handshake."""
    context = ssl.create_default_context()
    file = ssl.get_default_verify_paths().cafile
    if file and not context.cert_store_stats()["x509"]:
        # OpenSSL ignores a file that it cannot open, also if no descriptor is left; cached, the context would trust
        # nobody. This raises instead.
        with suppress(ssl.SSLError):  # a file without certificates: the directory may have some
            context.load_verify_locations(file)
    return context
