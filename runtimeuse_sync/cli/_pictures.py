"""A timeline as lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ._timeline import Timeline

# A bar; and levels, from few to many. In characters that every encoding has, and in better ones.
_PLAIN, _PLAIN_LEVELS = "=", ".:-=+*#@"
_FULL, _LEVELS = "━", "▁▂▃▄▅▆▇█"

#: Columns that stand before a bar.
BEFORE = 38


def bars(line: Timeline, *, plain: bool) -> Iterator[str]:
    """A line for each part, with a bar where it was; and one that shows how many messages came when."""
    full = _PLAIN if plain else _FULL
    for part in line.parts:
        bar = "".join(full if cell in part.cells else " " for cell in range(len(line.counts)))
        yield f"   {part.name:<22}{part.seconds:>9,.2f} s  {bar}".rstrip()
    levels = _levels(line.counts, _PLAIN_LEVELS if plain else _LEVELS)
    yield f"   {'messages':<22}{sum(line.counts):>9,}    {levels}".rstrip()


def _levels(counts: Sequence[int], levels: str) -> str:
    most = max(counts)
    return "".join(levels[(count * len(levels) - 1) // most] if count else " " for count in counts)


def can_draw(encoding: str) -> bool:
    """Whether the better characters can be written so."""
    try:
        return bool((_FULL + _LEVELS).encode(encoding))
    except UnicodeEncodeError:
        return False
