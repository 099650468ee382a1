"""From a URL to an open WebSocket: TCP, proxy tunnel, TLS, upgrade. The only user of websocket-client.

Every wait here is cut short by one deadline and by the waker, which websocket-client's own timeouts (one
a system call) cannot do; so it is given a stand-in for the socket. It writes the request to it and judges the
answer. The stand-in reads the answer's head in one go, keeps from websocket-client what is none of its
business (the query string, the user's headers, cookies: it logs them or keeps them for others), and refuses
what it would accept: redirects, heads without end, extensions that nobody asked for.
"""

from __future__ import annotations

import os
import selectors
import socket
import ssl
from functools import lru_cache
from typing import Any, Callable, Optional, Union

import attrs

from .._common.deadline import Deadline
from .._common.wakeup import Waker
from ..exceptions import ConnectionFailedError
from .endpoint import Endpoint
from .proxy import Proxy

MAX_HEAD = 64 * 1024
# Seconds for one of several addresses of a host.
LONGEST_TRY = 5.0
# What websocket-client believes to be talking to: no cookie in its process-wide jar is for this host.
_NOBODY = "ws://handshake.invalid/"
Selector = getattr(selectors, "PollSelector", selectors.DefaultSelector)  # poll needs no descriptor of its own
Socket = Union[socket.socket, ssl.SSLSocket]


class AbandonedError(Exception):
    """The caller no longer wants this connection."""


@attrs.define(eq=False, repr=False)
class Stream:
    """An open WebSocket: its socket, and what has already been read beyond the handshake."""

    sock: Socket
    early_data: bytes


@attrs.frozen(eq=False, repr=False)
class Dialer:
    """All that is needed to open a connection."""

    endpoint: Endpoint
    headers: list[tuple[str, str]]
    proxy: Optional[Proxy]
    ssl_context: Optional[ssl.SSLContext]

    def dial(self, waker: Waker, is_wanted: Callable[[], bool], deadline: Deadline) -> Stream:
        """Open a connection; raises ``ConnectionFailedError``.

        When the waker is used, ``is_wanted`` is asked; if it says no, ``AbandonedError`` is raised.
        """
        attempt = _Attempt(self, waker, is_wanted, deadline)
        try:
            return attempt.run()
        except BaseException:
            attempt.close()
            raise


def words(error: OSError) -> str:
    """What the system, or TLS, says of an error, without OpenSSL's file and line."""
    reason = getattr(error, "reason", None)  # which an SSLError has only if OpenSSL raised it
    if isinstance(error, ssl.SSLError) and reason:
        return str(reason).lower().replace("_", " ")
    return (error.strerror or type(error).__name__).lower()


