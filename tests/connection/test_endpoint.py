"""URLs and headers: what is meant by them, and what is refused before anything is sent."""

from __future__ import annotations

import base64
from collections import OrderedDict
from types import MappingProxyType
from typing import Any, Optional

import pytest

from runtimeuse_sync._connection.endpoint import (
    Endpoint,
    basic_authorization,
    check_header_source,
    checked_headers,
    current_headers,
    parse_url,
)

SECRET = "s3cret"


def read_headers(source: Any) -> list[tuple[str, str]]:
    return checked_headers(current_headers(source))


def refusal_of(url: Any) -> str:
    with pytest.raises(ValueError, match="^ws_url ") as caught:
        parse_url(url)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    return str(caught.value)


# --- URLs -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "scheme", "host", "port", "target"),
    [
        ("ws://localhost:8080", "ws", "localhost", 8080, "/"),
        ("ws://localhost", "ws", "localhost", 80, "/"),
        ("wss://box.example.com", "wss", "box.example.com", 443, "/"),
        ("http://box.example.com", "ws", "box.example.com", 80, "/"),
        ("https://box.example.com", "wss", "box.example.com", 443, "/"),
        ("https://box.example.com:8443/agent/", "wss", "box.example.com", 8443, "/agent/"),
        ("HTTPS://Box.Example.COM/Agent", "wss", "box.example.com", 443, "/Agent"),
        ("ws://h:80/", "ws", "h", 80, "/"),
        ("ws://h:", "ws", "h", 80, "/"),
        ("ws://h:0", "ws", "h", 0, "/"),
        ("ws://h:65535", "ws", "h", 65535, "/"),
        ("ws://10.0.0.1:8080", "ws", "10.0.0.1", 8080, "/"),
        ("ws://[::1]", "ws", "::1", 80, "/"),
        ("wss://[2001:DB8::1]:8443/a", "wss", "2001:db8::1", 8443, "/a"),
        ("ws://h?token=a", "ws", "h", 80, "/?token=a"),
        ("ws://h/a?", "ws", "h", 80, "/a"),
        ("ws://h/a?b=c&d=%20e+f;g", "ws", "h", 80, "/a?b=c&d=%20e+f;g"),
        ("ws://h/a#", "ws", "h", 80, "/a"),
        ("ws://bücher.example", "ws", "xn--bcher-kva.example", 80, "/"),
    ],
)
def test_a_url_is_taken_apart(url: str, scheme: str, host: str, port: int, target: str) -> None:
    endpoint = parse_url(url)
    assert (endpoint.scheme, endpoint.host, endpoint.port, endpoint.target) == (scheme, host, port, target)
    assert endpoint.authorization is None


@pytest.mark.parametrize(
    ("target", "sent"),
    [
        ("/%7Bid%7D/%zz", "/%7Bid%7D/%zz"),
        ("/a:b@c!$&'()*+,;=~-._[]|", "/a:b@c!$&'()*+,;=~-._[]|"),
        ("/ä?ö=ü", "/%C3%A4?%C3%B6=%C3%BC"),
        ('/{a}"<b>^`\\', "/%7Ba%7D%22%3Cb%3E%5E%60%5C"),
        ("/?a=/?b", "/?a=/?b"),
    ],
)
def test_what_a_request_line_cannot_hold_is_encoded_and_nothing_twice(target: str, sent: str) -> None:
    assert parse_url("ws://h" + target).target == sent


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("ws://localhost:8080/a?b", "localhost:8080"),
        ("ws://h:80", "h"),
        ("wss://h:443", "h"),
        ("wss://h:80", "h:80"),
        ("ws://h:443", "h:443"),
        ("http://u:p@h", "h"),
        ("ws://[::1]", "[::1]"),
        ("ws://[::1]:8080", "[::1]:8080"),
    ],
)
def test_the_authority_is_what_the_host_header_wants(url: str, authority: str) -> None:
    assert parse_url(url).authority == authority


@pytest.mark.parametrize(("url", "is_secure"), [("ws://h", False), ("http://h", False), ("wss://h", True)])
def test_secure_is_what_runs_over_tls(url: str, is_secure: bool) -> None:
    assert parse_url(url).is_secure is is_secure


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        ("localhost", True),
        ("LOCALHOST", True),
        ("box.localhost", True),
        ("127.0.0.1", True),
        ("127.255.255.254", True),
        ("[::1]", True),
        ("[::ffff:127.0.0.1]", True),
        ("localhost.", True),
        ("notlocalhost", False),
        ("localhost.example.com", False),
        ("128.0.0.1", False),
        ("10.0.0.1", False),
        ("[2001:db8::1]", False),
        ("[::ffff:10.0.0.1]", False),
        ("0.0.0.0", False),
        ("127.0.0.1.example.com", False),
    ],
)
def test_loopback_is_this_very_machine(host: str, is_loopback: bool) -> None:
    assert parse_url(f"ws://{host}:8080").is_loopback is is_loopback


