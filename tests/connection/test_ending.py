"""Why a connection ends, by when, and with which code it is closed."""

from __future__ import annotations

import pytest

from runtimeuse_sync._common.deadline import Deadline
from runtimeuse_sync._connection import ending as _ending
from runtimeuse_sync._connection.ending import Ending
from runtimeuse_sync._connection.inbox import Inbox
from runtimeuse_sync.exceptions import ConnectionLostError, ProtocolError


@pytest.fixture
def inbox() -> Inbox:
    return Inbox(100, lambda: None)


@pytest.fixture
def ending(inbox: Inbox) -> Ending:
    return Ending(inbox)


def test_a_connection_in_use_does_not_leave(ending: Ending) -> None:
    assert not ending.is_leaving
    ending.listen()
    assert not ending.is_leaving


def test_the_first_reason_counts_and_the_caller_hears_of_it(ending: Ending, inbox: Inbox) -> None:
    ending.lose("first")
    ending.lose("second")
    assert ending.is_leaving
    with pytest.raises(ConnectionLostError, match="first"):
        inbox.get(0.0)


def test_a_reason_keeps_its_cause_and_no_frames(ending: Ending) -> None:
    try:
        raise OSError("reset")
    except OSError as error:
        ending.lose("reset", error)
    assert ending.error is not None
    assert isinstance(ending.error.__cause__, OSError)
    assert ending.error.__cause__.__traceback__ is None


def test_the_peer_has_a_second_for_its_goodbye(ending: Ending, monkeypatch: pytest.MonkeyPatch) -> None:
    ending.complete()
    assert 0.0 < ending.remaining() <= _ending.LINGER == 1.0
    assert not ending.is_over(has_said_all=True)
    monkeypatch.setattr(_ending, "LINGER", 0.0)
    ending.lose("reset")
    assert ending.is_over(has_said_all=False)


def test_the_callers_limit_holds_if_it_is_shorter(ending: Ending) -> None:
    ending.complete()
    ending.close_by = Deadline(0.0)
    assert (ending.remaining(), ending.is_over(has_said_all=False)) == (0.0, True)


def test_both_goodbyes_end_it_at_once(ending: Ending) -> None:
    ending.close_by = Deadline(60.0)
    ending.peer_closed = True
    assert not ending.is_over(has_said_all=False)
    assert ending.is_over(has_said_all=True)


def test_what_is_given_up_ends_at_once(ending: Ending) -> None:
    ending.give_up("dead")
    assert ending.is_over(has_said_all=False)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ProtocolError("bad", close_code=1007), 1007),
        (ConnectionLostError(code=1012), 1012),
        (ConnectionLostError(code=1005), 1005),
        (ConnectionLostError(code=1006), 1000),
    ],
)
def test_it_closes_with_the_code_of_its_reason(ending: Ending, error: ProtocolError, code: int) -> None:
    assert ending.close_code() == 1000
    ending.finish(error)
    assert ending.close_code() == code
