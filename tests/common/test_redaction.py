from __future__ import annotations

import time
import tracemalloc
from typing import Any, Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runtimeuse_sync._common.redaction import MARK, RedactedStream, Redactor
from runtimeuse_sync.messages import (
    CommandExecutionResultMessageInterface,
    CommandOutputMessageInterface,
    CommandResultItem,
    ResultMessageInterface,
    StructuredOutputResult,
)

# Few letters, so that secrets occur, overlap and nearly occur.
TEXT = st.text("abc", max_size=30)
SECRETS = st.lists(st.text("abc", min_size=1, max_size=6), max_size=4)


def unmasked(text: str, secrets: list[str]) -> str:
    """The characters that belong to no occurrence of any secret, found one by one."""
    kept = ""
    for at, character in enumerate(text):
        starts = [(s, i) for s in secrets for i in range(max(0, at - len(s) + 1), at + 1)]
        kept += "" if any(text.startswith(secret, i) for secret, i in starts) else character
    return kept


@given(TEXT, SECRETS)
def test_exactly_what_belongs_to_a_secret_goes(text: str, secrets: list[str]) -> None:
    assert Redactor(secrets).text(text).replace(MARK, "") == unmasked(text, secrets)


@given(st.lists(TEXT, max_size=8), SECRETS)
@example(["abc", "d"], ["abc", "bcd"])
@example(["aa", "a", "aab"], ["aa"])
def test_a_stream_says_the_same_however_it_is_cut(chunks: list[str], secrets: list[str]) -> None:
    stream = RedactedStream(Redactor(secrets))

    out = [stream.feed(chunk.encode()) for chunk in chunks] + [stream.flush()]

    assert "".join(out) == Redactor(secrets).text("".join(chunks))


@given(st.text(min_size=1), st.lists(st.integers(0, 60)), st.text(min_size=1, max_size=5))
def test_a_stream_may_be_cut_inside_a_character(text: str, cuts: list[int], secret: str) -> None:
    raw = (text + secret).encode("utf-8", "replace")
    stream = RedactedStream(Redactor([secret.encode("utf-8", "replace").decode()]))
    edges = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]

    out = "".join(stream.feed(raw[a:b]) for a, b in zip(edges, edges[1:])) + stream.flush()

    assert out == Redactor([secret.encode("utf-8", "replace").decode()]).text(raw.decode())


def test_bytes_that_are_no_text_are_replaced_not_fatal() -> None:
    stream = RedactedStream(Redactor(["x"]))
    assert stream.feed(b"a\xff\xe2\x82") + stream.flush() == "a\ufffd\ufffd"


def test_a_stream_holds_back_no_more_than_the_longest_secret() -> None:
    stream = RedactedStream(Redactor(["a" * 10]))
    out = "".join(stream.feed(b"a" * 1000) for _ in range(100))
    assert out == MARK
    assert len(stream._held) < 10


def test_text_without_a_beginning_of_a_secret_is_not_held_back() -> None:
    assert RedactedStream(Redactor(["s3cret"])).feed(b"progress 10%\r") == "progress 10%\r"


@pytest.mark.parametrize("secrets", [["RED"], ["[", "]"], ["s3cret", "[REDACTED]"]])
def test_redacting_twice_is_redacting_once(secrets: list[str]) -> None:
    redactor = Redactor(secrets)
    once = redactor.text("a s3cret RED thing")
    assert redactor.text(once) == once


@pytest.mark.parametrize(
    ("value", "redacted"),
    [
        ({"key-s3": [{"deep": ("x", "as3b")}]}, {f"key-{MARK}": [{"deep": ["x", f"a{MARK}b"]}]}),
        ({"pin": 1234, "other": 99}, {"pin": MARK, "other": 99}),
        ({"yes": True, "no": None}, {"yes": True, "no": None}),
        ([1.5, "s3"], [1.5, MARK]),
    ],
)
def test_values_are_redacted_however_deep(value: Any, redacted: Any) -> None:
    assert Redactor(["s3", "1234"]).value(value) == redacted


def test_the_wire_s_own_words_and_numbers_stay() -> None:
    redactor = Redactor(["stdout", "command", "structured_output", "7"])
    output = redactor.value(CommandOutputMessageInterface(stream="stdout", text="stdout", command="x7"))
    assert (output.message_type, output.stream, output.text) == ("command_output_message", "stdout", MARK)
    assert output.command == f"x{MARK}"
    item = CommandResultItem(command="a", exit_code=7, stdout="7")
    results = redactor.value(CommandExecutionResultMessageInterface(results=[item])).results
    assert (results[0].exit_code, results[0].stdout) == (7, MARK)
    data = StructuredOutputResult(structured_output={"7": 7})
    result = redactor.value(ResultMessageInterface(data=data, metadata={"m": "7"}))
    assert result.data == StructuredOutputResult(structured_output={MARK: MARK})
    assert result.metadata == {"m": MARK}


def test_empty_secrets_are_none_at_all() -> None:
    assert Redactor(["", ""]).text("as it was") == "as it was"
    assert RedactedStream(Redactor([""])).feed(b"as it was") == "as it was"


