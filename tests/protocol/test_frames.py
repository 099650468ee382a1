"""Frames without a socket: what is a message, what is a fault, and that the cuts of a stream do not matter."""

from __future__ import annotations

import struct
import tracemalloc
from itertools import combinations
from typing import Any, Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wsproto.frame_protocol import CloseReason, FrameProtocol, ParseFailed
from wsproto.frame_protocol import Opcode as TheirOpcode

from runtimeuse_sync._protocol import frames as _frames
from runtimeuse_sync._protocol.frames import (
    Binary,
    Close,
    FrameDecoder,
    Opcode,
    Ping,
    Pong,
    encode_close,
    encode_frame,
    payload_size,
)
from runtimeuse_sync.exceptions import MessageTooLargeError, ProtocolError

TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 0x1, 0x2, 0x0, 0x8, 0x9, 0xA
RESERVED_OPCODES = [0x3, 0x4, 0x5, 0x6, 0x7, 0xB, 0xC, 0xD, 0xE, 0xF]


def length_bytes(size: int, *, masked: bool = False) -> bytes:
    """The second byte of a header, and those behind it, in the shortest form."""
    mask = 0x80 if masked else 0
    if size < 126:
        return bytes([mask | size])
    if size < 65536:
        return bytes([mask | 126]) + struct.pack("!H", size)
    return bytes([mask | 127]) + struct.pack("!Q", size)


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True) -> bytes:
    """A frame as a server has to send it."""
    return bytes([0x80 * fin | opcode]) + length_bytes(len(payload)) + payload


def close_frame(code: int, reason: bytes = b"") -> bytes:
    return frame(CLOSE, struct.pack("!H", code) + reason)


def decode(*chunks: bytes, limit: Optional[int] = None) -> tuple[list[Any], Optional[str]]:
    """All events, and what the fault is."""
    decoder = FrameDecoder(limit)
    events = [event for chunk in chunks for event in decoder.feed(chunk)]
    return events, None if decoder.error is None else str(decoder.error)


def fault(*chunks: bytes, limit: Optional[int] = None) -> ProtocolError:
    """The fault that the last chunk has, and it alone."""
    decoder = FrameDecoder(limit)
    for chunk in chunks:
        assert decoder.error is None
        assert decoder.feed(chunk) == []
    assert decoder.error is not None
    return decoder.error


# --- messages ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 124, 125, 126, 127, 65534, 65535, 65536, 65537])
def test_a_text_of_any_size_comes_out_as_it_went_in(size: int) -> None:
    payload = bytes(range(256)) * (size // 256) + bytes(range(size % 256))
    assert decode(frame(TEXT, payload)) == ([payload], None)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536])
def test_a_size_may_be_split_from_its_payload(size: int) -> None:
    payload = b"x" * size
    head = frame(TEXT, payload)[: -size or None]
    assert decode(head, payload) == ([payload], None)
    assert decode(head + payload[:-1], payload[-1:]) == ([payload], None)


def test_a_text_is_bytes_and_is_not_read_as_utf_8() -> None:
    assert decode(frame(TEXT, b"\xff\xfe")) == ([b"\xff\xfe"], None)


@pytest.mark.parametrize("cut", [1, 2, 3, 5])
def test_a_binary_message_is_told_from_a_text(cut: int) -> None:
    stream = frame(BINARY, b"\x00\xff\x01")
    assert decode(stream[:cut], stream[cut:]) == ([Binary(b"\x00\xff\x01")], None)


def test_several_messages_come_out_of_one_chunk_in_order() -> None:
    stream = frame(TEXT, b"one") + frame(TEXT) + frame(BINARY, b"two") + frame(TEXT, b"three")
    assert decode(stream) == ([b"one", b"", Binary(b"two"), b"three"], None)


@pytest.mark.parametrize("before", [b"", b"p", b"pp"])
@pytest.mark.parametrize("size", [126, 65536])
def test_a_long_message_may_begin_anywhere(before: bytes, size: int) -> None:
    assert decode(frame(PING, before) + frame(TEXT, b"x" * size)) == ([Ping(before), b"x" * size], None)