def test_neither_str_nor_repr_shows_what_may_be_secret() -> None:
    endpoint = parse_url(f"https://{SECRET}:{SECRET}@box.example.com:8443/{SECRET}?token={SECRET}")
    assert str(endpoint) == "wss://box.example.com:8443"
    assert repr(endpoint) == "Endpoint(scheme='wss', host='box.example.com', port=8443)"


def test_an_endpoint_does_not_change() -> None:
    endpoint = parse_url("ws://h")
    with pytest.raises(AttributeError):
        endpoint.host = "elsewhere"  # type: ignore[misc]
    assert endpoint == Endpoint(scheme="ws", host="h", port=80, target="/", authorization=None)


# --- URLs that are refused -----------------------------------------------------------------------------------

SCHEMES = "ws_url must begin with ws://, wss://, http:// or https://, as in 'ws://localhost:8080'"
NO_HOST = "ws_url names no host; write it as in 'ws://localhost:8080'"
SPACES = "ws_url has a space or a control character in it; percent-encode it"
HOST = "ws_url names a host that cannot be read; write it as in 'ws://localhost:8080'"
PORT = "ws_url names a port that is not a number from 0 to 65535"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", SCHEMES),
        ("localhost:8080", SCHEMES),
        ("localhost", SCHEMES),
        ("//localhost", SCHEMES),
        ("ftp://localhost", SCHEMES),
        ("wsx://localhost", SCHEMES),
        ("ws:localhost", SCHEMES),
        ("ws:/localhost", SCHEMES),
        ("s3cret://localhost", SCHEMES),
        ("ws://", NO_HOST),
        ("ws:///agent", NO_HOST),
        ("ws://:8080", NO_HOST),
        ("ws://?token=s3cret", NO_HOST),
        ("ws://user:s3cret@", NO_HOST),
        (" ws://localhost", SPACES),
        ("ws://localhost ", SPACES),
        ("ws://localhost/s3cret a", SPACES),
        ("ws://localhost\r\nX-Injected: s3cret", SPACES),
        ("ws://localhost/\x00", SPACES),
        ("ws://localhost/\x1f", SPACES),
        ("ws://localhost/\x7f", SPACES),
        ("ws://localhost/\t", SPACES),
        ("ws://h:65536", PORT),
        ("ws://h:-1", PORT),
        ("ws://h:s3cret", PORT),
        ("ws://user:s3cret/@h", PORT),
        ("ws://h/#s3cret", "ws_url has a fragment ('#…'), which WebSocket URLs must not have"),
        ("ws://ü..example", "ws_url has a host name that is not valid"),
        ("ws://ü" + "a" * 70, "ws_url has a host name that is not valid"),
        ("ws://[::1", HOST),
    ],
)
def test_a_url_that_cannot_be_meant_is_refused(url: str, said: str) -> None:
    assert refusal_of(url) == said


@pytest.mark.parametrize(("url", "kind"), [(None, "None"), (b"ws://h", "a bytes"), (8080, "a int")])
def test_a_url_is_a_str(url: Any, kind: str) -> None:
    with pytest.raises(TypeError) as caught:
        parse_url(url)
    assert str(caught.value) == f"ws_url must be a str such as 'ws://localhost:8080'; got {kind}"


@pytest.mark.parametrize("url", ["ws://s3cret@h℀st/", "ws://user:s3cret@h℀st/", "ws://s3cret:pw@h℀st", "ws://s3cret℀/"])
def test_a_host_that_unicode_would_turn_into_another_is_refused_without_being_shown(url: str) -> None:
    # ℀ becomes "a/c": the standard library refuses it, and shows all of user and password.
    refusal_of(url)


def said_of(url: str) -> str:
    """What is said of it; nothing if it is fine."""
    try:
        parse_url(url)
    except ValueError as error:
        return str(error)
    return ""


def test_a_fault_is_put_down_to_the_port_only_where_it_is_the_port() -> None:
    # Newer Pythons refuse what is no address in brackets, and quote it.
    assert said_of("ws://[export]") in ("", said_of("ws://[expert]").replace("expert", "export"))


# --- the user part of a URL ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("username", "password", "credentials"),
    [
        ("user", "pass", "user:pass"),
        ("user", None, "user:"),
        ("", "pass", ":pass"),
        ("", None, ":"),
        ("us%40er", "p%3Ass%2F", "us@er:p:ss/"),
        ("%C3%BC", "é", "ü:é"),
    ],
)
def test_user_and_password_become_an_authorization(username: str, password: Optional[str], credentials: str) -> None:
    value = basic_authorization(username, password)
    assert value == "Basic " + base64.b64encode(credentials.encode()).decode()


def test_a_password_alone_is_none() -> None:
    assert basic_authorization(None, None) is None
    assert basic_authorization(None, "pass") is None


