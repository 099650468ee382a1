"""Connecting: what is sent, what is refused, and through what."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from typing import Any, Callable

import pytest
import trustme
import websocket

from runtimeuse_sync import (
    CancelledException,
    Client,
    ConnectionFailedError,
    InvocationMessage,
)
from runtimeuse_sync._common.deadline import Deadline
from runtimeuse_sync._common.wakeup import Waker
from runtimeuse_sync._connection.connecting import Dialer
from runtimeuse_sync._connection.endpoint import parse_url
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
        monkeypatch.setattr("runtimeuse_sync._connection.connecting.LONGEST_TRY", 0.1)
        client = Client("ws://several.example.com", proxy=None, connect_timeout=30)
        assert client.invoke(invocation()).structured_output == {"success": True}


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


# --- waiting for a sandbox --------------------------------------------------------------------------


def test_wait_until_ready_retries_what_a_starting_sandbox_does(scripted_runtime: Start) -> None:
    runtime = scripted_runtime([404, 502, 503, 504, generation("0.15")])
    Client(runtime.url).wait_until_ready(timeout=20)
    assert len(runtime.connections) == 5


def test_wait_until_ready_retries_connections_that_are_reset_or_closed() -> None:
    attempts: list[RawPeer] = []

    def play(conn: RawPeer) -> None:
        attempts.append(conn)
        if len(attempts) == 1:
            conn.reset()
        elif len(attempts) == 2:
            conn.close()
        else:
            conn.accept()
            conn.wait_closed()

    with RawServer(play) as server:
        Client(server.url).wait_until_ready(timeout=30)
    assert len(attempts) == 3


def test_wait_until_ready_retries_those_that_are_refused_and_tells_of_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses = iter([0.1, 60.0])  # a second attempt, that has time enough, and no third
    monkeypatch.setattr("random.uniform", lambda *_: next(pauses))
    said = r"not ready within 20 s; the last attempt: .*refused"
    with port_without_listener() as port, pytest.raises(ConnectionFailedError, match=said):
        Client(f"ws://127.0.0.1:{port}").wait_until_ready(timeout=20)
    assert list(pauses) == []


@pytest.mark.parametrize("status", [400, 401, 403])
def test_wait_until_ready_fails_at_once_where_waiting_is_of_no_use(scripted_runtime: Start, status: int) -> None:
    runtime = scripted_runtime(refuse=status)
    with pytest.raises(ConnectionFailedError, match=f"it answered {status}") as caught:
        Client(runtime.url).wait_until_ready()
    assert caught.value.status == status
    assert len(runtime.connections) == 1


def test_wait_until_ready_can_be_aborted(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(refuse=503)
    client = Client(runtime.url)

    def abort() -> None:
        runtime.wait_for_connections(3)
        client.abort()

    thread = threading.Thread(target=abort)
    thread.start()
    with pytest.raises(CancelledException):
        client.wait_until_ready()
    thread.join()