@pytest.mark.parametrize("size", [125, 126, 65535, 65536])
@pytest.mark.parametrize("cut", range(1, 10))
def test_a_header_may_be_cut_anywhere(size: int, cut: int) -> None:
    stream = frame(TEXT, b"x" * size)
    assert decode(stream[:cut], stream[cut:]) == ([b"x" * size], None)


def test_whole_texts_are_taken_without_a_call_each(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_check", "_take"):
        monkeypatch.setattr(FrameDecoder, name, None)
    texts = [b"x" * size for size in (0, 1, 125, 126, 65535, 65536)]
    stream = b"".join(frame(TEXT, text) for text in texts)
    assert decode(stream) == (texts, None)
    assert decode(stream, limit=65536) == (texts, None)


def test_nothing_fed_is_nothing_found() -> None:
    assert decode(b"", b"") == ([], None)


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_fragments_are_joined(opcode: int) -> None:
    events, error = decode(
        frame(opcode, b"a", fin=False), frame(CONTINUATION, b"bc", fin=False), frame(CONTINUATION, b"d")
    )
    assert (events, error) == ([b"abcd" if opcode == TEXT else Binary(b"abcd")], None)


def test_empty_fragments_are_fragments() -> None:
    stream = frame(TEXT, b"", fin=False) + frame(CONTINUATION, b"", fin=False) + frame(CONTINUATION, b"")
    assert decode(stream) == ([b""], None)


def test_a_fragmented_message_leaves_nothing_to_the_next() -> None:
    fragmented = frame(TEXT, b"a", fin=False) + frame(CONTINUATION, b"b")
    assert decode(fragmented * 2 + frame(TEXT, b"c")) == ([b"ab", b"ab", b"c"], None)


def test_control_frames_may_stand_between_fragments() -> None:
    stream = frame(TEXT, b"a", fin=False) + frame(PING, b"p") + frame(PONG) + frame(CONTINUATION, b"b")
    assert decode(stream) == ([Ping(b"p"), Pong(b""), b"ab"], None)


@pytest.mark.parametrize("size", [0, 1, 124, 125])
def test_a_control_frame_may_have_125_bytes(size: int) -> None:
    payload = b"p" * size
    assert decode(frame(PING, payload) + frame(PONG, payload)) == ([Ping(payload), Pong(payload)], None)


def test_what_may_be_secret_is_not_in_a_repr() -> None:
    assert [repr(cls(b"s3cret")) for cls in (Binary, Ping, Pong)] == ["Binary()", "Ping()", "Pong()"]


# --- the end ----------------------------------------------------------------------------------------

CODES = [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999]
FORBIDDEN_CODES = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1999, 2000, 2999, 5000, 65535]


@pytest.mark.parametrize("code", CODES)
def test_a_close_frame_has_a_code_and_a_reason(code: int) -> None:
    assert decode(close_frame(code, "bêta".encode())) == ([Close(code, "bêta")], None)
    assert decode(close_frame(code)) == ([Close(code, "")], None)


def test_an_empty_close_frame_has_the_code_1005() -> None:
    assert decode(frame(CLOSE)) == ([Close(1005, "")], None)


def test_the_longest_reason_has_123_bytes() -> None:
    assert decode(close_frame(1000, b"r" * 123)) == ([Close(1000, "r" * 123)], None)


def test_behind_a_close_frame_nothing_counts_any_more() -> None:
    assert decode(close_frame(1000) + frame(TEXT, b"a")) == ([Close(1000, "")], None)
    assert decode(close_frame(1000) + b"\xff\xff\xff", frame(TEXT, b"a")) == ([Close(1000, "")], None)
    assert decode(close_frame(1000, b"why")[:-1], b"y" + frame(TEXT, b"a")) == ([Close(1000, "why")], None)


def test_a_close_frame_may_stand_between_fragments() -> None:
    assert decode(frame(TEXT, b"a", fin=False) + frame(CLOSE)) == ([Close(1005, "")], None)


@pytest.mark.parametrize("code", FORBIDDEN_CODES)
def test_codes_that_must_not_be_sent_are_refused(code: int) -> None:
    error = fault(close_frame(code, b"why"))
    assert str(error) == f"a Close frame with the code {code}, which must not be sent"
    assert error.close_code == 1002


