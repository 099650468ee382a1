"""What a peer says, shown to people: nothing in it is obeyed, and nothing of what can be read is lost."""

from __future__ import annotations

import time
import unicodedata

import pytest

from runtimeuse_sync._common.words import harmless

ESC = "\x1b"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("Not Found", "Not Found"),
        ("nicht verfügbar, 不可用, 🙂", "nicht verfügbar, 不可用, 🙂"),
        (f"{ESC}[2J{ESC}[1;31mred{ESC}[0m", "red"),
        (f"{ESC}[?25l{ESC}[38:2::1:2:3mcolour", "colour"),
        (f"a{ESC}]0;title\x07b", "ab"),
        (f"a{ESC}]0;title{ESC}\\b", "ab"),
        (f"a{ESC}]0;title\x9cb", "ab"),
        (f"a{ESC}Pdevice control{ESC}\\b", "ab"),
        (f"a{ESC}]8;;http://evil{ESC}\\link{ESC}]8;;{ESC}\\b", "alinkb"),
        (f"a{ESC}]0;no end\nb", "a b"),
        (f"a{ESC}(0b{ESC}cc", "abc"),
        (f"a{ESC}", "a"),
        (f"a{ESC}{ESC}[Ab", "ab"),
        (f"a{ESC}[12", "a12"),
        ("a\x9b31mb", "a31mb"),
        ("a\rb", "ab"),
        ("a\r\nb\nc\td", "a b c d"),
        ("a\u2028b\u2029c", "abc"),
        ("a\u202eb\u202cc\u2066d\u2069e", "abcde"),
        ("a\x00\x07\x08\x0b\x0c\x7f\x80\x85\x9fb", "ab"),
    ],
)
def test_what_would_be_obeyed_is_taken_out(text: str, shown: str) -> None:
    assert harmless(text) == shown


def test_lines_stay_where_they_are_wanted() -> None:
    assert harmless("a\r\nb\n\tc\rd\u2028e", keep_lines=True) == "a\nb\n\tcde"


@pytest.mark.parametrize("keep_lines", [False, True])
def test_no_control_character_and_no_line_break_is_left(keep_lines: bool) -> None:
    everything = "".join(map(chr, range(0x3000)))
    left = harmless(everything, keep_lines=keep_lines)
    assert {c for c in left if unicodedata.category(c) in ("Cc", "Zl", "Zp")} == (set("\t\n") if keep_lines else set())
    assert not {c for c in left if unicodedata.bidirectional(c) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "PDI")}
    if not keep_lines:
        assert len(left.splitlines()) == 1


def test_a_limit_cuts_and_says_so() -> None:
    assert harmless("abc", 3) == "abc"
    assert harmless("abcd", 3) == "abc…"
    assert harmless(f"ab{ESC}[2Jcd", 3) == "ab…"


HOSTILE = ["a", "\x00", ESC, f"{ESC}[", f"{ESC}[0;0;", f"{ESC}]a", f"{ESC}(((", "\n", f"{ESC}P\n"]


@pytest.mark.slow
@pytest.mark.parametrize("part", HOSTILE)
def test_time_is_linear_in_what_came(part: str) -> None:
    """A quadratic one would take hours for this."""
    began = time.process_time()
    harmless(part * (2_000_000 // len(part)))
    harmless(ESC + part * (2_000_000 // len(part)))
    assert time.process_time() - began < 20


def test_with_a_limit_the_rest_costs_nothing() -> None:
    text = f"{ESC}[" * 20_000_000
    began = time.process_time()
    harmless(text, 100)
    assert time.process_time() - began < 1
