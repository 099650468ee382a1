"""Results, commands and runs as HTML: what a notebook shows of a value that is the last in its cell.

What came from elsewhere is text and stays text: it is escaped, and what would steer a terminal or turn the direction
of writing is taken out. No colours: they are the notebook's, light or dark.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from .. import StructuredOutputResult, TextResult, harmless

# Characters of one text that are put into a notebook: it is a file, which is read as a whole.
_MOST = 100_000
# A text with more is folded.
_LINES_SHOWN = 20
_CHARACTERS_SHOWN = 2_000

# Half of a character, which no file can have.
_SURROGATE = re.compile("[\ud800-\udfff]")

_CELL = "text-align:left;vertical-align:top"
_PRE = "margin:0;white-space:pre-wrap;overflow-wrap:anywhere;text-align:left;background:none"


def table(title: str, rows: Mapping[str, Any]) -> str:
    """A table of what ``rows`` has. None and what is empty is left out.

    >>> table("Usage", {"turns": 2, "cost_usd": None})
    '<table><caption style="text-align:left">Usage</caption><tr><th style="text-align:left;vertical-align:top">turns\
</th><td style="text-align:left;vertical-align:top">2</td></tr></table>'
    """
    caption = f'<caption style="text-align:left">{escaped(title)}</caption>' if title else ""
    shown = (item for item in rows.items() if item[1] not in (None, [], {}))
    lines = (f'<tr><th style="{_CELL}">{escaped(n)}</th><td style="{_CELL}">{_cell(v)}</td></tr>' for n, v in shown)
    return f"<table>{caption}{''.join(lines)}</table>"


def of_fields(value: Any) -> str:
    """The table of a message, a result or a command: the fields that its ``repr`` shows, and no other.

    >>> "s3cret" in of_fields(CommandInterface("make", env={"TOKEN": "s3cret"}))
    False
    """
    return table(type(value).__name__, dict(_shown(value)))


def _shown(value: Any) -> Iterator[tuple[str, Any]]:
    for field in attrs.fields(type(value)):
        inner = getattr(value, field.name)
        if isinstance(inner, (TextResult, StructuredOutputResult)):
            yield from _shown(inner)
        elif field.repr:
            yield field.name, inner


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return text(value)
    if attrs.has(type(value)):
        return table("", dict(_shown(value)))
    if isinstance(value, list) and all(attrs.has(type(item)) for item in value):
        return "".join(map(_cell, value))
    if isinstance(value, (dict, list)):
        return text(json.dumps(value, indent=2, ensure_ascii=False, default=repr))
    return escaped(f"{value:g}" if isinstance(value, float) else str(value))


def text(words: str, *, font: str = "monospace", folds: bool = True) -> str:
    """Text as it is, folded if it is long, and cut if it is very long.

    >>> text("<b>\\x1b[31m")
    '<pre style="margin:0;white-space:pre-wrap;overflow-wrap:anywhere;text-align:left;background:none;\
font-family:monospace">&lt;b&gt;</pre>'
    """
    cut = len(words) - _MOST
    shown = f"{words[:_MOST]}\n… {cut} more characters" if cut > 0 else words
    block = f'<pre style="{_PRE};font-family:{font}">{escaped(shown)}</pre>'
    lines = shown.count("\n") + 1
    if not folds or (lines <= _LINES_SHOWN and len(shown) <= _CHARACTERS_SHOWN):
        return block
    return folded(f"{lines} lines, {len(words)} characters", block)


def folded(summary: str, block: str) -> str:
    """``block``, HTML, behind a line that opens it.

    >>> folded("2 lines", "<pre>…</pre>")
    '<details><summary>2 lines</summary><pre>…</pre></details>'
    """
    return f"<details><summary>{escaped(summary)}</summary>{block}</details>"


def escaped(words: str) -> str:
    """``words`` as HTML that shows them and does nothing.

    >>> escaped("a\\x1b[2J<script>")
    'a&lt;script&gt;'
    """
    return html.escape(clean(words))


def clean(words: str) -> str:
    """``words`` without what a terminal would obey.

    >>> clean("a\x1b[2Jb")
    'ab'
    """
    return _SURROGATE.sub("", harmless(words, keep_lines=True))