def test_half_a_code_is_refused() -> None:
    error = fault(frame(CLOSE, b"\x03"))
    assert (str(error), error.close_code) == ("a Close frame of one byte", 1002)


def test_a_reason_that_is_not_utf_8_is_refused_without_being_shown() -> None:
    error = fault(close_frame(1000, b"s3cret\xff"))
    assert (str(error), error.close_code) == ("a Close frame whose reason is not UTF-8", 1007)
    assert error.__cause__ is None
    assert error.__suppress_context__


# --- faults -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [0x10, 0x20, 0x40, 0x30, 0x70])
@pytest.mark.parametrize("opcode", [TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG])
def test_reserved_bits_are_refused(bits: int, opcode: int) -> None:
    error = fault(frame(opcode | bits, b"ab"))
    assert (str(error), error.close_code) == ("a frame with reserved bits set", 1002)


@pytest.mark.parametrize("fin", [True, False])
@pytest.mark.parametrize("opcode", RESERVED_OPCODES)
def test_reserved_opcodes_are_refused(opcode: int, fin: bool) -> None:
    error = fault(frame(opcode, fin=fin))
    assert (str(error), error.close_code) == (f"a frame with the reserved opcode {opcode}", 1002)


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
def test_a_fragmented_control_frame_is_refused(opcode: int) -> None:
    error = fault(frame(opcode, fin=False))
    assert (str(error), error.close_code) == ("a fragmented control frame", 1002)


@pytest.mark.parametrize("size", [126, 127, 65535, 65536])
@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
def test_a_control_frame_of_126_bytes_is_refused_from_its_header(opcode: int, size: int) -> None:
    error = fault(bytes([0x80 | opcode]) + length_bytes(size))
    assert (str(error), error.close_code) == (f"a control frame of {size} bytes; 125 is the most", 1002)


@pytest.mark.parametrize("fin", [True, False])
def test_a_continuation_out_of_the_blue_is_refused(fin: bool) -> None:
    error = fault(frame(CONTINUATION, b"a", fin=fin))
    assert (str(error), error.close_code) == ("a continuation frame, but no message to continue", 1002)


def test_a_continuation_behind_a_whole_message_is_refused() -> None:
    whole = frame(TEXT, b"a", fin=False) + frame(CONTINUATION, b"b")
    assert decode(whole + frame(CONTINUATION, b"c")) == ([b"ab"], "a continuation frame, but no message to continue")


@pytest.mark.parametrize("fin", [True, False])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("first", [TEXT, BINARY])
def test_a_new_message_inside_a_fragmented_one_is_refused(first: int, opcode: int, fin: bool) -> None:
    error = fault(frame(first, b"a", fin=False), frame(opcode, b"b", fin=fin))
    assert (str(error), error.close_code) == ("a new message inside a fragmented one", 1002)


@pytest.mark.parametrize("opcode", [TEXT, PING])
@pytest.mark.parametrize("size", [0, 5, 125, 126, 65535, 65536])
def test_a_masked_frame_is_refused_from_its_first_two_bytes(opcode: int, size: int) -> None:
    error = fault((bytes([0x80 | opcode]) + length_bytes(size, masked=True))[:2])
    assert (str(error), error.close_code) == ("a masked frame; only clients mask", 1002)


@pytest.mark.parametrize(
    "length",
    [b"\x7e\x00\x00", b"\x7e\x00\x7d", b"\x7f" + bytes(8), b"\x7f" + struct.pack("!Q", 65535)],
    ids=["0 as 2 bytes", "125 as 2 bytes", "0 as 8 bytes", "65535 as 8 bytes"],
)
def test_a_length_in_a_longer_form_than_it_needs_is_refused(length: bytes) -> None:
    error = fault(b"\x81" + length)
    assert (str(error), error.close_code) == ("a frame whose length is not in its shortest form", 1002)


