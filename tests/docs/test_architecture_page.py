"""The architecture page shows the code's own table, and names modules that are there."""

from __future__ import annotations

import re
from pathlib import Path

from runtimeuse_sync._protocol.exchange import _TRANSITIONS, Event, State

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.rst").read_text(encoding="utf-8")


def cell(state: State, event: Event) -> str:
    """What is done with an event in a state, and the state behind it if that is another."""
    if (state, event) not in _TRANSITIONS:
        return ""
    action, after = _TRANSITIONS[state, event]
    return action.name.lower() + ("" if after is state else f" → {after.name}")


def state_table() -> str:
    """The table of transitions as reStructuredText."""
    states = [state for state in State if any(known is state for known, _ in _TRANSITIONS)]
    rows = [["event", *(state.name for state in states)]]
    rows += [[event.name.lower(), *(cell(state, event) for state in states)] for event in Event]
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in rows:
        lines += [f"   {'* -' if not number else '  -'} {text}".rstrip() for number, text in enumerate(row)]
    return "\n".join(lines) + "\n"


def test_the_state_table_is_the_codes_own() -> None:
    assert state_table() in PAGE, f"docs/architecture.rst needs this table:\n\n{state_table()}"


def test_the_modules_that_it_names_are_there() -> None:
    rooms = re.search(r"\.\. list-table::.*?(?=\nImports go one way)", PAGE, re.DOTALL)
    assert rooms is not None
    for room, text in re.findall(r"\* - (``\w+/``|the root)\n     - (.*?)(?=\n   \* -|\Z)", rooms[0], re.DOTALL):
        folder = ROOT / "runtimeuse_sync" / ("" if room == "the root" else room.strip("`"))
        for name in re.findall(r"``([a-z_]+)``", text):
            assert (folder / f"{name}.py").exists(), f"{room} has no {name}"
