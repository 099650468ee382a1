from __future__ import annotations

from typing import Any

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
