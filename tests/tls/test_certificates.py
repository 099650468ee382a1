"""Whose certificate is accepted, and what is said of one that is not."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Callable

import pytest
import trustme

from runtimeuse_sync import Client, ConnectionFailedError
from runtimeuse_sync._connection.connecting import default_ssl_context
from runtimeuse_sync.testing import ScriptedRuntime, generation

from ..raw_server import RawPeer, RawServer, frame
from ..support import invocation

Start = Callable[..., ScriptedRuntime]
NOW = datetime.now(timezone.utc)
DAY = timedelta(days=1)
RESULT = frame(b'{"message_type":"result_message","data":{"type":"text","text":"done"}}')


def context_with(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def refusal(start: Start, server: ssl.SSLContext, client: ssl.SSLContext, host: str = "127.0.0.1") -> str:
    """What is said of a runtime with that context."""
    runtime = start(generation("0.15"), ssl_context=server)
    with pytest.raises(ConnectionFailedError) as caught:
        Client(runtime.url.replace("127.0.0.1", host), ssl_context=client).invoke(invocation())
    assert isinstance(caught.value.__cause__, ssl.SSLError)
    assert str(caught.value.reason) in str(caught.value)
    assert runtime.received == []
    return str(caught.value)


# --- refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"not_after": NOW - DAY}, "certificate has expired"),
        ({"not_before": NOW + DAY, "not_after": NOW + 2 * DAY}, "certificate is not yet valid"),
    ],
    ids=["expired", "not yet valid"],
)
def test_a_certificate_out_of_its_time(
    scripted_runtime: Start, authority: trustme.CA, trust: ssl.SSLContext, options: dict[str, Any], text: str
) -> None:
    server = context_with(authority.issue_cert("127.0.0.1", **options))
    assert refusal(scripted_runtime, server, trust).endswith(f"its certificate was refused: {text}")


@pytest.mark.parametrize(
    ("name", "host", "text"),
    [
        ("localhost", "127.0.0.1", "IP address mismatch, certificate is not valid for '127.0.0.1'"),
        ("127.0.0.1", "localhost", "Hostname mismatch, certificate is not valid for 'localhost'"),
        ("*.localhost", "localhost", "Hostname mismatch, certificate is not valid for 'localhost'"),
    ],
)
def test_a_certificate_for_another_name(
    scripted_runtime: Start, authority: trustme.CA, trust: ssl.SSLContext, name: str, host: str, text: str
) -> None:
    server = context_with(authority.issue_cert(name))
    assert f"its certificate was refused: {text}" in refusal(scripted_runtime, server, trust, host)


def test_a_certificate_of_an_authority_that_is_not_the_trusted_one(
    scripted_runtime: Start, trust: ssl.SSLContext
) -> None:
    server = context_with(trustme.CA().issue_cert("127.0.0.1"))
    text = refusal(scripted_runtime, server, trust)
    assert "its certificate was refused: unable to get local issuer certificate" in text


def test_a_certificate_that_vouches_for_itself(scripted_runtime: Start, authority: trustme.CA) -> None:
    """The authority's own, presented as a server's: what a self-signed certificate amounts to."""
    stranger = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with stranger.private_key_pem.tempfile() as key, stranger.cert_pem.tempfile() as certificate:
        server.load_cert_chain(certificate, key)
    text = refusal(scripted_runtime, server, ssl.create_default_context())
    assert "its certificate was refused: self-signed certificate" in text.replace("self signed", "self-signed")


def test_a_server_that_speaks_only_what_the_client_does_not(scripted_runtime: Start, authority: trustme.CA) -> None:
    client = ssl.create_default_context()
    authority.configure_trust(client)
    client.minimum_version = ssl.TLSVersion.TLSv1_3
    server = context_with(authority.issue_cert("127.0.0.1"))
    server.maximum_version = ssl.TLSVersion.TLSv1_2
    assert "alert protocol version while shaking hands over TLS" in refusal(scripted_runtime, server, client)


def test_a_server_that_wants_to_know_the_client(
    scripted_runtime: Start, authority: trustme.CA, trust: ssl.SSLContext
) -> None:
    """With TLS 1.3 the client has shaken hands when it is refused."""
    server = context_with(authority.issue_cert("127.0.0.1"))
    server.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(server)
    assert "alert certificate required" in refusal(scripted_runtime, server, trust)


# --- accepted ---------------------------------------------------------------------------------------


def assert_served(runtime: ScriptedRuntime, **options: Any) -> None:
    assert Client(runtime.url, **options).invoke(invocation()).structured_output == {"success": True}


@pytest.fixture
def fresh_default_context() -> Iterator[None]:
    default_ssl_context.cache_clear()
    yield
    default_ssl_context.cache_clear()


def test_the_systems_authorities_are_the_default(
    scripted_runtime: Start,
    authority: trustme.CA,
    server_context: ssl.SSLContext,
    fresh_default_context: None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    assert_served(scripted_runtime(generation("0.15"), ssl_context=server_context))


def test_a_context_that_brings_the_clients_own_certificate(scripted_runtime: Start, authority: trustme.CA) -> None:
    server = context_with(authority.issue_cert("127.0.0.1"))
    server.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    authority.issue_cert("client@example.com").configure_cert(client)
    assert_served(scripted_runtime(generation("0.15"), ssl_context=server), ssl_context=client)


def test_a_context_that_checks_nothing_is_obeyed(scripted_runtime: Start) -> None:
    client = ssl.create_default_context()
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    server = context_with(trustme.CA().issue_cert("other.example.com", not_after=NOW - DAY))
    assert_served(scripted_runtime(generation("0.15"), ssl_context=server), ssl_context=client)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_either_version_of_tls(
    scripted_runtime: Start, authority: trustme.CA, trust: ssl.SSLContext, version: ssl.TLSVersion
) -> None:
    server = context_with(authority.issue_cert("127.0.0.1"))
    server.minimum_version = server.maximum_version = version
    assert_served(scripted_runtime(generation("0.15"), ssl_context=server), ssl_context=trust)


# --- through a proxy --------------------------------------------------------------------------------


def tunnel_to(context: ssl.SSLContext) -> Callable[[RawPeer], None]:
    """A proxy that plays the host behind it as well."""

    def play(conn: RawPeer) -> None:
        assert conn.read_request().startswith(b"CONNECT sandbox.example.com:443 HTTP/1.1\r\n")
        conn.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        try:
            secured = context.wrap_socket(conn.sock, server_side=True)
        except OSError:
            return  # the client did not trust it, and said so or just left
        with secured:
            host = RawPeer(secured)
            host.accept()
            host.read_frame()
            host.send(RESULT + frame(b"\x03\xe8", opcode=8))
            host.wait_closed()

    return play


def test_the_host_behind_a_proxy_is_verified_by_its_own_name(authority: trustme.CA, trust: ssl.SSLContext) -> None:
    with RawServer(tunnel_to(context_with(authority.issue_cert("sandbox.example.com")))) as server:
        client = Client("wss://sandbox.example.com", proxy=f"http://127.0.0.1:{server.port}", ssl_context=trust)
        assert client.invoke(invocation()).text == "done"


def test_a_proxy_that_pretends_to_be_the_host(authority: trustme.CA, trust: ssl.SSLContext) -> None:
    with RawServer(tunnel_to(context_with(authority.issue_cert("127.0.0.1")))) as server:
        client = Client("wss://sandbox.example.com", proxy=f"http://127.0.0.1:{server.port}", ssl_context=trust)
        with pytest.raises(ConnectionFailedError, match="Hostname mismatch, .*'sandbox.example.com'"):
            client.invoke(invocation())