def test_a_url_s_user_part_becomes_its_authorization() -> None:
    assert parse_url("ws://us%40er:pa:ss@h").authorization == basic_authorization("us@er", "pa:ss")
    assert parse_url("ws://user@h").authorization == basic_authorization("user", None)


# --- headers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        {"Authorization": "Bearer a", "X-B": ""},
        OrderedDict([("Authorization", "Bearer a"), ("X-B", "")]),
        MappingProxyType({"Authorization": "Bearer a", "X-B": ""}),
        lambda: {"Authorization": "Bearer a", "X-B": ""},
    ],
)
def test_headers_are_read_in_order(source: Any) -> None:
    assert read_headers(source) == [("Authorization", "Bearer a"), ("X-B", "")]


@pytest.mark.parametrize("source", [None, {}, lambda: None, dict])
def test_there_may_be_no_headers(source: Any) -> None:
    assert read_headers(source) == []


def test_a_function_is_asked_each_time() -> None:
    tokens = iter(["one", "two"])
    source = lambda: {"X-Token": next(tokens)}  # noqa: E731
    assert read_headers(source) == [("X-Token", "one")]
    assert read_headers(source) == [("X-Token", "two")]


def test_a_function_is_not_asked_by_a_check() -> None:
    def source() -> dict[str, str]:
        raise AssertionError

    check_header_source(source)
    check_header_source(None)
    check_header_source({"X-A": "b"})


def test_what_a_function_raises_goes_to_the_caller() -> None:
    def source() -> dict[str, str]:
        raise KeyError("vault")

    with pytest.raises(KeyError, match="vault"):
        read_headers(source)


@pytest.mark.parametrize("name", ["X-Token", "a", "!#$%&'*+-.^_`|~09AZaz"])
@pytest.mark.parametrize("value", ["", "a", "a b", "a\tb", "!~", "\xe9\xff", "a  b", '{"a": "b"}'])
def test_what_http_allows_is_allowed(name: str, value: str) -> None:
    assert read_headers({name: value}) == [(name, value)]


@pytest.mark.parametrize(
    "value",
    [
        "s3cret\r\nX-Injected: b",
        "s3cret\n",
        "s3cret\r",
        "\n",
        "s3cret\x00",
        "s3cret\x7fa",
        "s3cret\x1ba",
        " s3cret",
        "s3cret ",
        "\ts3cret",
        "s3cret\t",
        " ",
        "s3cret\u2028a",
        "s3cret€",
    ],
)
def test_a_value_that_http_forbids_is_refused_without_being_shown(value: str) -> None:
    for check in (read_headers, check_header_source):
        with pytest.raises(ValueError, match="header X-Token") as caught:
            check({"X-Good": "good", "X-Token": value})
        assert str(caught.value) == (
            "the value of the header X-Token has a line break, or another character that HTTP forbids"
        )


@pytest.mark.parametrize("name", ["", "X Token", "X-Token:", "X\r\nY", "X-Token\n", "Ä", "a(b)", 'a"b', "a/b", "\x00"])
def test_a_name_that_http_forbids_is_refused(name: str) -> None:
    for check in (read_headers, check_header_source):
        with pytest.raises(ValueError, match="header name") as caught:
            check({name: SECRET})
        assert str(caught.value) == "a header name has characters that HTTP does not allow in it"


@pytest.mark.parametrize(
    "name", ["Upgrade", "connection", "CONNECTION", "Sec-WebSocket-Key", "sec-websocket-protocol", "SEC-WEBSOCKET-X"]
)
def test_the_handshake_s_own_headers_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="handshake") as caught:
        read_headers({name: "x"})
    assert str(caught.value) == f"the header {name} belongs to the WebSocket handshake; leave it out"


@pytest.mark.parametrize("name", ["Sec-WebSocke", "X-Upgrade", "Origin", "Host", "Cookie", "User-Agent"])
def test_others_are_the_user_s(name: str) -> None:
    assert read_headers({name: "x"}) == [(name, "x")]


@pytest.mark.parametrize("headers", [{"X-A": 5}, {"X-A": None}, {"X-A": b"s3cret"}, {5: "a"}, {b"X-A": "a"}])
def test_headers_map_str_to_str(headers: Any) -> None:
    for check in (read_headers, check_header_source):
        with pytest.raises(TypeError, match=r"^headers must map str to str$"):
            check(headers)


@pytest.mark.parametrize(
    ("source", "kind"), [([("X-A", "b")], "list"), ("X-A: b", "str"), (lambda: ["s3cret"], "list")]
)
def test_headers_are_a_mapping(source: Any, kind: str) -> None:
    with pytest.raises(TypeError) as caught:
        read_headers(source)
    assert str(caught.value) == f"headers must be a mapping of str to str, or return one; got a {kind}"
