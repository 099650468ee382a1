"""What a reporter that shows variables finds in the traceback of an error about arguments."""

from __future__ import annotations

import inspect
from traceback import TracebackException, walk_tb
from typing import Any, NoReturn

import pytest

from runtimeuse_sync._common.tracebacks import hides_arguments, made_without_a_trace

SECRET = "zq9secretzq9"


def shown(error: BaseException) -> str:
    return "".join(TracebackException.from_exception(error, capture_locals=True).format())


def refuse(value: str, kind: type[Exception]) -> NoReturn:
    part = value[1:]
    raise kind("no", len(part))


@pytest.mark.parametrize("kind", [TypeError, ValueError, UnicodeError])
def test_no_frame_knows_the_arguments(kind: type[Exception]) -> None:
    with pytest.raises(kind) as caught:
        refuse(SECRET, kind)
    assert SECRET in shown(caught.value)
    with pytest.raises(kind) as caught:
        hides_arguments(refuse)(SECRET, kind=kind)
    assert caught.value.args == ("no", len(SECRET) - 1)
    assert SECRET not in shown(caught.value)


def test_what_is_hidden_by_from_none_is_let_go() -> None:
    @hides_arguments
    def read(value: str) -> int:
        try:
            return int(value)
        except ValueError:
            raise ValueError("no number") from None

    with pytest.raises(ValueError, match=r"^no number$") as caught:
        read(SECRET)
    assert caught.value.__context__ is None


def test_a_cause_that_is_to_be_shown_stays() -> None:
    cause = KeyError("cause")

    @hides_arguments
    def read() -> None:
        raise ValueError("no number") from cause

    with pytest.raises(ValueError, match=r"^no number$") as caught:
        read()
    assert caught.value.__cause__ is cause


def test_other_errors_keep_their_frames() -> None:
    with pytest.raises(RuntimeError) as caught:
        hides_arguments(refuse)("abc", RuntimeError)
    assert [frame.f_code.co_name for frame, _ in walk_tb(caught.value.__traceback__)][-1] == "refuse"


def test_no_error_no_problem() -> None:
    @hides_arguments
    def join(a: str, *, b: str = "b") -> str:
        """Joins."""
        return a + b

    assert join("a") == "ab"
    assert (join.__name__, join.__doc__, str(inspect.signature(join))) == (
        "join",
        "Joins.",
        "(a: 'str', *, b: 'str' = 'b') -> 'str'",
    )


def test_a_class_is_made_without_a_trace() -> None:
    @made_without_a_trace
    class Thing:
        def __init__(self, value: Any) -> None:
            self.value = int(value)

    assert Thing("5").value == 5
    assert str(inspect.signature(Thing)) == "(value: 'Any') -> 'None'"
    with pytest.raises(TypeError) as caught:
        Thing([SECRET])
    assert SECRET not in shown(caught.value)
