"""Connecting: what is sent, what is refused, and through what."""

from __future__ import annotations

import errno
import logging
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, Callable

import pytest
import trustme
import websocket

from runtimeuse_sync import (
    Client,
    ConnectionFailedError,
    InvocationMessage,
)
from runtimeuse_sync._common import wakeup
from runtimeuse_sync._common.deadline import Deadline
from runtimeuse_sync._common.wakeup import Waker
from runtimeuse_sync._connection import addresses
from runtimeuse_sync._connection.connecting import Dialer
from runtimeuse_sync._connection.endpoint import parse_url
from runtimeuse_sync._connection.proxy import Proxy
from runtimeuse_sync.testing import Peer, ScriptedRuntime, generation

from ..raw_server import RawPeer, RawServer, frame
from ..support import invocation, port_without_listener, text_result

Start = Callable[..., ScriptedRuntime]


def answer(*lines: str, body: str = "") -> Callable[[RawPeer], None]:
    def play(conn: RawPeer) -> None:
        conn.read_request()
        conn.send("\r\n".join([*lines, "", body]).encode())
        conn.wait_closed()

    return play


def failure(play: Callable[[RawPeer], None], **options: Any) -> ConnectionFailedError:
    with RawServer(play) as server, pytest.raises(ConnectionFailedError) as caught:
        Client(server.url, **options).invoke(invocation())
    return caught.value


# --- refusals ---------------------------------------------------------------------------------------

STATUSES = {
    200: ("OK", "is this the URL of a runtime"),
    302: ("Found", "redirects are not followed"),
    401: ("Unauthorized", "check the token"),
    403: ("Forbidden", "check the token"),
    404: ("Not Found", "nothing there speaks WebSocket"),
    502: ("Bad Gateway", "wait_until_ready"),
}


@pytest.mark.parametrize("status", STATUSES)
def test_an_answer_that_is_no_upgrade(status: int) -> None:
    reason, hint = STATUSES[status]
    play = answer(f"HTTP/1.1 {status} {reason}", "Location: http://elsewhere/", "Content-Length: 6", body="s3cret")
    error = failure(play)
    assert (error.status, error.reason) == (status, reason)
    assert f"it answered {status} {reason}" in str(error)
    assert hint in str(error)
    assert "s3cret" not in str(error)


def test_a_wrong_accept_key() -> None:
    error = failure(lambda conn: (conn.accept(key_override="d3Jvbmc="), conn.wait_closed()))
    assert "no valid WebSocket upgrade" in str(error)
    assert not isinstance(error.__cause__, ConnectionFailedError)


@pytest.mark.parametrize("name", ["Sec-WebSocket-Extensions", "Sec-WebSocket-Protocol"])
def test_an_extension_that_nobody_asked_for(name: str) -> None:
    error = failure(lambda conn: (conn.accept([(name, "x")]), conn.wait_closed()))
    assert "that was not offered" in str(error)


def test_a_header_without_end() -> None:
    def play(conn: RawPeer) -> None:
        conn.read_request()
        conn.send(b"HTTP/1.1 101 Switching Protocols\r\nX: " + b"x" * 100_000)
        conn.wait_closed()

    assert "header is longer than 65536 bytes" in str(failure(play))


@pytest.mark.parametrize("line", ["SSH-2.0-OpenSSH_9.2", "HTTP/1.1 abc Huh", "HTTP/1.1"])
def test_something_else_than_http(line: str) -> None:
    assert "does not answer in HTTP" in str(failure(answer(line)))


def test_a_server_that_hangs_up() -> None:
    error = failure(lambda conn: (conn.read_request(), conn.close()))
    assert error.reason == "connection closed"


def test_interim_answers_come_before_the_upgrade() -> None:
    def play(conn: RawPeer) -> None:
        conn.read_request()
        for interim in (b"100 Continue", b"102 Processing", b"103 Early Hints\r\nLink: </a>"):
            conn.send(b"HTTP/1.1 " + interim + b"\r\n\r\n")
        conn.accept([("Connection", "keep-alive"), ("Sec-WebSocket-Protocol", "")])
        conn.read_frame()
        conn.send(frame(b'{"message_type":"result_message","data":{"type":"text","text":"done"}}'))
        conn.see_off()

    with RawServer(play) as server:
        assert Client(server.url).invoke(invocation()).text == "done"


