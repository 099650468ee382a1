"""What a journal raises says where, and survives its way to another process."""

from __future__ import annotations

import pickle

import pytest

from runtimeuse_sync import RuntimeUseError
from runtimeuse_sync.journal import JournalError, ReplayError


@pytest.mark.parametrize(
    ("error", "said", "path", "line"),
    [
        (JournalError("closed"), "closed", None, None),
        (JournalError("not JSON", path="j", line=7), "j, line 7: not JSON", "j", 7),
        (ReplayError("a:\n- 1", path="j", line=1), "j, line 1: a:\n- 1", "j", 1),
    ],
)
def test_what_it_says_and_holds(error: JournalError, said: str, path: object, line: object) -> None:
    for one in (error, pickle.loads(pickle.dumps(error))):
        assert (type(one), str(one), one.path, one.line) == (type(error), said, path, line)


def test_the_tree() -> None:
    assert JournalError.__bases__ == (RuntimeUseError,)
    assert ReplayError.__bases__ == (JournalError, AssertionError)