@pytest.mark.parametrize("size", [1 << 63, (1 << 64) - 1])
def test_a_length_of_64_bits_is_refused(size: int) -> None:
    error = fault(b"\x81" + length_bytes(size))
    assert (str(error), error.close_code) == ("a frame whose length has its highest bit set", 1002)


def test_a_length_of_63_bits_is_waited_for_when_there_is_no_limit() -> None:
    assert decode(b"\x81" + length_bytes((1 << 63) - 1) + b"only this") == ([], None)


def test_what_came_before_a_fault_is_still_returned() -> None:
    decoder = FrameDecoder(None)
    assert decoder.feed(frame(TEXT, b"a") + frame(PING, b"p") + frame(0x3) + frame(TEXT, b"b")) == [b"a", Ping(b"p")]
    assert str(decoder.error) == "a frame with the reserved opcode 3"


def test_after_a_fault_nothing_comes_and_the_fault_stays() -> None:
    decoder = FrameDecoder(None)
    decoder.feed(frame(0x3))
    error = decoder.error
    assert decoder.feed(frame(TEXT, b"a") + frame(0x4)) == []
    assert decoder.error is error


def test_before_a_fault_there_is_none() -> None:
    assert FrameDecoder(None).error is None


# --- the limit --------------------------------------------------------------------------------------


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("limit", [1, 125, 126, 127, 65535, 65536, 70000])
def test_a_message_may_be_as_large_as_the_limit(opcode: int, limit: int) -> None:
    payload = b"x" * limit
    expected = payload if opcode == TEXT else Binary(payload)
    assert decode(frame(opcode, payload), limit=limit) == ([expected], None)
    assert decode(frame(opcode, payload)[:-1], b"x", limit=limit) == ([expected], None)


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("limit", [1, 124, 125, 126, 65534, 65535, 65536])
def test_one_byte_more_is_refused_from_the_header(opcode: int, limit: int) -> None:
    error = fault(bytes([0x80 | opcode]) + length_bytes(limit + 1), limit=limit)
    assert isinstance(error, MessageTooLargeError)
    assert (error.size, error.limit, error.close_code) == (limit + 1, limit, 1009)
    assert str(error) == f"a message of {limit + 1} bytes is over max_message_size ({limit} bytes)"


def test_one_byte_more_is_refused_when_it_is_there_too() -> None:
    error = fault(frame(TEXT, b"x" * 11), limit=10)
    assert isinstance(error, MessageTooLargeError)
    assert (error.size, error.limit) == (11, 10)


def test_a_header_that_promises_a_tebibyte_is_refused() -> None:
    error = fault(b"\x82" + length_bytes(1 << 40), limit=64 << 20)
    assert isinstance(error, MessageTooLargeError)
    assert (error.size, error.limit) == (1 << 40, 64 << 20)


def test_fragments_are_counted_together() -> None:
    fragments = [frame(TEXT, b"1234", fin=False), frame(CONTINUATION, b"567", fin=False)]
    assert decode(*fragments, frame(CONTINUATION, b"890"), limit=10) == ([b"1234567890"], None)
    error = fault(*fragments, bytes([0x80, 4]), limit=10)
    assert isinstance(error, MessageTooLargeError)
    assert (error.size, error.limit) == (11, 10)


def test_a_first_fragment_counts_by_itself() -> None:
    error = fault(bytes([TEXT, 11]), limit=10)
    assert isinstance(error, MessageTooLargeError)
    assert error.size == 11


def test_each_message_is_counted_anew() -> None:
    fragmented = frame(TEXT, b"123456", fin=False) + frame(CONTINUATION, b"7890")
    assert decode((fragmented + frame(TEXT, b"x" * 10)) * 3, limit=10) == ([b"1234567890", b"x" * 10] * 3, None)


def test_control_frames_are_not_counted() -> None:
    stream = frame(TEXT, b"1", fin=False) + frame(PING, b"p" * 125) + frame(CONTINUATION, b"2")
    assert decode(stream, limit=2) == ([Ping(b"p" * 125), b"12"], None)


# --- every split of a stream gives the same ------------------------------------------------------------