def test_more_secrets_leave_the_first_secret() -> None:
    assert Redactor(["a"]).including(["b"]).text("abc") == f"{MARK}{MARK}c"


# --- time and memory are linear in what came, whatever a peer that knows the secrets makes of it ---------------------


def letters_covered(text: str, secrets: list[str]) -> list[tuple[int, int]]:
    """The spans of ``text`` that secrets cover, found one by one and joined where they overlap."""
    spans: list[tuple[int, int]] = []
    found = sorted((at, at + len(s)) for s in secrets for at in range(len(text)) if text.startswith(s, at))
    for start, end in found:
        if spans and start < spans[-1][1]:
            spans[-1] = (spans[-1][0], max(spans[-1][1], end))
        else:
            spans.append((start, end))
    return spans


@given(st.text("ab", max_size=60), st.lists(st.text("ab", min_size=1, max_size=9), min_size=1, max_size=4))
@example("ab" * 20, ["abab", "ba"])
@example("aabaabaabaa", ["aabaa"])
def test_what_overlaps_is_one_mark_and_what_touches_is_two(text: str, secrets: list[str]) -> None:
    expected, at = "", 0
    for start, end in letters_covered(text, secrets):
        expected += text[at:start] + MARK
        at = end
    assert Redactor(secrets).text(text) == expected + text[at:]


SIZE = 256 * 1024
HOSTILE = [
    (["0000"], "0"),
    (["0"], "0"),
    (["0000"], "0000x"),
    (["0" * 1000], "0"),
    (["0" * 1000], "0" * 999 + "x"),
    (["abcabcab", "bcabc"], "abc"),
    (["s3cret"], "s3cret "),
    (["A"], "A"),
]


def measured(work: Callable[[], Any]) -> tuple[float, int]:
    """Seconds of processor time, and the most memory in bytes."""
    began = time.process_time()
    work()
    took = time.process_time() - began
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return took, peak


@pytest.mark.slow
@pytest.mark.parametrize(("secrets", "piece"), HOSTILE, ids=range(len(HOSTILE)))
def test_a_text_of_secrets_takes_time_and_memory_in_proportion(secrets: list[str], piece: str) -> None:
    text = piece * (SIZE // len(piece))
    took, peak = measured(lambda: Redactor(secrets).text(text))
    assert took < 10  # some 0.1 s at most; a comparison for each occurrence and each of its characters takes minutes
    # A mark for each character is 10 times as long, and is held twice while it is put together.
    assert peak < 24 * SIZE


@pytest.mark.slow
@pytest.mark.parametrize(("secrets", "piece"), HOSTILE, ids=range(len(HOSTILE)))
def test_so_does_a_stream_of_them(secrets: list[str], piece: str) -> None:
    raw = (piece * (SIZE // len(piece))).encode()

    def feed() -> None:
        stream = RedactedStream(Redactor(secrets))
        for at in range(0, len(raw), 8192):
            stream.feed(raw[at : at + 8192])
        stream.flush()

    took, peak = measured(feed)
    assert took < 10
    assert peak < 4 * SIZE


def test_many_long_secrets_that_begin_alike_are_no_burden() -> None:
    secrets = [f"-----BEGIN KEY-----\n{str(number) * 1200}\n-----END KEY-----" for number in range(10, 40)]
    took, _ = measured(lambda: Redactor(secrets).text(f"a {secrets[3]}{secrets[4]} b"))
    assert took < 10  # some 0.1 s


def test_a_secret_a_byte_at_a_time() -> None:
    stream = RedactedStream(Redactor(["0" * 2000 + "1", "01" * 900]))
    took, _ = measured(lambda: [stream.feed(b"0") for _ in range(20_000)])
    assert took < 10


# --- how deep a value is, a peer says --------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("depth", [600, 100_000])
def test_a_value_is_redacted_at_any_depth(depth: int) -> None:
    value: Any = "a s3cret"
    for level in range(depth):
        value = [value] if level % 2 else {"s3cret": value}
    redacted = Redactor(["s3cret"]).value(value)
    for level in reversed(range(depth)):
        redacted = redacted[0] if level % 2 else redacted[MARK]
    assert redacted == f"a {MARK}"


def test_a_value_that_holds_itself_is_refused_and_one_that_is_there_twice_is_not() -> None:
    value: dict[str, Any] = {"twice": [[1], [1]]}
    value["twice"] += [value["twice"][0]]
    assert Redactor(["s"]).value(value) == {"twice": [[1], [1], [1]]}
    value["itself"] = [{"deep": value}]
    with pytest.raises(ValueError, match="a container holds itself"):
        Redactor(["s"]).value(value)


def test_what_is_redacted_is_a_copy() -> None:
    value = {"a": ["s"], "b": [{}]}
    redacted = Redactor(["s"]).value(value)
    assert redacted == {"a": [MARK], "b": [{}]}
    assert value == {"a": ["s"], "b": [{}]}
    assert redacted["b"][0] is not value["b"][0]
