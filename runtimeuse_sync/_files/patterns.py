"""One line of gitignore's rules, matched in a time that no line and no name can drive up.

A regular expression for a whole line, as others make it, tries every place for every star: one line of six stars holds
the process up for minutes. Here, segments are matched one by one, and a star never gives back what it took.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Callable, Optional

Segment = Callable[[str], object]

# The segment "**": any number of folders.
_FOLDERS: Segment = bool

_TOKEN = re.compile(
    r"\\(?P<escaped>.)|(?P<stars>\*+)|(?P<any>\?)|(?P<class>\[[!^]?\]?(?:\\.|[^\]\\])*\])|(?P<plain>.)", re.S
)
_ITEM = re.compile(r"\\?(?P<first>.)(?:-\\?(?P<last>[^\]]))?", re.S)
_SPECIAL = re.compile(r"[\\*?\[]")


class Pattern:
    """One line that is neither blank nor a comment.

    Attributes:
        ignores (bool): whether what it matches is ignored; False for a line that begins with ``!``.

    Raises:
        ValueError: for a line that matches nothing.

    >>> Pattern("*.log").matches(["sub", "a.log"], is_folder=False)
    True
    """

    def __init__(self, line: str) -> None:
        self.ignores = not line.startswith("!")
        body = _without_trailing_spaces(line)[not self.ignores :]
        self._is_for_folders = body.endswith("/")
        names = (body[:-1] if self._is_for_folders else body).split("/")
        if names == [""]:
            raise ValueError("the line matches nothing")
        # Without a slash in it, it matches at any depth.
        self._segments = [_segment(name) for name in (names[1:] if not names[0] else names)]
        if len(names) == 1:
            self._segments.insert(0, _FOLDERS)
        if self._segments[-1] is _FOLDERS:
            # All that is inside, but not the folder itself.
            self._segments.append(_compiled("*"))

    def matches(self, path: Sequence[str], *, is_folder: bool) -> bool:
        """Whether it speaks of ``path``, given in its segments: not of a folder above it."""
        return (is_folder or not self._is_for_folders) and _all_match(self._segments, path)


def _without_trailing_spaces(line: str) -> str:
    bare = line.rstrip(" ")
    is_escaped = (len(bare) - len(bare.rstrip("\\"))) % 2 and bare != line
    return bare + " " if is_escaped else bare


def _all_match(segments: Sequence[Segment], path: Sequence[str]) -> bool:
    """Goes back to the last ``**`` alone: what an earlier one would take instead, the last one can take as well."""
    at, last, resume = 0, -1, 0
    position = 0
    while position < len(path):
        segment: Optional[Segment] = segments[at] if at < len(segments) else None
        if segment is _FOLDERS:
            last, resume = at, position
            at += 1
        elif segment is not None and segment(path[position]):
            at, position = at + 1, position + 1
        elif last >= 0:
            resume += 1
            at, position = last + 1, resume
        else:
            return False
    return all(segment is _FOLDERS for segment in segments[at:])


def _segment(text: str) -> Segment:
    if len(text) > 1 and not text.strip("*"):
        return _FOLDERS
    if not _SPECIAL.search(text):
        return text.__eq__
    return _compiled(text)


def _compiled(text: str) -> Segment:
    """Raises ``ValueError`` or ``re.error`` for what cannot match."""
    parts = [""]
    for token in _tokens(text):
        if token["stars"]:
            parts.append("")
        else:
            parts[-1] += _expression(token)
    return re.compile(_without_backtracking(parts), re.S).fullmatch


def _tokens(text: str) -> list[re.Match[str]]:
    tokens = list(_TOKEN.finditer(text))
    if any(token["plain"] in ("\\", "[") for token in tokens):
        raise ValueError("a backslash with nothing behind it, or a bracket that is not closed")
    return tokens


def _expression(token: re.Match[str]) -> str:
    if token["any"]:
        return "."
    if token["class"]:
        return _class(token["class"][1:-1])
    return re.escape(token["escaped"] or token["plain"])


def _class(content: str) -> str:
    negation = "^" if content[0] in "!^" else ""
    items = [
        re.escape(item["first"]) + (f"-{re.escape(item['last'])}" if item["last"] else "")
        for item in _ITEM.finditer(content[len(negation) :])
    ]
    return f"[{negation}{''.join(items)}]"


def _without_backtracking(parts: Sequence[str]) -> str:
    """The expressions between stars as one, in which each star takes as little as it can, and keeps to that.

    A lookahead that has matched is not tried again: the atomic group of Pythons before 3.11.
    """
    first, *between = parts
    if not between:
        return first
    *middle, last = between
    taken = "".join(f"(?=(?P<s{n}>.*?{part}))(?P=s{n})" for n, part in enumerate(middle) if part)
    return f"{first}{taken}.*{last}"
