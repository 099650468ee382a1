"""The tree of exceptions, and that each of them survives a pickle, a copy and a process boundary unchanged."""

from __future__ import annotations

import copy
import importlib
import inspect
import io
import json
import pickle
import subprocess
import sys
import traceback
from typing import Any

import attrs
import pytest

from runtimeuse_sync import exceptions as e
from runtimeuse_sync import messages as m
from runtimeuse_sync._protocol.nesting import MAX_DEPTH
from runtimeuse_sync.usage import Usage

RESULT = m.ResultMessageInterface(data=m.TextResult(text="done"), metadata={"cost": 1})
FAILED = [m.CommandResultItem(command="a", exit_code=0), m.CommandResultItem(command="b", exit_code=3, stdout="no")]

# Each class: some of it, what they say, and what they hold beside that.
SPECIMENS: list[tuple[e.RuntimeUseError, str, dict[str, Any]]] = [
    (e.RuntimeUseError("this session is closed"), "this session is closed", {}),
    (e.RuntimeUseError(), "", {}),
    (e.AgentRuntimeError("boom"), "boom", {"error": "boom", "metadata": None, "result": None}),
    (
        e.AgentRuntimeError("boom", {"tool": "grep"}, RESULT),
        "boom",
        {"error": "boom", "metadata": {"tool": "grep"}, "result": RESULT},
    ),
    (
        e.CommandFailedError(results=FAILED),
        "command 2 failed with exit code 3 (.results has all of it); its output ends:\n  | no",
        {"results": FAILED},
    ),
    (e.CancelledException(), "the call was cancelled", {}),
    (e.CancelledException("by hand"), "by hand", {}),
    (e.InvocationTimeoutError(timeout=30), "no result within the timeout of 30 s", {"timeout": 30}),
    (e.InvocationTimeoutError(timeout=0.25), "no result within the timeout of 0.25 s", {"timeout": 0.25}),
    (e.IdleTimeoutError(timeout=5), "nothing came from the runtime for 5 s (idle_timeout)", {"timeout": 5}),
    (e.ConnectionFailedError("refused"), "refused", {"status": None, "reason": None, "retry_after": None}),
    (
        e.ConnectionFailedError("HTTP 502", status=502, reason="Bad Gateway", retry_after=5.0),
        "HTTP 502",
        {"status": 502, "reason": "Bad Gateway", "retry_after": 5.0},
    ),
    (
        e.ConnectionLostError(),
        "connection lost before the result: the runtime closed it (code 1006)",
        {"code": 1006, "reason": ""},
    ),
    (
        e.ConnectionLostError(code=1011, reason="out of memory"),
        "connection lost before the result: the runtime ran into an error of its own: out of memory (code 1011)",
        {"code": 1011, "reason": "out of memory"},
    ),
    (
        e.OutputValidationError(message="Expected `int`", path="$.files", result=RESULT, detail="not 3"),
        "the answer does not fit output_type: Expected `int` at $.files",
        {"message": "Expected `int`", "path": "$.files", "result": RESULT, "detail": "not 3"},
    ),
    (e.ProtocolError("a masked frame"), "a masked frame", {"close_code": 1002}),
    (e.ProtocolError("not JSON", close_code=1007), "not JSON", {"close_code": 1007}),
    (
        e.MessageTooLargeError(size=11, limit=10),
        "a message of 11 bytes is over max_message_size (10 bytes)",
        {"close_code": 1009, "size": 11, "limit": 10},
    ),
]
each = pytest.mark.parametrize(
    ("error", "said", "held"), SPECIMENS, ids=[f"{type(row[0]).__name__}-{i}" for i, row in enumerate(SPECIMENS)]
)

ALL = [cls for _, cls in inspect.getmembers(e, inspect.isclass) if issubclass(cls, BaseException)]


def test_every_class_has_a_specimen_of_its_own() -> None:
    assert {type(error) for error, _, _ in SPECIMENS} == set(ALL)


# --- the tree -----------------------------------------------------------------------------------------------


def test_this_is_the_tree() -> None:
    assert {cls.__name__: tuple(base.__name__ for base in cls.__bases__) for cls in ALL} == {
        "RuntimeUseError": ("Exception",),
        "AgentRuntimeError": ("RuntimeUseError",),
        "CommandFailedError": ("AgentRuntimeError",),
        "CancelledException": ("RuntimeUseError",),
        "InvocationTimeoutError": ("RuntimeUseError", "TimeoutError"),
        "IdleTimeoutError": ("InvocationTimeoutError",),
        "ConnectionFailedError": ("RuntimeUseError", "ConnectionError"),
        "ConnectionLostError": ("RuntimeUseError", "ConnectionError"),
        "OutputValidationError": ("RuntimeUseError",),
        "ProtocolError": ("RuntimeUseError",),
        "MessageTooLargeError": ("ProtocolError",),
    }


