"""Removal of control characters and escape sequences from a peer's text, before it is displayed or logged."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Optional

# A control character (C0 except tab and newline, DEL, C1), a line or paragraph separator, or a bidirectional control;
# for ESC, the whole escape sequence: CSI, a string such as a title, or another. A string that has no end is matched up
# to the end of its line.
_HARMFUL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]"
    r"(?:(?<=\x1b)(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b\x9c\n]*(?:[\x07\x9c]|\x1b\\)?|[ -/]*[0-~]))?"
)


def harmless(text: str, limit: Optional[int] = None, *, keep_lines: bool = False) -> str:
    r"""``text`` without characters that would control a terminal, or begin a new line in a log.

    It removes escape sequences, control characters, line and paragraph separators, and bidirectional controls. A
    newline or a tab becomes a space; with ``keep_lines`` both stay.

    Args:
        text (str): a text from a peer.
        limit (int or None): how many characters to process; the rest is replaced by "…". Default: all. With a
            limit, the cost does not grow with ``text``.
        keep_lines (bool): whether newlines and tabs stay. Default False.

    >>> harmless("Not\r\nFound \x1b[2J\x1b]0;title\x07\u202e!", 100)
    'Not Found !'
    >>> harmless("a\r\n\x1b[31mb\x1b[0m\n", keep_lines=True)
    'a\nb\n'
    >>> harmless("a long story", 6)
    'a long…'
    """
    is_cut = limit is not None and len(text) > limit
    clean = _HARMFUL.sub("", text[:limit])
    if not keep_lines:
        clean = clean.replace("\n", " ").replace("\t", " ")
    return f"{clean}…" if is_cut else clean


def quoted(text: str, lines: int = 10, characters: int = 2_000) -> str:
    r"""The last lines of a peer's output, to be appended to an error text: ``harmless``, each after a "|".

    So none of them can be taken for a line of a log.

    >>> "it said:" + quoted("Starting\n\x1b[31mno space left\n", lines=1)
    'it said:\n  | no space left'
    """
    shown = harmless(text[-characters:], keep_lines=True).rstrip().splitlines()[-lines:]
    return "".join(f"\n  | {line}" for line in shown)


def failure_of_commands(results: Sequence[Any], stderr: str) -> str:
    """An error text for the first of ``results`` that failed: its place, how it ended, and the end of its output.

    Not its text, which may hold a secret. The output is ``stderr``, or else what the result has of it.
    """
    for place, item in enumerate(results, 1):
        if item.exit_code != 0:
            shown = quoted(stderr or item.stdout or "")
            ending = f" (.results has all of it); its output ends:{shown}" if shown else ""
            return f"command {place} failed with {item.failure}{ending}"
    return "a command failed"
