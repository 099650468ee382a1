"""HTTP before the WebSocket is open, without a socket: what is sent, what is understood, what is refused."""

from __future__ import annotations

import base64
import hashlib
import re
import time
from typing import Callable, Optional

import pytest

from runtimeuse_sync import ConnectionFailedError
from runtimeuse_sync._connection.endpoint import parse_url
from runtimeuse_sync._connection.proxy import parse_proxy
from runtimeuse_sync._connection.upgrade import (
    MAX_HEAD,
    MAX_INTERIM,
    Answer,
    AnswerReader,
    check_tunnel,
    parse_fields,
    tunnel_request,
    upgrade,
)

ENDPOINT = parse_url("wss://box.example.com/agent?token=s3cret")
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def accept_for(request: bytes) -> str:
    key = re.search(rb"Sec-WebSocket-Key: (.*)\r\n", request)
    assert key is not None
    return base64.b64encode(hashlib.sha1(key[1] + GUID.encode()).digest()).decode()


def read(data: bytes, endpoint: str = "ws://h", speaker: str = "it") -> tuple[Answer, bytes]:
    """The answer in ``data``, and what is left; the same whether it comes at once or byte by byte."""
    at_once, piecemeal = (AnswerReader(parse_url(endpoint), speaker) for _ in range(2))
    answer = at_once.feed(data)
    assert answer is not None
    place = 0
    while (again := piecemeal.feed(data[place : place + 1])) is None:
        place += 1
    assert (again.status, again.reason, again.headers) == (answer.status, answer.reason, answer.headers)
    assert data[place + 1 :] == at_once.rest()
    return answer, at_once.rest()


def refusal_of(data: bytes) -> str:
    with pytest.raises(ConnectionFailedError) as caught:
        AnswerReader(parse_url("ws://h")).feed(data)
    return str(caught.value)


def answered(*lines: str) -> Callable[[bytes], Answer]:
    """An exchange that answers a request for an upgrade with a head of these lines, ACCEPT for the right key."""

    def exchange(request: bytes) -> Answer:
        head = "\r\n".join([*lines, "", ""]).replace("ACCEPT", accept_for(request))
        return read(head.encode("latin-1"))[0]

    return exchange


GOOD = ("HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Accept: ACCEPT")


def verdict(*lines: str) -> str:
    """What is said of an answer to the upgrade; nothing if it is good."""
    try:
        upgrade(ENDPOINT, [], answered(*lines))
    except ConnectionFailedError as error:
        return str(error)
    return ""


# --- requests ---------------------------------------------------------------------------------------


def requested(url: str, headers: list[tuple[str, str]]) -> list[str]:
    requests: list[bytes] = []
    upgrade(parse_url(url), headers, lambda request: requests.append(request) or answered(*GOOD)(request))
    return requests[0].decode("latin-1").split("\r\n")


def test_the_request_for_an_upgrade() -> None:
    first, *lines = requested(
        "https://us:pw@box.example.com/agent?token=s3cret", [("X-U", "ü"), ("Origin", "http://o")]
    )
    assert first == "GET /agent?token=s3cret HTTP/1.1"
    key = next(line for line in lines if line.startswith("Sec-WebSocket-Key: "))
    assert len(base64.b64decode(key.partition(": ")[2])) == 16
    assert sorted(set(lines) - {key, ""}) == [
        "Authorization: Basic dXM6cHc=",
        "Connection: Upgrade",
        "Host: box.example.com",
        "Origin: http://o",
        "Sec-WebSocket-Version: 13",
        "Upgrade: websocket",
        "X-U: ü",
    ]
    assert lines[-2:] == ["", ""]


def test_the_users_headers_come_before_ours() -> None:
    lines = requested("ws://us:pw@h:8080", [("authorization", "Bearer a"), ("HOST", "other")])
    assert "authorization: Bearer a" in lines
    assert "HOST: other" in lines
    assert not any(line.startswith(("Authorization", "Host")) for line in lines)


@pytest.mark.parametrize(
    ("url", "target"), [("wss://box.example.com", "box.example.com:443"), ("ws://[2001:db8::1]:80", "[2001:db8::1]:80")]
)
def test_the_request_for_a_tunnel(url: str, target: str) -> None:
    request = tunnel_request(parse_url(url), parse_proxy("http://proxy:3128"))
    assert request == f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode()