STREAMS = {
    "good": (
        frame(TEXT, b"{}")
        + frame(TEXT, b"ab", fin=False)
        + frame(PING, b"p")
        + frame(CONTINUATION, b"c")
        + frame(BINARY, b"b" * 126)
        + frame(TEXT)
    ),
    "large": frame(TEXT, b"x" * 300) + frame(PONG) + frame(TEXT, b"y"),
    "closed": frame(TEXT, b"a") + close_frame(1001, b"bye") + frame(TEXT, b"b"),
    "reserved": frame(TEXT, b"a") + frame(0xB, b"b") + frame(TEXT, b"c"),
    "masked": frame(TEXT, b"a") + b"\x81" + length_bytes(300, masked=True) + bytes(20),
    "too large": frame(TEXT, b"abc", fin=False) + frame(CONTINUATION, b"d" * 400),
    "long form": frame(TEXT, b"a") + b"\x81\x7e\x00\x05abcde",
    "cut off": frame(TEXT, b"a") + frame(TEXT, b"b" * 200)[:-1],
}


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_may_be_cut_anywhere(name: str) -> None:
    stream = STREAMS[name]
    whole = decode(stream, limit=400)
    assert decode(*(stream[i : i + 1] for i in range(len(stream))), limit=400) == whole
    for cut in range(len(stream) + 1):
        assert decode(stream[:cut], stream[cut:], limit=400) == whole


def test_a_stream_may_be_cut_anywhere_twice() -> None:
    stream = frame(TEXT, b"ab", fin=False) + frame(PING, b"p") + frame(CONTINUATION, b"c") + frame(TEXT, b"d" * 126)
    expected = ([Ping(b"p"), b"abc", b"d" * 126], None)
    assert decode(stream) == expected
    for first, second in combinations(range(22), 2):
        assert decode(stream[:first], stream[first:second], stream[second:]) == expected


# Lengths around which the form of the header changes are more likely than chance would have them.
payloads = st.one_of(
    st.binary(max_size=12),
    st.text(max_size=8).map(str.encode),
    st.sampled_from([b"x" * size for size in (124, 125, 126, 127, 65535, 65536)]),
)


@st.composite
def data_frames(draw: st.DrawFn) -> bytes:
    """A message, in one frame or in fragments with control frames between them."""
    opcode = draw(st.sampled_from([TEXT, BINARY]))
    parts = draw(st.lists(payloads, min_size=1, max_size=4))
    stream = b""
    for i, part in enumerate(parts):
        stream += frame(CONTINUATION if i else opcode, part, fin=i == len(parts) - 1)
        stream += draw(st.just(b"") | control_frames)
    return stream


control_frames = st.builds(frame, st.sampled_from([PING, PONG]), st.binary(max_size=125))
close_frames = st.one_of(
    st.builds(close_frame, st.integers(0, 65535) | st.sampled_from(CODES), st.text(max_size=30).map(str.encode)),
    st.builds(close_frame, st.just(1000), st.binary(max_size=5)),
    st.builds(frame, st.just(CLOSE), st.binary(max_size=2)),
)
# Any first byte, any length in any form, masked or not, and not necessarily as much payload as it says.
wild_frames = st.builds(
    lambda first, length, payload: bytes([first]) + length + payload,
    st.integers(0, 255),
    st.one_of(
        st.integers(0, 255).map(lambda byte: bytes([byte])),
        st.integers(0, 65535).map(lambda size: b"\x7e" + struct.pack("!H", size)),
        st.integers(0, (1 << 64) - 1).map(lambda size: b"\x7f" + struct.pack("!Q", size)),
    ),
    st.binary(max_size=20),
)
# Empty pings at the end complete a header that was cut off: both decoders have to make up their minds.
ENOUGH = frame(PING) * 8


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    good = data_frames() | control_frames
    frames = draw(st.lists(good, max_size=5)) + draw(st.lists(good | close_frames | wild_frames, max_size=3))
    stream = bytearray(b"".join(frames))
    for _ in range(draw(st.integers(0, 2)) if stream else 0):
        stream[draw(st.integers(0, len(stream) - 1))] = draw(st.integers(0, 255))
    return bytes(stream) + ENOUGH


