"""What a close code says in words."""

from __future__ import annotations

import pytest

from runtimeuse_sync._common.close_codes import explain

MEANINGS = {
    1001: "going away",
    1002: "broke the WebSocket protocol",
    1003: "does not take messages of this kind",
    1007: "could not read a message as text",
    1008: "a rule of the runtime or of a gateway forbids it",
    1009: "the message was larger than the runtime takes",
    1010: "extension",
    1011: "an error of its own",
    1012: "restarts",
    1013: "try again later",
    1014: "a gateway got no valid answer",
    3000: "not authorised",
    3003: "forbidden",
    3008: "a time limit",
}


@pytest.mark.parametrize("code", MEANINGS)
def test_a_code_that_has_a_meaning_says_it(code: int) -> None:
    assert MEANINGS[code] in explain(code)
    assert explain(code).endswith(f" (code {code})")


@pytest.mark.parametrize("code", [1000, 1005, 4000, 4999])
def test_one_that_has_none_says_that_it_is_closed(code: int) -> None:
    assert explain(code) == f"the runtime closed it (code {code})"
    assert explain(code, "bye") == f"bye (code {code})"


def test_the_peers_words_come_behind_the_meaning() -> None:
    assert explain(1012, "deploying") == "the runtime restarts: deploying (code 1012)"


def test_what_was_too_large_has_a_size() -> None:
    assert "(123 bytes were sent)" in explain(1009, largest_sent=123)
    assert "bytes were sent" not in explain(1009) + explain(1008, largest_sent=123)