def test_the_tree_is_drawn_in_the_docstring() -> None:
    assert e.__doc__ is not None
    for cls in ALL:
        assert cls.__name__ in e.__doc__


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (e.InvocationTimeoutError(timeout=1), TimeoutError),
        (e.IdleTimeoutError(timeout=1), TimeoutError),
        (e.ConnectionFailedError("refused"), ConnectionError),
        (e.ConnectionLostError(), ConnectionError),
    ],
)
def test_who_knows_only_the_standard_library_s_can_catch_them(error: Exception, builtin: type[OSError]) -> None:
    assert isinstance(error, builtin)
    assert isinstance(error, OSError)
    assert (error.errno, error.strerror, error.filename) == (None, None, None)


@pytest.mark.parametrize("cls", [e.AgentRuntimeError, e.CancelledException, e.ProtocolError])
def test_the_others_are_no_system_s_errors(cls: type) -> None:
    assert not issubclass(cls, (OSError, ValueError, RuntimeError))


# --- what they say and hold -----------------------------------------------------------------------------------


@each
def test_what_an_error_says(error: e.RuntimeUseError, said: str, held: dict[str, Any]) -> None:
    assert str(error) == said
    assert repr(error).startswith(type(error).__name__)


def is_plain(value: Any) -> bool:
    """Whether it is data, all the way down."""
    if attrs.has(type(value)):
        value = attrs.asdict(value)
    if isinstance(value, dict):
        return all(is_plain(item) for pair in value.items() for item in pair)
    if isinstance(value, list):
        return all(map(is_plain, value))
    return value is None or type(value) in (str, int, float, bool)


@each
def test_what_an_error_holds_is_plain_data(error: e.RuntimeUseError, said: str, held: dict[str, Any]) -> None:
    expected = {**held, "error": said, "metadata": None, "result": None} if "results" in held else held
    state = {name: value for name, value in error.__dict__.items() if name in expected}
    assert state == {name: value for name, value in expected.items() if name in state}
    for name, value in held.items():
        assert getattr(error, name) == value
    assert set(error.__dict__) <= set(expected)
    assert is_plain(error.__dict__)


def test_a_failed_command_is_told_by_its_place_and_not_by_its_text() -> None:
    results = [
        m.CommandResultItem(command="export TOKEN=s3cret", exit_code=-9),
        m.CommandResultItem(command="true", exit_code=0),
    ]
    error = e.CommandFailedError(results=results)
    assert str(error) == "command 1 failed with exit code -9"
    assert "s3cret" not in repr(error)
    assert error.results == results
    assert error.results is not results


HOSTILE = "no\x1b]0;title\x07 \x1b[2Jway\r\n2026-01-01 INFO all is well\u2028\u202e"