def test_a_proxy_is_told_who_asks() -> None:
    request = tunnel_request(ENDPOINT, parse_proxy("http://user:pass@proxy:3128"))
    assert request.endswith(b"\r\nProxy-Authorization: Basic dXNlcjpwYXNz\r\n\r\n")
    assert b"token" not in request


# --- what HTTP allows in an answer --------------------------------------------------------------------


def test_an_answer_is_taken_apart() -> None:
    answer, rest = read(b"HTTP/1.1 404 Not Found\r\nX-A: 1\r\nx-b:\r\n\r\nbody")
    assert (answer.status, answer.reason, answer.headers, rest) == (404, "Not Found", {"x-a": "1", "x-b": ""}, b"body")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"HTTP/1.1 200 OK", "200 OK"),
        (b"HTTP/1.0 200 OK", "200 OK"),
        (b"HTTP/1.1 200 ", "200"),
        (b"HTTP/1.1 200", "200"),
        (b"HTTP/1.1 503  two  words ", "503 two  words"),
        (b"HTTP/1.1 200 \xfcber", "200 über"),
        (b"HTTP/1.1 599 x", "599 x"),
    ],
)
@pytest.mark.parametrize("end", [b"\r\n\r\n", b"\n\n", b"\r\n\n", b"\n\r\n"])
def test_status_lines(line: bytes, said: str, end: bytes) -> None:
    assert str(read(line + end)[0]) == said


@pytest.mark.parametrize("interim", [b"100 Continue", b"102 Processing", b"103 Early Hints", b"199 ?"])
@pytest.mark.parametrize("number", [1, 2, MAX_INTERIM])
def test_interim_answers_are_passed_over(interim: bytes, number: int) -> None:
    data = b"HTTP/1.1 %s\r\nLink: </a>\r\n\r\n" % interim * number + b"HTTP/1.1 101 Go\r\nX: y\r\n\r\nframe"
    answer, rest = read(data)
    assert (answer.status, answer.headers, rest) == (101, {"x": "y"}, b"frame")


def test_after_an_interim_answer_the_final_one_is_waited_for() -> None:
    reader = AnswerReader(ENDPOINT)
    assert reader.feed(b"HTTP/1.1 100 Continue\r\n\r\n") is None
    assert reader.feed(b"HTTP/1.1 401 No\r\n") is None
    answer = reader.feed(b"\r\n")
    assert answer is not None
    assert answer.status == 401


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("", {}),
        ("A: b", {"a": "b"}),
        ("A:b", {"a": "b"}),
        ("A: \t b c \t ", {"a": "b c"}),
        ("A:", {"a": ""}),
        ("A: b:c", {"a": "b:c"}),
        ("A: b\r\na: c\r\nA: d", {"a": "b, c, d"}),
        ("A: b\r\n c\r\n\t d\r\nE: f", {"a": "b c d", "e": "f"}),
        ("A:\r\n b", {"a": "b"}),
        ("A: b\nC: d", {"a": "b", "c": "d"}),
        ("A: \xa0\x85\xff", {"a": "\xa0\x85\xff"}),
        ("!#$%&'*+-.^_`|~09: x", {"!#$%&'*+-.^_`|~09": "x"}),
    ],
)
def test_fields(text: str, fields: dict[str, str]) -> None:
    assert parse_fields(text) == fields


@pytest.mark.parametrize(
    "lines",
    [
        ("upgrade: WebSocket", "CONNECTION: upgrade"),
        ("Upgrade:websocket", "Connection:\tUpgrade \t"),
        ("Upgrade: websocket", "Connection: keep-alive, Upgrade"),
        ("Upgrade: websocket", "Connection: keep-alive", "Connection: Upgrade"),
        ("Upgrade: websocket", "Connection: , Upgrade ,,"),
        ("Upgrade:", " websocket", "Connection: keep-alive,", "\tUpgrade"),
        ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Protocol:"),
        ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Protocol: ", "Sec-WebSocket-Extensions: , "),
        ("Upgrade: websocket", "Connection: Upgrade", "Content-Length: 0", "Content-Length: 0"),
        ("Upgrade: websocket", "Connection: Upgrade", "Transfer-Encoding: chunked"),
        ("Upgrade: websocket", "Connection: Upgrade", "Set-Cookie: a=b", "Set-Cookie: c=\xfc"),
    ],
)
def test_upgrades_that_http_allows(lines: tuple[str, ...]) -> None:
    assert verdict("HTTP/1.1 101 Switching Protocols", *lines, "Sec-WebSocket-Accept:  ACCEPT ") == ""


