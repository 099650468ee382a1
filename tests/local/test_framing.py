"""The WebSocket protocol of a connection, without any socket."""

from __future__ import annotations

import pytest

from runtimeuse_sync.local._server.admission import Admission
from runtimeuse_sync.local._server.framing import Framing

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
MASK = b"\0\0\0\0"


def frame(first: int, payload: bytes) -> bytes:
    return bytes([first, 0x80 | len(payload)]) + MASK + payload


def opened(limit: int = 1000) -> Framing:
    framing = Framing(Admission(None, ()), limit)
    assert framing.receive(HANDSHAKE) == []
    (answer,) = framing.to_send()
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert framing.is_open
    return framing


def test_a_handshake_in_single_bytes() -> None:
    framing = Framing(Admission(None, ()), 1000)
    for n in range(len(HANDSHAKE)):
        assert not framing.is_open
        framing.receive(HANDSHAKE[n : n + 1])
    assert framing.is_open


def test_messages_whole_and_in_fragments_with_pings_between() -> None:
    framing = opened()
    data = frame(0x81, b"one") + frame(0x01, b"t") + frame(0x89, b"ping") + frame(0x00, b"w") + frame(0x80, b"o")
    assert framing.receive(data + frame(0x82, b"\xff")) == ["one", "two", b"\xff"]
    assert framing.to_send() == [b"\x8a\x04ping"]


def test_what_comes_with_the_handshake_is_taken_after_it() -> None:
    framing = Framing(Admission(None, ()), 1000)
    assert framing.receive(HANDSHAKE + frame(0x81, b"eager") + frame(0x89, b"")) == ["eager"]
    answer, pong = framing.to_send()
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert pong == b"\x8a\x00"


@pytest.mark.parametrize("rest", [b"\xff" * 100, frame(0x88, b""), frame(0x88, b"\x03\xe8")])
def test_rubbish_and_goodbyes_that_come_with_the_handshake(rest: bytes) -> None:
    framing = Framing(Admission(None, ()), 1000)
    assert framing.receive(HANDSHAKE + rest) == []
    assert not framing.is_open
    assert framing.is_ending
    framing.close(1001)
    assert framing.to_send()[-1] == b""
    framing.receive(b"")
    assert framing.is_over


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(0x81, b"\xff"), 1007),
        (frame(0x01, b"x") + frame(0x81, b"x"), 1002),
        (frame(0x80, b"x"), 1002),
        (frame(0x01, b"x") + frame(0x88, b""), 1002),
        (frame(0x88, b"\x03"), 1002),
        (b"\x81\xff" + (2**62).to_bytes(8, "big") + MASK, 1009),
        ((frame(0x01, b"x" * 100) + frame(0x00, b"x" * 100) * 10), 1009),
    ],
)
def test_what_is_against_the_rules_closes_with_a_code(data: bytes, code: int) -> None:
    framing = opened()
    assert framing.receive(data) == []
    *_, close, end = framing.to_send()
    assert close[:1] == b"\x88"
    assert int.from_bytes(close[2:4], "big") == code
    assert end == b""
    assert framing.is_ending
    assert not framing.is_open
    assert framing.receive(frame(0x81, b"more")) == []


def test_closing_from_here_still_hears_until_the_client_answers() -> None:
    framing = opened()
    framing.close(None)
    assert framing.to_send() == [b"\x88\x00"]
    assert framing.is_ending
    assert framing.receive(frame(0x81, b"late")) == ["late"]
    framing.receive(frame(0x88, b""))
    assert framing.to_send() == [b""]
    assert not framing.is_over
    framing.receive(b"")
    assert framing.is_over


def test_a_client_that_is_gone_without_a_word() -> None:
    framing = opened()
    framing.receive(b"")
    assert framing.is_over
    assert framing.receive(b"x") == framing.receive(b"") == []
    framing.close(1001)
    framing.fail()


@pytest.mark.parametrize("data", [b"", b"GET", b"\x16\x03\x01\r\n\r\n", b"A" * 100_000, b"\r\n" * 1000])
def test_what_is_no_handshake_ends(data: bytes) -> None:
    framing = Framing(Admission(None, ()), 1000)
    framing.receive(data)
    framing.receive(b"")
    assert framing.is_over
    assert framing.to_send()[-1] == b""


def test_a_refusal_is_an_answer_and_the_end() -> None:
    framing = Framing(Admission("t0ken", ()), 1000)
    framing.receive(HANDSHAKE)
    answer, end = framing.to_send()
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert end == b""
    assert framing.is_ending