@given(streams(), st.lists(st.integers(0, 400), max_size=8), st.sampled_from([None, 0, 10, 126, 70000]))
def test_the_cuts_of_a_stream_do_not_matter(stream: bytes, cuts: list[int], limit: Optional[int]) -> None:
    bounds = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    chunks = [stream[start:stop] for start, stop in zip(bounds, bounds[1:])]
    assert decode(*chunks, limit=limit) == decode(stream, limit=limit)


# --- a second opinion ---------------------------------------------------------------------------------


def by_wsproto(stream: bytes) -> tuple[list[Any], Optional[ParseFailed]]:
    """What wsproto makes of it, in our terms."""
    protocol = FrameProtocol(client=True, extensions=[])
    events: list[Any] = []
    parts: list[Any] = []
    protocol.receive_bytes(stream)
    try:
        for found in protocol.received_frames():
            if found.opcode is TheirOpcode.CLOSE:
                events.append(Close(int(found.payload[0]), found.payload[1]))
            elif found.opcode in (TheirOpcode.PING, TheirOpcode.PONG):
                cls = Ping if found.opcode is TheirOpcode.PING else Pong
                events.append(cls(bytes(found.payload)))
            else:
                parts.append(found.payload)
                if found.message_finished:
                    is_text = found.opcode is TheirOpcode.TEXT
                    events.append("".join(parts).encode() if is_text else Binary(b"".join(parts)))
                    parts = []
    except ParseFailed as error:
        return events, error
    return events, None


def is_utf_8(payload: bytes) -> bool:
    return payload.decode(errors="replace").encode() == payload


# Registered since RFC 6455, though their list does not have it.
BAD_GATEWAY = struct.pack("!H", 1014)


def is_bad_gateway(event: Any) -> bool:
    return isinstance(event, Close) and event.code == 1014


def assert_both_agree(stream: bytes) -> None:
    decoder = FrameDecoder(None)
    events = decoder.feed(stream)
    theirs, failure = by_wsproto(stream)
    if failure is not None and failure.code == 1007 and "CLOSE" not in str(failure):
        # They read text as it comes; ours is read when it is whole, by the codec, which refuses the same.
        assert events[: len(theirs)] == theirs
        texts = [event for event in events[len(theirs) :] if isinstance(event, (bytes, bytearray))]
        assert not texts or not is_utf_8(texts[0])
    elif BAD_GATEWAY in stream and str(failure) == "CLOSE with unknown reserved code":
        assert [event for event in events if not is_bad_gateway(event)] == theirs
    else:
        assert events == theirs
        assert (decoder.error and decoder.error.close_code) == (failure and int(failure.code))


@settings(max_examples=60)
@given(streams())
def test_wsproto_agrees_on_messages_and_faults(stream: bytes) -> None:
    assert_both_agree(stream)


@given(st.binary(max_size=60))
def test_wsproto_agrees_on_arbitrary_bytes(noise: bytes) -> None:
    assert_both_agree(noise + ENOUGH)


@pytest.mark.slow
@pytest.mark.parametrize("second", [0, 1, 125, 126, 127, 128, 254, 255])
def test_wsproto_agrees_on_every_first_byte(second: int) -> None:
    for first in range(256):
        for rest in (b"", b"\x00\x7d", b"\x00\x7e" + bytes(126), bytes(8), b"\x00" * 5 + b"\x01\x00\x00"):
            assert_both_agree(bytes([first, second]) + rest + ENOUGH)
            assert_both_agree(frame(TEXT, b"a", fin=False) + bytes([first, second]) + rest + ENOUGH)


def test_wsproto_agrees_on_close_codes() -> None:
    for code in range(900, 5100):
        assert_both_agree(close_frame(code))
    assert 1014 not in set(CloseReason)


# --- hostile bytes ------------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=40), max_size=8), st.sampled_from([0, 1, 100]))
def test_hostile_bytes_end_in_events_or_a_fault(chunks: list[bytes], limit: int) -> None:
    decoder = FrameDecoder(limit)
    for chunk in chunks:
        for event in decoder.feed(chunk):
            assert isinstance(event, (bytes, bytearray, Binary, Ping, Pong, Close))
            if isinstance(event, (bytes, bytearray)):
                assert len(event) <= limit
            elif isinstance(event, Binary):
                assert len(event.payload) <= limit
    assert decoder.error is None or isinstance(decoder.error, ProtocolError)