class _Attempt:
    """One attempt to connect; ``stage`` says in errors how far it came."""

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
            raise self.failure(f"{words(error)} while {self.stage}", words(error)) from error

    def closed(self) -> ConnectionFailedError:
        return self.failure(f"the server closed the connection while {self.stage}", "connection closed")

    def failure(self, text: str, reason: str, status: Optional[int] = None) -> ConnectionFailedError:
        return ConnectionFailedError(f"cannot connect to {self.endpoint}: {text}", status=status, reason=reason)

    # --- waiting ------------------------------------------------------------------------------------

    def wait(self, event: int) -> None:
        """Until the socket is ready: at most to the deadline, and not beyond the caller's interest."""
        assert self.sock is not None
        with Selector() as selector:
            selector.register(self.sock, event)
            selector.register(self.waker, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in selector.select(min(self.deadline.remaining(), 60.0))}
                if self.waker in ready:
                    self._check_wanted()
                if self.sock in ready:
                    return
                self._check_deadline()

    def _check_wanted(self) -> None:
        self.waker.clear()
        if not self.is_wanted():
            raise AbandonedError

    def _check_deadline(self) -> None:
        if self.deadline.expired:
            text = f"timed out after {self.deadline.timeout:.3g} s while {self.stage}"
            raise self.failure(text, "timed out")

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
        """A peer that takes nothing more may have said why: in a TLS alert that has not been read."""
        assert self.sock is not None
        try:
            self.sock.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLEOFError):
            pass

    def receive(self) -> bytes:
        assert self.sock is not None
        while True:
            try:
                return self.sock.recv(MAX_HEAD)
            except (BlockingIOError, ssl.SSLWantReadError):
                self.wait(selectors.EVENT_READ)
            except ssl.SSLWantWriteError:
                self.wait(selectors.EVENT_WRITE)

    def receive_head(self) -> tuple[bytes, bytes]:
        """The head of an HTTP answer, and what came behind it."""
        data = b""
        while b"\r\n\r\n" not in data:
            if len(data) > MAX_HEAD:
                raise self.failure(f"the answer's header is longer than {MAX_HEAD} bytes", "header too long")
            chunk = self.receive()
            if not chunk:
                raise self.closed()
            data += chunk
        head, _, rest = data.partition(b"\r\n\r\n")
        return head, rest

    # --- the steps ----------------------------------------------------------------------------------

    def _connect(self) -> None:
        proxy = self.dialer.proxy
        host, port = (proxy.host, proxy.port) if proxy else (self.endpoint.host, self.endpoint.port)
        # The one wait that nothing can cut short. The caller does not sit it out: see WebSocketConnection.
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        self.stage = "connecting to the proxy" if proxy else "connecting"
        overall = self.deadline
        for address in addresses[:-1]:
            # An address that swallows packets, as IPv6 ones may, must not use up the time of the others.
            self.deadline = overall.earlier(Deadline(LONGEST_TRY))
            try:
                self._connect_to(address)
            except OSError:
                self.close()
            else:
                self.deadline = overall
                return
        self.deadline = overall
        self._connect_to(addresses[-1])

    def _connect_to(self, address: tuple[int, int, int, str, tuple[object, ...]]) -> None:
        family, kind, protocol, _, where = address
        self.sock = sock = socket.socket(family, kind, protocol)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            sock.connect(where)
        except BlockingIOError:
            self.wait(selectors.EVENT_WRITE)
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                raise OSError(code, os.strerror(code)) from None

    def _tunnel(self, proxy: Proxy) -> None:
        self.stage = "waiting for the proxy"
        host = f"[{self.endpoint.host}]" if ":" in self.endpoint.host else self.endpoint.host
        lines = [f"CONNECT {host}:{self.endpoint.port} HTTP/1.1", f"Host: {host}:{self.endpoint.port}"]
        if proxy.authorization is not None:
            lines.append(f"Proxy-Authorization: {proxy.authorization}")
        self.send_all("\r\n".join([*lines, "", ""]).encode())
        head, rest = self.receive_head()
        answer = self._parse_head(head)
        if not 200 <= answer.status < 300:
            raise self.failure(
                f"the proxy answered {answer.status} {answer.reason}".rstrip(), answer.reason, answer.status
            )
        if rest:
            raise self.failure("the proxy sent data before the tunnel was used", "bad proxy")

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
        import websocket  # here: with the modules that it pulls in it takes as long as this package

        stand_in = _StandIn(self)
        peer: Any = websocket.WebSocket(enable_multithread=False)
        try:
            peer.connect(
                _NOBODY,
                socket=stand_in,
                host=self.endpoint.authority,
                suppress_origin=True,
                redirect_limit=0,
            )
        except Exception as error:
            if stand_in.error is not None:
                raise stand_in.error from None
            raise self.failure("its answer is no valid WebSocket upgrade", "bad upgrade") from error
        finally:
            peer.sock = None
        assert self.sock is not None
        return Stream(self.sock, stand_in.early_data)

    def request(self, draft: bytes) -> bytes:
        """websocket-client's request, with the target and headers that it was not shown."""
        extra = list(self.dialer.headers)
        names = {name.lower() for name, _ in extra}
        if self.endpoint.authorization is not None and "authorization" not in names:
            extra.append(("Authorization", self.endpoint.authorization))
        lines = draft.decode().split("\r\n")[1:-2]
        kept = [line for line in lines if line.partition(":")[0].lower() not in names]
        added = [f"{name}: {value}" for name, value in extra]
        return "\r\n".join([f"GET {self.endpoint.target} HTTP/1.1", *kept, *added, "", ""]).encode("latin-1")

    def check_upgrade(self, head: bytes) -> list[str]:
        """The lines of the answer that websocket-client has to judge."""
        answer = self._parse_head(head)
        if answer.status != 101:
            raise self.failure(_refusal(answer), answer.reason, answer.status)
        for name in ("sec-websocket-extensions", "sec-websocket-protocol"):
            if name in answer.headers:
                raise self.failure(f"it chose a {name} that was not offered", "bad upgrade", 101)
        judged = ("upgrade", "connection", "sec-websocket-accept")
        return [
            "HTTP/1.1 101 Switching Protocols",
            *(f"{n}: {answer.headers[n]}" for n in judged if n in answer.headers),
        ]

    def _parse_head(self, head: bytes) -> _Answer:
        version, _, rest = (lines := head.decode("latin-1").split("\r\n"))[0].partition(" ")
        status, _, reason = rest.partition(" ")
        if not version.startswith("HTTP/1.") or not (len(status) == 3 and status.isdigit()):
            raise self.failure("it does not answer in HTTP", "not HTTP")
        headers = {
            name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])
        }
        return _Answer(int(status), reason.strip()[:100], headers)


@attrs.frozen(eq=False, repr=False)
class _Answer:
    status: int
    reason: str
    headers: dict[str, str]


def _refusal(answer: _Answer) -> str:
    status = f"it answered {answer.status} {answer.reason}".rstrip()
    if 300 <= answer.status < 400:
        return f"{status}; redirects are not followed, since the headers would go along: give the final URL"
    hints = {
        401: "check the token or headers",
        403: "check the token or headers",
        404: "nothing there speaks WebSocket (yet); check the URL's path, or use wait_until_ready()",
        502: "the sandbox may still be starting; use wait_until_ready()",
        503: "the sandbox may still be starting; use wait_until_ready()",
        504: "the sandbox may still be starting; use wait_until_ready()",
    }
    return f"{status}, not 101 (WebSocket); {hints.get(answer.status, 'is this the URL of a runtime?')}"


class _StandIn:
    """What websocket-client takes for the socket while it shakes hands."""

    def __init__(self, attempt: _Attempt) -> None:
        self.error: Optional[BaseException] = None  # the first; websocket-client turns some into its own
        self.early_data = b""
        self._attempt = attempt
        self._answer = b""

    def send(self, data: bytes) -> int:
        try:
            self._attempt.send_all(self._attempt.request(data))
            head, self.early_data = self._attempt.receive_head()
            self._answer = "\r\n".join([*self._attempt.check_upgrade(head), "", ""]).encode()
        except BaseException as error:
            self.error = error
            raise
        return len(data)

    def recv(self, size: int) -> bytes:
        """A line, and then its end: read byte by byte, as it is asked for, it took a tenth of a call."""
        line, end, rest = self._answer.partition(b"\n")
        self._answer = rest if not line else end + rest
        return line or end

    def gettimeout(self) -> Optional[float]:
        return None

    def close(self) -> None:
        """The attempt closes the real one."""


@lru_cache(maxsize=1)
def default_ssl_context() -> ssl.SSLContext:
    """The system's authorities, verified. Made once: reading them takes longer than a handshake."""
    return ssl.create_default_context()