def test_a_reason_does_not_forge_a_line_of_a_log_or_reach_a_terminal() -> None:
    error = failure(answer("HTTP/1.1 403 No\x1b[2J\x1b]0;title\x07 way\x0b\x7f"))
    assert error.reason == "No way"
    assert "it answered 403 No way, not 101" in str(error)


def test_connection_refused() -> None:
    with port_without_listener() as port, pytest.raises(ConnectionFailedError) as caught:
        Client(f"ws://127.0.0.1:{port}").invoke(invocation())
    assert "connection refused while connecting" in str(caught.value)
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)
    assert isinstance(caught.value, ConnectionError)


def test_an_unknown_host() -> None:
    with pytest.raises(ConnectionFailedError, match="while looking up the host"):
        Client("ws://does-not-exist.invalid", proxy=None).invoke(invocation())


def test_a_host_look_up_that_hangs_does_not_hold_up_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    release, was_released = threading.Event(), []

    def look_up(*args: Any, **options: Any) -> Any:
        was_released.append(release.wait(30))
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with pytest.raises(ConnectionFailedError, match=r"timed out after 0\.2 s, probably in the host look-up"):
        Client("ws://slow.example.com", connect_timeout=0.2, proxy=None).invoke(invocation())
    assert was_released == []  # it still hangs
    release.set()


def test_every_address_of_a_host_is_tried(scripted_runtime: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = scripted_runtime(generation("0.15"))
    port = int(runtime.url.rpartition(":")[2])
    tcp = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
    # The second takes no connection: its backlog is full.
    with (
        port_without_listener() as nobody,
        socket.create_server(("127.0.0.1", 0), backlog=0) as full,
        socket.create_connection(full.getsockname()),
    ):
        addresses = [(*tcp, ("127.0.0.1", nobody)), (*tcp, full.getsockname()), (*tcp, ("127.0.0.1", port))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: addresses)
        monkeypatch.setattr("runtimeuse_sync._connection.addresses.HEAD_START", 0.1)
        client = Client("ws://several.example.com", proxy=None, connect_timeout=30)
        assert client.invoke(invocation()).structured_output == {"success": True}


@pytest.fixture
def black_hole() -> Iterator[Any]:
    """An address that answers nothing: its backlog is full."""
    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as full,
        socket.create_connection(full.getsockname()),
    ):
        yield full.getsockname()


TCP = (socket.AF_INET, socket.SOCK_STREAM, 6, "")


def test_an_address_that_swallows_packets_does_not_use_up_a_short_limit(
    scripted_runtime: Start, monkeypatch: pytest.MonkeyPatch, black_hole: Any
) -> None:
    runtime = scripted_runtime(generation("0.15"))
    found = [(*TCP, black_hole), (*TCP, ("127.0.0.1", int(runtime.url.rpartition(":")[2])))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: found)
    client = Client("ws://several.example.com", proxy=None, connect_timeout=3)
    assert client.invoke(invocation()).structured_output == {"success": True}


def dial(url: str, timeout: float, **options: Any) -> ConnectionFailedError:
    """What becomes of an attempt, asked of the dialer: what its thread says too late, a caller does not wait for."""
    waker = Waker()
    waker.open()
    dialer = Dialer(parse_url(url), headers=[], **{"proxy": None, "ssl_context": None, **options})
    try:
        with pytest.raises(ConnectionFailedError) as caught:
            dialer.dial(waker, lambda: True, Deadline(timeout))
    finally:
        waker.close()
    return caught.value


def test_a_timeout_says_which_addresses_were_tried_and_what_became_of_each(
    monkeypatch: pytest.MonkeyPatch, black_hole: Any
) -> None:
    with port_without_listener() as nobody:
        found = [(*TCP, ("127.0.0.1", nobody)), (*TCP, black_hole)]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: found)
        tried = f"127.0.0.1:{nobody} (connection refused), 127.0.0.1:{black_hole[1]} (no answer)"
        error = dial("ws://several.example.com", 0.3)
        assert (
            str(error)
            == f"cannot connect to ws://several.example.com: timed out after 0.3 s while connecting to {tried}"
        )
        assert error.reason == "timed out"
        through = dial("ws://h", 0.3, proxy=Proxy("several.example.com", 3128, None))
        assert f"while connecting to the proxy at {tried}" in str(through)