@pytest.mark.parametrize(
    "endless",
    [frame(CONTINUATION, fin=False), frame(PING, b"p" * 125), frame(TEXT, b"x" * 100), b"\x81"],
    ids=["empty fragments", "pings", "messages", "garbage"],
)
def test_what_never_ends_is_not_kept(endless: bytes) -> None:
    decoder = FrameDecoder(1000)
    if endless == frame(CONTINUATION, fin=False):
        decoder.feed(frame(TEXT, b"", fin=False))
    decoder.feed(endless)
    tracemalloc.start()
    try:
        for _ in range(300):
            decoder.feed(endless * 10)
        # Of the decoder alone: other threads may take memory at any time, pytest-xdist's for one.
        kept = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, _frames.__file__)])
        assert sum(trace.size for trace in kept.traces) < 8192
    finally:
        tracemalloc.stop()


class Counting(bytearray):
    """A buffer that counts the bytes that are put into it: the work that joining costs."""

    copied = 0

    def __iadd__(self, more: Any) -> Counting:
        Counting.copied += len(more)
        super().__iadd__(more)
        return self

    def __setitem__(self, where: Any, what: Any) -> None:
        Counting.copied += len(what)
        super().__setitem__(where, what)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> type[Counting]:
    monkeypatch.setattr(_frames, "bytearray", Counting, raising=False)
    monkeypatch.setattr(Counting, "copied", 0)
    return Counting


def test_a_payload_may_be_read_straight_into_its_place() -> None:
    text = bytes(range(256)) * 1024
    decoder = FrameDecoder(None)
    stream = memoryview(frame(TEXT, text) + frame(TEXT, b"next"))
    assert decoder.feed(bytes(stream[:1000])) == []
    events, position = [], 1000
    while decoder.missing:
        with decoder.room() as room:
            size = min(len(room), 50_000)
            room[:size] = stream[position : position + size]
        events += decoder.fill(size)
        position += size
    assert events + decoder.feed(bytes(stream[position:])) == [text, b"next"]


def test_room_is_made_as_the_payload_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_frames, "_ROOM", 1000)
    decoder = FrameDecoder(None)
    decoder.feed(b"\x81" + length_bytes(1 << 40) + b"abc")
    sizes = []
    for _ in range(4):
        with decoder.room() as room:
            sizes.append(len(room))
        assert decoder.fill(sizes[-1]) == []
    assert sizes == [997, 1000, 2000, 4000]
    assert decoder.missing == (1 << 40) - 8000


def test_a_promise_alone_makes_room_for_4_mib() -> None:
    decoder = FrameDecoder(None)
    decoder.feed(b"\x81" + length_bytes(1 << 40) + b"abc")
    assert len(decoder.room()) == (4 << 20) - 3


def test_no_more_room_is_made_than_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_frames, "_ROOM", 200)
    decoder = FrameDecoder(None)
    decoder.feed(frame(TEXT, b"x" * 300)[:-100])
    with decoder.room() as room:
        assert len(room) == 100
        room[:] = b"y" * 100
    assert decoder.fill(100) == [b"x" * 200 + b"y" * 100]


def test_joining_16_000_fragments_handles_each_byte_once(counted: type[Counting]) -> None:
    decoder = FrameDecoder(None)
    events = decoder.feed(frame(TEXT, b"x" * 64, fin=False))
    for _ in range(15_998):
        events += decoder.feed(frame(CONTINUATION, b"y" * 64, fin=False))
    events += decoder.feed(frame(CONTINUATION, b"z" * 64))
    assert events == [b"x" * 64 + b"y" * 64 * 15_998 + b"z" * 64]
    assert counted.copied == 64 * 16_000


def test_a_large_payload_in_small_chunks_handles_each_byte_once(counted: type[Counting]) -> None:
    size = 1 << 20
    stream = frame(TEXT, b"x" * size)
    decoder = FrameDecoder(None)
    events = [event for at in range(0, len(stream), 100) for event in decoder.feed(stream[at : at + 100])]
    assert events == [b"x" * size]
    assert counted.copied == size


