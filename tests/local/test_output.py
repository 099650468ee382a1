from __future__ import annotations

import pytest

from runtimeuse_sync.local._processes import output as _output
from runtimeuse_sync.local._processes.output import Collected


def test_what_is_collected_is_bounded_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_output, "MOST_COLLECTED", 10)
    collected = Collected()
    collected.add("12345")
    collected.add("67890")
    assert (collected.text, collected.is_cut) == ("1234567890", False)
    collected.add("x")
    collected.add("y")
    assert (collected.text, collected.is_cut) == ("1234567890", True)


@pytest.mark.parametrize(("pieces", "is_blank"), [([], True), ([" ", "\t\n"], True), ([" ", "x"], False)])
def test_whether_there_is_anything_but_space(pieces: list[str], is_blank: bool) -> None:
    collected = Collected()
    for piece in pieces:
        collected.add(piece)
    assert collected.is_blank is is_blank