def test_a_refusal_says_where(scripted_runtime: Start) -> None:
    with port_without_listener() as port:
        error = dial(f"ws://127.0.0.1:{port}", 30)
    assert (
        str(error)
        == f"cannot connect to ws://127.0.0.1:{port}: connection refused while connecting to 127.0.0.1:{port}"
    )
    assert (error.reason, type(error.__cause__)) == ("connection refused", ConnectionRefusedError)


def test_time_has_run_out_only_if_a_look_after_the_deadline_finds_nothing() -> None:
    """The process may have stood still, and the answer lie there since."""

    class StoodStill(Deadline):
        """A deadline that passes while the process does not run, just before it would have heard the answer."""

        def remaining(self) -> float:
            if answered.is_set() or not upgrading.is_set():
                return super().remaining()
            assert answered.wait(20)
            self._at = time.monotonic()
            return 0.0

    upgrading, answered = threading.Event(), threading.Event()

    def play(conn: RawPeer) -> None:
        conn.read_request()
        upgrading.set()
        conn.accept()
        answered.set()
        conn.wait_closed()

    waker = Waker()
    waker.open()
    with RawServer(play) as server:
        dialer = Dialer(parse_url(server.url), headers=[], proxy=None, ssl_context=None)
        dialer.dial(waker, lambda: True, StoodStill(20.0)).sock.close()
    waker.close()


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE])
@pytest.mark.parametrize("what", ["wake-up", "socket"])
def test_descriptors_that_run_out_are_named_with_the_limit(
    monkeypatch: pytest.MonkeyPatch, code: int, what: str
) -> None:
    def fail(*args: Any, **options: Any) -> Any:
        raise OSError(code, os.strerror(code))

    if what == "wake-up":
        monkeypatch.setattr(wakeup, "_new_signal", fail)
    else:
        monkeypatch.setattr(addresses, "socket", SimpleNamespace(**{**vars(socket), "socket": fail}))
    with pytest.raises(ConnectionFailedError) as caught:
        Client("ws://127.0.0.1:9").invoke(invocation())
    limit = {errno.EMFILE: f"{descriptor_limit()} open (ulimit -n): raise the limit", errno.ENFILE: "fs.file-max"}[code]
    assert os.strerror(code).lower() in str(caught.value)
    assert limit in str(caught.value)
    assert "make fewer calls at once" in str(caught.value)
    assert caught.value.reason == os.strerror(code).lower()


WITHOUT_DESCRIPTORS = """
import os, resource, sys
import encodings.idna, runtimeuse_sync._connection.connection, websocket
from runtimeuse_sync import Client, ConnectionFailedError, InvocationMessage

def descriptors():
    try:
        while True:
            yield os.open(os.devnull, os.O_RDONLY)
    except OSError:
        pass

url, spare = sys.argv[1], int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
taken = list(descriptors())
for number in taken[:spare]:
    os.close(number)
for limit in ("short", "enough"):
    try:
        Client(url, proxy=None, connect_timeout=30).invoke(InvocationMessage(system_prompt="", user_prompt=""))
    except ConnectionFailedError as error:
        print(limit, error)
    else:
        print(limit, "connected")
    for number in taken[spare:]:
        os.close(number)
    taken = []
"""


def without_descriptors(url: str, spare: int, **environment: str) -> list[str]:
    """What a process says that has ``spare`` descriptors left, and then what it says when it has enough."""
    pytest.importorskip("resource")
    command = [sys.executable, "-c", WITHOUT_DESCRIPTORS, url, str(spare)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=50, env={**os.environ, **environment}, check=True
    )
    return done.stdout.splitlines()


SHORT = "too many open files.*; this process may have 64 open"


@pytest.mark.parametrize("spare", range(4))
def test_a_host_is_not_called_unknown_for_want_of_descriptors(spare: int) -> None:
    short, enough = without_descriptors("ws://localhost:1", spare)
    assert re.search(f"{SHORT}|connection refused", short), short
    assert "connection refused" in enough