def test_lengths_mean_nothing_in_the_answer_to_connect() -> None:
    answer, rest = read(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n")
    check_tunnel(answer, rest, ENDPOINT)


# --- what is refused ----------------------------------------------------------------------------------

NOT_HTTP = "cannot connect to ws://h: it does not answer in HTTP"
MALFORMED = "cannot connect to ws://h: it sent an answer with a malformed header"


@pytest.mark.parametrize(
    "line",
    [
        b"SSH-2.0-OpenSSH_9.2",
        b"HTTP/2 200 OK",
        b"HTTP/1.x 200 OK",
        b"HTTP/1.1  200 OK",
        b" HTTP/1.1 200 OK",
        b"HTTP/1.1\t200 OK",
        b"HTTP/1.1 20 OK",
        b"HTTP/1.1 2000 OK",
        b"HTTP/1.1 099 OK",
        b"HTTP/1.1 \xb2\xb2\xb2 digits to Python alone",
        b"HTTP/1.1 -12 OK",
        b"HTTP/1.1 200OK",
        b"HTTP/1.1 200 a\rb",
        b"HTTP/1.1 200 a\0b",
        b"HTTP/1.1 200 OK\r",
        b"",
    ],
)
def test_something_else_than_http(line: bytes) -> None:
    assert refusal_of(line + b"\r\n\r\n") == NOT_HTTP


@pytest.mark.parametrize(
    "lines",
    [
        b"Upgrade : websocket",
        b"Upgrade\t: websocket",
        b" Upgrade: websocket",
        b"A: b\r\n: c",
        b"no colon",
        b"A B: c",
        b"A: b\rUpgrade: websocket",
        b"A: b\0c",
        b"A: b\r\r\nC: d",
        b"A\0: b",
        b"A(b): c",
        b"\xc4: b",
    ],
)
def test_what_two_readers_could_read_differently(lines: bytes) -> None:
    assert refusal_of(b"HTTP/1.1 101 OK\r\n" + lines + b"\r\n\r\n") == MALFORMED


def test_a_body_of_an_interim_answer_is_none() -> None:
    assert refusal_of(b"HTTP/1.1 103 x\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 101 x\r\n\r\n") == NOT_HTTP


def test_interim_answers_are_counted() -> None:
    said = f"cannot connect to ws://h: it sent more than {MAX_INTERIM} interim answers"
    assert refusal_of(b"HTTP/1.1 102 Wait\r\n\r\n" * (MAX_INTERIM + 1)) == said


@pytest.mark.parametrize("data", [b"HTTP/1.1 101 x\r\nX: %b", b"HTTP/1.1 103 x\r\nX: %b\r\n\r\n", b"%b"])
def test_what_answers_take_together_is_bounded(data: bytes) -> None:
    said = f"cannot connect to ws://h: it sent an answer whose header is longer than {MAX_HEAD} bytes"
    assert refusal_of(data % (b"x" * (MAX_HEAD + 1))) == said
    half = b"x" * (MAX_HEAD // 2 + 1)
    assert refusal_of(data % half + data % half) == said


def test_what_comes_behind_the_head_is_not_counted() -> None:
    reader = AnswerReader(ENDPOINT)
    assert reader.feed(b"HTTP/1.1 101 x\r\n\r\n" + b"x" * MAX_HEAD) is not None
    assert reader.rest() == b"x" * MAX_HEAD


@pytest.mark.parametrize("part", [b" ", b"\t", b",", b"a:\r\n", b"\r\n ", b"a:b\r\n ", b"\r", b"\n a", b"a: b\n"])
def test_time_is_linear_in_what_came(part: bytes) -> None:
    """Byte by byte; a quadratic one would take minutes of the processor for this."""
    reader = AnswerReader(ENDPOINT)
    began = time.process_time()
    try:
        for byte in b"HTTP/1.1 101 x\r\nX:" + part * (MAX_HEAD // len(part) - 100) + b"\r\n\r\n":
            reader.feed(bytes([byte]))
    except ConnectionFailedError:
        pass
    assert time.process_time() - began < 10


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (["Upgrade: h2c"], "no valid WebSocket upgrade"),
        (["Upgrade: websocket2"], "no valid WebSocket upgrade"),
        (["Upgrade: websocket\xa0"], "no valid WebSocket upgrade"),
        (["Connection: close"], "no valid WebSocket upgrade"),
        (["Connection: Upgrade\x0b"], "no valid WebSocket upgrade"),
        (["Sec-WebSocket-Accept: d3Jvbmc="], "no valid WebSocket upgrade"),
        (["Sec-WebSocket-Accept:"], "no valid WebSocket upgrade"),
        (["Sec-WebSocket-Accept: ACCEPT", "Sec-WebSocket-Accept: ACCEPT"], "no valid WebSocket upgrade"),
        (["Sec-WebSocket-Extensions: permessage-deflate"], "it chose a sec-websocket-extensions that was not offered"),
        (["Sec-WebSocket-Protocol:", "Sec-WebSocket-Protocol: x"], "it chose a sec-websocket-protocol that was not"),
        (["Content-Length: 5"], "it announced a body"),
        (["Content-Length: 0", "Content-Length: 5"], "it announced a body"),
        (["Content-Length: 0", "Transfer-Encoding: chunked"], "it announced a body"),
        (["Content-Length: x"], "it announced a body"),
    ],
)
def test_upgrades_that_are_refused(changed: list[str], said: str) -> None:
    names = {line.partition(":")[0] for line in changed}
    assert said in verdict(*(line for line in GOOD if line.partition(":")[0] not in names), *changed)


@pytest.mark.parametrize("name", ["Upgrade", "Connection", "Sec-WebSocket-Accept"])
def test_what_an_upgrade_must_have(name: str) -> None:
    assert "no valid WebSocket upgrade" in verdict(*(line for line in GOOD if not line.startswith(f"{name}:")))


def test_a_redirect_is_explained() -> None:
    said = "it answered 302 Found; redirects are not followed, since the headers would go along: give the final URL"
    assert (
        verdict("HTTP/1.1 302 Found", "Location: http://s3cret/") == f"cannot connect to wss://box.example.com: {said}"
    )


def test_what_an_exchange_raises_is_raised() -> None:
    error = RuntimeError("no")

    def exchange(_: bytes) -> Answer:
        raise error

    with pytest.raises(RuntimeError) as caught:
        upgrade(ENDPOINT, [], exchange)
    assert caught.value is error


# --- tunnels ------------------------------------------------------------------------------------------


def tunnel_failure(data: bytes) -> tuple[str, Optional[int]]:
    with pytest.raises(ConnectionFailedError) as caught:
        check_tunnel(*read(data, "ws://h", "the proxy"), parse_url("ws://h"))
    return str(caught.value).partition(": ")[2], caught.value.status


def test_tunnels_that_are_refused() -> None:
    assert tunnel_failure(b"HTTP/1.1 407 Who?\r\n\r\n") == ("the proxy answered 407 Who?", 407)
    assert tunnel_failure(b"HTTP/1.1 101 Switching\r\n\r\n") == ("the proxy answered 101 Switching", 101)
    assert tunnel_failure(b"HTTP/1.1 302\r\n\r\n") == ("the proxy answered 302", 302)
    assert tunnel_failure(b"HTTP/1.1 200 OK\r\n\r\nx") == ("the proxy sent data before the tunnel was used", None)


def test_a_tunnel_may_have_interim_answers_too() -> None:
    check_tunnel(*read(b"HTTP/1.1 100 Wait\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"), ENDPOINT)


def test_it_is_said_that_the_proxy_spoke() -> None:
    with pytest.raises(ConnectionFailedError, match="cannot connect to ws://h: the proxy does not answer in HTTP"):
        read(b"220 mail.example.com\r\n\r\n", "ws://h", "the proxy")


# --- words of a peer ------------------------------------------------------------------------------------

HOSTILE = b"a\x1b[2J\x1b]0;title\x07b\x9b\x85\x0b\x0cc\x7f" + b"d" * 1000


@pytest.mark.parametrize("status", [101, 200, 302, 404, 503])
def test_a_reason_is_shown_without_what_a_terminal_or_a_log_would_obey(status: int) -> None:
    data = b"HTTP/1.1 %d %b\r\n\r\n" % (status, HOSTILE)
    with pytest.raises(ConnectionFailedError) as caught:
        upgrade(ENDPOINT, [], lambda _: read(data)[0])
    said, _ = tunnel_failure(data) if status != 200 else ("", None)
    for text in (str(caught.value), caught.value.reason or "", said):
        assert text.isprintable()
        assert len(text) < 400
    if status != 101:
        assert str(caught.value.reason).startswith("abcddd")