# --- the other way ------------------------------------------------------------------------------------

KEY = b"\x01\x80\xff\x00"


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Not at random, for once."""
    monkeypatch.setattr(_frames.os, "urandom", lambda size: (KEY * size)[:size])
    return KEY


def unmask(payload: bytes, key: bytes) -> bytes:
    return bytes(byte ^ key[i % 4] for i, byte in enumerate(payload))


@pytest.mark.parametrize(
    ("size", "head"),
    [
        (0, b"\x80"),
        (1, b"\x81"),
        (125, b"\xfd"),
        (126, b"\xfe\x00\x7e"),
        (65535, b"\xfe\xff\xff"),
        (65536, b"\xff\x00\x00\x00\x00\x00\x01\x00\x00"),
        (65537, b"\xff\x00\x00\x00\x00\x00\x01\x00\x01"),
    ],
)
def test_a_frame_is_masked_and_its_length_in_the_shortest_form(key: bytes, size: int, head: bytes) -> None:
    payload = (b"\x00\x01\xfe\xff?" * (size // 5 + 1))[:size]
    assert encode_frame(Opcode.TEXT, payload) == b"\x81" + head + key + unmask(payload, key)


@pytest.mark.parametrize(("opcode", "first"), [(Opcode.BINARY, 0x82), (Opcode.PING, 0x89), (Opcode.PONG, 0x8A)])
def test_a_frame_has_its_opcode_and_is_the_last_of_its_message(key: bytes, opcode: Opcode, first: int) -> None:
    assert encode_frame(opcode, b"") == bytes([first, 0x80]) + key


def test_masking_takes_four_times_the_size_of_the_payload_and_no_more() -> None:
    payload = b"x" * (1 << 20)
    tracemalloc.start()
    try:
        encode_frame(Opcode.BINARY, payload)
        assert tracemalloc.get_traced_memory()[1] < 4.5 * len(payload)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", range(12))
def test_masking_leaves_leading_zeros_alone(key: bytes, size: int) -> None:
    # A key that begins with the payload's first byte gives a zero, which a number has no digit for.
    assert encode_frame(Opcode.TEXT, b"\x01" * size)[6:] == unmask(b"\x01" * size, key)


def test_each_frame_has_a_key_of_its_own() -> None:
    assert len({encode_frame(Opcode.PING, b"")[2:] for _ in range(20)}) == 20


def test_a_close_frame_says_code_and_reason(key: bytes) -> None:
    assert encode_close(1001, "bye") == b"\x88\x85" + key + unmask(b"\x03\xe9bye", key)
    for code in (1000, 1002, 1003, 1007, 1009, 1011, 4999):
        assert encode_close(code) == b"\x88\x82" + key + unmask(struct.pack("!H", code), key)


def test_a_close_without_a_code_is_answered_with_one_without(key: bytes) -> None:
    assert encode_close(1005, "not said") == b"\x88\x80" + key


def test_a_reason_is_cut_to_what_a_control_frame_holds(key: bytes) -> None:
    assert encode_close(1000, "r" * 200) == b"\x88\xfd" + key + unmask(b"\x03\xe8" + b"r" * 123, key)


@given(st.sampled_from(Opcode), st.binary(max_size=300))
def test_wsproto_reads_what_we_write(opcode: Opcode, payload: bytes) -> None:
    server = FrameProtocol(client=False, extensions=[])
    if opcode in (Opcode.CONTINUATION, Opcode.CLOSE, Opcode.TEXT):
        opcode = Opcode.BINARY
    payload = payload[:125] if opcode >= Opcode.CLOSE else payload
    server.receive_bytes(encode_frame(opcode, payload))
    (found,) = server.received_frames()
    assert (found.opcode, bytes(found.payload), found.message_finished) == (opcode, payload, True)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
def test_a_frame_tells_the_size_of_its_payload(size: int) -> None:
    assert payload_size(encode_frame(Opcode.TEXT, bytes(size))) == size