def test_want_of_descriptors_does_not_leave_a_process_that_trusts_nobody(
    scripted_runtime: Start, authority: trustme.CA
) -> None:
    runtime = scripted_runtime(generation("0.15"), ssl_context=server_context(authority, "127.0.0.1"))
    with authority.cert_pem.tempfile() as file:
        # Those of the wake-up, one for the socket; there is none for the file with the authorities.
        of_wakeup = 1 if hasattr(os, "eventfd") else 2
        short, enough = without_descriptors(runtime.url, of_wakeup + 1, SSL_CERT_FILE=file)
    assert re.search(SHORT, short), short
    assert enough == "enough connected"


def descriptor_limit() -> int:
    resource = pytest.importorskip("resource")
    return int(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def test_the_connect_timeout_holds_against_a_trickled_handshake() -> None:
    def play(conn: RawPeer) -> None:
        conn.read_request()
        conn.trickle(b"HTTP/1.1 101 Switching Protocols\r\n" * 100, 0.01)

    began = time.monotonic()
    error = failure(play, connect_timeout=0.3)
    assert time.monotonic() - began < 10  # the trickle takes half a minute
    assert error.reason == "timed out"


# --- what is sent -----------------------------------------------------------------------------------


def echo_handshake(peer: Peer) -> None:
    peer.expect(InvocationMessage)
    peer.send(text_result("done"))


def test_the_query_and_headers_go_along(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(echo_handshake)
    url = runtime.url.replace("ws://", "http://user:p%40ss@") + "/agent/1?token=a%2Fb&x=ü"
    Client(url, headers={"X-Sandbox": "abc", "Cookie": "mine=1"}).invoke(invocation())
    peer = runtime.connections[0]
    assert peer.path == "/agent/1?token=a%2Fb&x=%C3%BC"
    headers = peer.request_headers
    assert headers["X-Sandbox"] == "abc"
    assert headers["Cookie"] == "mine=1"
    assert headers["Authorization"] == "Basic dXNlcjpwQHNz"
    assert headers["Host"] == runtime.url.replace("ws://", "")
    assert "Origin" not in headers


def test_headers_from_a_function_are_asked_for_at_each_connect_on_the_callers_thread(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(echo_handshake)
    threads: list[int] = []

    def headers() -> dict[str, str]:
        threads.append(threading.get_ident())
        return {"Authorization": f"Bearer {len(threads)}"}

    client = Client(runtime.url, headers=headers)
    client.invoke(invocation())
    client.invoke(invocation())
    assert [peer.request_headers["Authorization"] for peer in runtime.connections] == ["Bearer 1", "Bearer 2"]
    assert set(threads) == {threading.get_ident()}


def test_no_cookie_crosses_clients() -> None:
    requests: list[bytes] = []

    def play(conn: RawPeer) -> None:
        requests.append(conn.read_request())
        conn.accept([("Set-Cookie", "id=s3cret; Domain=127.0.0.1; Path=/")])
        conn.read_frame()
        conn.send(frame(b'{"message_type":"result_message","data":{"type":"text","text":""}}'))
        conn.see_off()

    with RawServer(play) as server:
        other = websocket.create_connection(server.url)  # somebody else in this process
        other.send("{}")
        other.shutdown()
        for _ in range(2):
            Client(server.url).invoke(invocation())
    assert all(b"cookie" not in request.lower() for request in requests[1:])


def test_nothing_secret_is_logged(scripted_runtime: Start, caplog: pytest.LogCaptureFixture) -> None:
    runtime = scripted_runtime(echo_handshake)
    caplog.set_level(logging.DEBUG)
    websocket.enableTrace(True, handler=logging.NullHandler())
    logging.getLogger("websocket").propagate = True
    try:
        Client(runtime.url + "/?token=s3cret", headers={"Authorization": "Bearer s3cret"}).invoke(
            invocation(agent_env={"KEY": "s3cret"}, user_prompt="s3cret")
        )
    finally:
        websocket.enableTrace(False)
    assert "request header" in caplog.text  # websocket-client did trace
    assert "s3cret" not in caplog.text


# --- through a proxy --------------------------------------------------------------------------------


@pytest.fixture
def proxy() -> Iterator[tuple[RawServer, list[bytes]]]:
    """An HTTP proxy that answers for every host itself."""
    requests: list[bytes] = []

    def play(conn: RawPeer) -> None:
        requests.append(conn.read_request())
        conn.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        conn.request = b""
        conn.accept()
        conn.read_frame()
        conn.send(frame(b'{"message_type":"result_message","data":{"type":"text","text":"tunnelled"}}'))
        conn.see_off()

    with RawServer(play) as server:
        yield server, requests


def test_a_proxy_is_asked_for_a_tunnel(proxy: tuple[RawServer, list[bytes]]) -> None:
    server, requests = proxy
    url = f"http://user:pass@127.0.0.1:{server.port}"
    assert Client("ws://sandbox.example.com:8080/x", proxy=url).invoke(invocation()).text == "tunnelled"
    assert requests[0].startswith(b"CONNECT sandbox.example.com:8080 HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic dXNlcjpwYXNz" in requests[0]


def test_the_environments_proxy(proxy: tuple[RawServer, list[bytes]], monkeypatch: pytest.MonkeyPatch) -> None:
    server, requests = proxy
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.port}")
    monkeypatch.setenv("no_proxy", ".other.example.com,mple.com")
    assert Client("ws://sandbox.example.com").invoke(invocation()).text == "tunnelled"
    assert requests[0].startswith(b"CONNECT sandbox.example.com:80 HTTP/1.1\r\n")


def test_loopback_never_goes_through_a_proxy(scripted_runtime: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    runtime = scripted_runtime(generation("0.15"))
    assert Client(runtime.url).invoke(invocation()).structured_output == {"success": True}
    assert Client(runtime.url, proxy="http://127.0.0.1:1").invoke(invocation()).structured_output == {"success": True}


def test_a_proxy_that_refuses() -> None:
    with RawServer(answer("HTTP/1.1 407 Proxy Authentication Required")) as server:
        with pytest.raises(ConnectionFailedError, match="the proxy answered 407") as caught:
            Client("ws://sandbox.example.com", proxy=f"http://u:s3cret@127.0.0.1:{server.port}").invoke(invocation())
    assert caught.value.status == 407
    assert "s3cret" not in str(caught.value)


# --- TLS --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_context(authority: trustme.CA, *names: str, **options: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names, **options).configure_cert(context)
    return context


def client_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def test_wss_with_a_context_of_ones_own(scripted_runtime: Start, authority: trustme.CA) -> None:
    runtime = scripted_runtime(generation("0.15"), ssl_context=server_context(authority, "127.0.0.1"))
    assert runtime.url.startswith("wss://")
    client = Client(runtime.url, ssl_context=client_context(authority))
    assert client.invoke(invocation()).structured_output == {"success": True}


def test_an_unknown_authority_is_refused_by_default(scripted_runtime: Start, authority: trustme.CA) -> None:
    runtime = scripted_runtime(generation("0.15"), ssl_context=server_context(authority, "127.0.0.1"))
    with pytest.raises(ConnectionFailedError, match=r"certificate was refused: .*(issuer|self)") as caught:
        Client(runtime.url).invoke(invocation())
    assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)


def test_another_hosts_certificate_is_refused(scripted_runtime: Start, authority: trustme.CA) -> None:
    runtime = scripted_runtime(generation("0.15"), ssl_context=server_context(authority, "other.example.com"))
    with pytest.raises(ConnectionFailedError, match="certificate was refused: .*mismatch"):
        Client(runtime.url, ssl_context=client_context(authority)).invoke(invocation())


def test_tls_against_a_server_without_it(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(generation("0.15"))
    with pytest.raises(ConnectionFailedError, match="while shaking hands over TLS"):
        Client(runtime.url.replace("ws://", "wss://")).invoke(invocation())


def test_a_tls_server_that_stalls_does_not_hold_up_the_caller() -> None:
    with RawServer(lambda conn: conn.wait_closed()) as server:
        with pytest.raises(ConnectionFailedError, match=r"timed out after 0\.2 s"):
            Client(f"wss://127.0.0.1:{server.port}", connect_timeout=0.2).invoke(invocation())


def test_a_timeout_says_how_far_it_came() -> None:
    """Asked of the dialer: what its thread says too late, a caller does not wait for."""
    waker = Waker()
    waker.open()
    with RawServer(lambda conn: conn.wait_closed()) as server:
        dialer = Dialer(parse_url(f"wss://127.0.0.1:{server.port}"), headers=[], proxy=None, ssl_context=None)
        with pytest.raises(ConnectionFailedError, match=r"timed out after 1 s while shaking hands over TLS$"):
            dialer.dial(waker, lambda: True, Deadline(1.0))
    waker.close()