@pytest.mark.parametrize(
    "error",
    [
        e.AgentRuntimeError(HOSTILE),
        e.ConnectionLostError(code=1011, reason=HOSTILE),
        e.ConnectionFailedError(HOSTILE, status=502, reason=HOSTILE),
        e.ProtocolError(HOSTILE),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_peer_s_words_neither_forge_a_line_nor_steer_a_terminal(error: Exception) -> None:
    said = str(error)
    assert "no way 2026-01-01 INFO all is well" in said
    assert said.isprintable()
    assert str(pickle.loads(pickle.dumps(error))) == said


def test_the_attributes_have_them_as_they_came() -> None:
    assert e.AgentRuntimeError(HOSTILE).error == HOSTILE
    assert e.ConnectionLostError(reason=HOSTILE).reason == HOSTILE


def test_a_long_error_is_cut_in_the_message_alone() -> None:
    error = e.AgentRuntimeError("x" * 1_000_000)
    assert str(error) == "x" * 10_000 + "…"
    assert len(error.error) == 1_000_000


def test_the_end_of_a_failed_command_s_output_is_shown_line_by_line() -> None:
    output = "".join(f"line {n}\n" for n in range(1000)) + HOSTILE + "\n\n"
    said = str(e.CommandFailedError(results=[m.CommandResultItem(command="a", exit_code=2, stdout=output)]))
    assert said.startswith(
        "command 1 failed with exit code 2 (.results has all of it); its output ends:\n  | line 992\n"
    )
    assert said.endswith("\n  | line 999\n  | no way\n  | 2026-01-01 INFO all is well")
    assert all(line.isprintable() for line in said.splitlines())


def test_what_went_to_stderr_is_shown_where_it_is_known() -> None:
    results = [m.CommandResultItem(command="a", exit_code=2, stdout="working")]
    assert str(e.CommandFailedError(results=results, stderr="no space\n")).endswith("; its output ends:\n  | no space")


def test_little_is_shown_of_much_output() -> None:
    for piece in ("x", "x\n", "\n", "\x1b[31m"):
        results = [m.CommandResultItem(command="a", exit_code=-1, stdout=piece * 1_000_000)]
        said = str(e.CommandFailedError(results=results))
        assert len(said) < 3_000
        assert "prints more than 1 MiB on stdout or stderr; let it write to a file, or print less" in said


def test_what_a_failed_run_took() -> None:
    assert e.AgentRuntimeError("e", {"num_turns": 3}).usage == Usage(turns=3)
    assert e.CommandFailedError(results=FAILED).usage == Usage()


def test_metadata_as_deep_as_a_peer_can_send_it_is_no_burden() -> None:
    deep: Any = "end"
    for _ in range(MAX_DEPTH):
        deep = {"a": deep}
    error = e.AgentRuntimeError("boom", deep)
    assert pickle.loads(pickle.dumps(error)).metadata == copy.deepcopy(error).metadata == deep
    assert repr(error.metadata).count("a") == MAX_DEPTH


# --- there and back -------------------------------------------------------------------------------------------


def assert_the_same(again: BaseException, error: BaseException) -> None:
    assert type(again) is type(error)
    assert again is not error
    assert str(again) == str(error)
    assert repr(again) == repr(error)
    assert again.args == error.args
    assert again.__dict__ == error.__dict__


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@each
def test_an_error_pickles(error: e.RuntimeUseError, said: str, held: dict[str, Any], protocol: int) -> None:
    assert_the_same(pickle.loads(pickle.dumps(error, protocol)), error)


@each
def test_an_error_pickles_again_and_again(error: e.RuntimeUseError, said: str, held: dict[str, Any]) -> None:
    again: Any = error
    for _ in range(3):
        again = pickle.loads(pickle.dumps(again))
    assert_the_same(again, error)


@each
def test_an_error_copies(error: e.RuntimeUseError, said: str, held: dict[str, Any]) -> None:
    assert_the_same(copy.copy(error), error)
    assert_the_same(copy.deepcopy(error), error)


def test_a_deep_copy_shares_nothing_and_a_copy_its_values() -> None:
    error = e.AgentRuntimeError("boom", {"tools": ["grep"]}, RESULT)
    assert copy.copy(error).metadata is error.metadata
    deep = copy.deepcopy(error)
    assert deep.metadata == error.metadata
    assert deep.metadata is not error.metadata
    assert deep.result is not error.result


def test_a_copy_has_attributes_of_its_own() -> None:
    error = e.ConnectionLostError(code=1011, reason="why")
    copied = copy.copy(error)
    copied.code = 1000
    assert error.code == 1011


def test_what_was_added_to_an_error_travels_with_it() -> None:
    error = e.IdleTimeoutError(timeout=5)
    error.task_id = "42"  # type: ignore[attr-defined]
    error.__dict__["__notes__"] = ["while summing up"]
    assert_the_same(pickle.loads(pickle.dumps(error)), error)


class CustomError(e.AgentRuntimeError):
    """A user's own, with an ``__init__`` that takes something else."""

    def __init__(self, number: int) -> None:
        super().__init__(f"number {number}", {"number": number})
        self.number = number


def test_a_user_s_own_travels_too() -> None:
    again = pickle.loads(pickle.dumps(CustomError(7)))
    assert_the_same(again, CustomError(7))
    assert again.number == 7


def test_a_pickle_holds_neither_cause_nor_traceback() -> None:
    try:
        raise e.ConnectionFailedError("refused") from ConnectionRefusedError(111, "s3cret")
    except e.ConnectionFailedError as error:
        pickled = pickle.dumps(error)
    assert b"s3cret" not in pickled
    again = pickle.loads(pickled)
    assert (again.__cause__, again.__traceback__) == (None, None)


ANOTHER_PROCESS = """
import pickle, sys
for error in pickle.load(sys.stdin.buffer):
    try:
        raise error
    except Exception as caught:
        sys.stdout.buffer.write(pickle.dumps(caught))
"""


def test_errors_cross_a_process_boundary() -> None:
    errors = [error for error, _, _ in SPECIMENS]
    command = [sys.executable, "-c", ANOTHER_PROCESS]
    child = subprocess.run(command, input=pickle.dumps(errors), stdout=subprocess.PIPE, check=True, timeout=50)
    stream = io.BytesIO(child.stdout)
    for error in errors:
        assert_the_same(pickle.load(stream), error)
    assert stream.read() == b""


@each
def test_an_error_survives_celery_s_way_by_json(error: e.RuntimeUseError, said: str, held: dict[str, Any]) -> None:
    """Celery stores module, class and ``args``, and calls the class with them."""
    cls = getattr(importlib.import_module(type(error).__module__), type(error).__name__)
    if cls is e.CommandFailedError:
        return  # its results are no JSON: Celery makes an Exception of it that quotes the text
    again = cls(*json.loads(json.dumps(error.args)))
    assert type(again) is type(error)
    assert str(again) == said


@each
def test_an_error_can_be_raised_from_another(error: e.RuntimeUseError, said: str, held: dict[str, Any]) -> None:
    fresh = copy.copy(error)
    with pytest.raises(type(error)) as caught:
        raise fresh from KeyError("cause")
    assert isinstance(caught.value.__cause__, KeyError)
    lines = traceback.format_exception_only(type(fresh), fresh)
    assert lines[-1].startswith(f"runtimeuse_sync.exceptions.{type(error).__name__}")
