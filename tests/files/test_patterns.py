from __future__ import annotations

import time

import pytest

from runtimeuse_sync._files.patterns import Pattern


def matches(line: str, path: str) -> bool:
    return Pattern(line).matches(path.rstrip("/").split("/"), is_folder=path.endswith("/"))


@pytest.mark.parametrize(
    ("line", "yes", "no"),
    [
        ("a", ["a", "x/a", "a/"], ["ab", "a/b", "A"]),
        ("/a", ["a"], ["x/a"]),
        ("a/", ["a/", "x/a/"], ["a"]),
        ("x/a", ["x/a"], ["y/x/a"]),
        ("**/x/a", ["x/a", "y/z/x/a"], ["x/b/a"]),
        ("x/**", ["x/a", "x/b/a"], ["x", "x/"]),
        ("x/**/a", ["x/a", "x/y/a", "x/y/z/a"], ["a", "x/ab"]),
        ("*.py[co]", ["a.pyc", "x/.pyo"], ["a.py", "a.pycc"]),
        ("a?c", ["abc"], ["ac", "a/c"]),
        ("[!a-c]", ["d", "-"], ["b"]),
        ("[a\\-c]", ["a", "-", "c"], ["b"]),
        ("[]-]", ["]", "-"], ["a"]),
        ("\\*", ["*"], ["a"]),
        ("\\!a", ["!a"], ["a"]),
        ("a*b*c", ["abc", "axbxc", "abcabc"], ["acb", "ab"]),
        ("*a*", ["a", "bab"], ["b"]),
        ("a\\ ", ["a "], ["a"]),
        ("a  ", ["a"], ["a  "]),
        ("é*", ["été"], ["e"]),
        ("a.b", ["a.b"], ["axb"]),
    ],
)
def test_what_a_line_matches(line: str, yes: list[str], no: list[str]) -> None:
    assert [path for path in yes if not matches(line, path)] == []
    assert [path for path in no if matches(line, path)] == []


def test_an_exclamation_mark_keeps() -> None:
    assert (Pattern("a").ignores, Pattern("!a").ignores) == (True, False)
    assert matches("!a", "a")


@pytest.mark.parametrize("line", ["/", "!", "a\\", "[a", "a[\\]"])
def test_a_line_that_matches_nothing_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="matches nothing|nothing behind it"):
        Pattern(line)


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ("*a" * 30 + "*b", "a" * 255),
        ("*?a" * 30 + "*b", "a" * 255),
        ("*[ab]" * 30 + "*c", "ab" * 127),
        ("**/a/" * 30 + "b", "a/" * 1000 + "x"),
        ("**/*a*/" * 30 + "b", "aaa/" * 500 + "x"),
    ],
)
def test_no_line_takes_long(line: str, path: str) -> None:
    """As one regular expression, each of these would be tried for longer than the universe is old."""
    began = time.monotonic()
    assert not matches(line, path)
    assert time.monotonic() - began < 2
