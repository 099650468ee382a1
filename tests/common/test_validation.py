"""What arguments have to be, and what is said of those that cannot be meant."""

from __future__ import annotations

import functools
import threading
from decimal import Decimal
from fractions import Fraction
from typing import Any

import attrs
import pytest

from runtimeuse_sync._common.validation import (
    check_artifacts,
    check_callable,
    check_is_cancelled,
    check_optional_list_of,
    check_output_schema,
    check_port,
    check_seconds,
    check_secrets,
    check_size,
    checked_by,
    strings,
)


def nothing(*args: Any) -> None:
    """A callback."""


async def coroutine(*args: Any) -> None:
    """What must not be one."""


# --- seconds ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, 1, 0.001, 1e308, 300])
def test_a_duration_is_a_positive_number_or_none(value: Any) -> None:
    check_seconds("timeout", value)


@pytest.mark.parametrize("value", [0, -1, 0.0, -0.0, -0.5, float("nan"), float("inf"), float("-inf")])
def test_a_duration_that_cannot_be_meant(value: Any) -> None:
    with pytest.raises(ValueError, match="timeout") as caught:
        check_seconds("timeout", value)
    assert str(caught.value) == f"timeout must be a positive number of seconds, or None for no limit; got {value}"


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (True, "bool"),
        (False, "bool"),
        ("5", "str"),
        ([5], "list"),
        (5j, "complex"),
        (Decimal(5), "Decimal"),
        (Fraction(5), "Fraction"),
    ],
)
def test_what_is_no_number_is_no_duration(value: Any, kind: str) -> None:
    with pytest.raises(TypeError) as caught:
        check_seconds("idle_timeout", value)
    assert str(caught.value) == (
        f"idle_timeout must be a positive number of seconds, or None for no limit; got a {kind}"
    )


def test_none_may_mean_something_else() -> None:
    check_seconds("ping_interval", None, none_means="no pings")
    with pytest.raises(ValueError, match=r"or None for no pings; got 0$"):
        check_seconds("ping_interval", 0, none_means="no pings")


def test_none_may_be_no_duration_either() -> None:
    with pytest.raises(TypeError, match=r"^x must be a positive number of seconds; got None$"):
        check_seconds("x", None, none_means=None)
    with pytest.raises(ValueError, match=r"^x must be a positive number of seconds; got 0$"):
        check_seconds("x", 0, none_means=None)


def test_a_number_beyond_all_clocks_is_no_duration() -> None:
    with pytest.raises(ValueError, match=r"got 10{29}$"):
        check_seconds("timeout", 10**400)


# --- sizes and ports --------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, 1, 2**80])
def test_a_size_is_a_positive_whole_number_or_none(value: Any) -> None:
    check_size("max_file_size", value)


@pytest.mark.parametrize("value", [0, -1])
def test_a_size_that_cannot_be_meant(value: int) -> None:
    wanted = "^max_file_size must be a positive whole number of bytes"
    with pytest.raises(ValueError, match=f"{wanted}, or None for no limit; got {value}$"):
        check_size("max_file_size", value)
    with pytest.raises(ValueError, match=f"{wanted}; got {value}$"):
        check_size("max_file_size", value, none_means=None)


@pytest.mark.parametrize(("value", "kind"), [(True, "a bool"), (1.0, "a float"), ("1", "a str")])
def test_what_is_no_whole_number_is_no_size(value: Any, kind: str) -> None:
    with pytest.raises(TypeError, match=f"got {kind}$"):
        check_size("max_file_size", value)


def test_none_may_be_no_size_either() -> None:
    with pytest.raises(TypeError, match=r"^x must be a positive whole number of bytes; got None$"):
        check_size("x", None, none_means=None)


@pytest.mark.parametrize("value", [0, 8080, 65535])
def test_a_port(value: int) -> None:
    check_port(value)


@pytest.mark.parametrize("value", [-1, 65536])
def test_what_is_no_port(value: int) -> None:
    with pytest.raises(ValueError, match=f"^port must be a whole number from 0 to 65535; got {value}$"):
        check_port(value)


# --- callbacks --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, nothing, print, lambda: None, [].append, functools.partial(nothing), int])
def test_a_callback_can_be_called(value: Any) -> None:
    check_callable("on_x", value)


@pytest.mark.parametrize(("value", "kind"), [("name", "str"), (True, "bool"), ([], "list")])
def test_what_cannot_be_called_is_no_callback(value: Any, kind: str) -> None:
    with pytest.raises(TypeError) as caught:
        check_callable("on_x", value)
    assert str(caught.value) == f"on_x must be a function or None; got a {kind}"


class Holder:
    async def method(self, message: Any) -> None: ...

    async def __call__(self, message: Any) -> None: ...


@pytest.mark.parametrize(
    "value",
    [
        coroutine,
        Holder().method,
        Holder(),
        functools.partial(coroutine, 1),
        functools.partial(functools.partial(Holder())),
    ],
)
def test_an_async_function_is_no_callback(value: Any) -> None:
    with pytest.raises(TypeError) as caught:
        check_callable("on_x", value)
    assert str(caught.value) == (
        "on_x is an async function, but only plain ones are called: write `def` for `async def`"
    )


def test_a_generator_function_is_no_callback() -> None:
    def generator() -> Any:
        yield

    with pytest.raises(TypeError, match=r"^on_x is a generator function: calling it runs nothing of it$"):
        check_callable("on_x", generator)


class Flag:
    def is_set(self) -> bool:
        return False


@pytest.mark.parametrize("value", [None, threading.Event(), Flag(), nothing])
def test_is_cancelled_is_an_event_or_a_function(value: Any) -> None:
    check_is_cancelled(value)


def test_is_cancelled_is_no_class() -> None:
    with pytest.raises(TypeError, match=r"^is_cancelled must be an Event, not its class: write Event\(\)$"):
        check_is_cancelled(threading.Event)


def test_is_cancelled_is_nothing_else() -> None:
    with pytest.raises(TypeError) as caught:
        check_is_cancelled(False)
    assert str(caught.value) == (
        "is_cancelled (a threading.Event or a function) must be a function or None; got a bool"
    )


# --- artifacts --------------------------------------------------------------------------------------------

NEEDS_CALLBACK = "artifacts_dirs needs on_artifact_upload_request: a function that returns where to upload"
NEEDS_DIRECTORIES = "on_artifact_upload_request needs artifacts_dirs: the directories in the sandbox to watch"


@pytest.mark.parametrize(("directories", "callback"), [(["/a"], nothing), (None, None), ([], None), ((), None)])
def test_directories_and_callback_come_together(directories: Any, callback: Any) -> None:
    check_artifacts(directories, callback)


@pytest.mark.parametrize("directories", [["/a"], ("/a", "/b")])
def test_directories_need_a_callback(directories: Any) -> None:
    with pytest.raises(ValueError, match="artifacts_dirs") as caught:
        check_artifacts(directories, None)
    assert str(caught.value) == NEEDS_CALLBACK


@pytest.mark.parametrize("directories", [None, []])
def test_a_callback_needs_directories(directories: Any) -> None:
    with pytest.raises(ValueError, match="artifacts_dirs") as caught:
        check_artifacts(directories, nothing)
    assert str(caught.value) == NEEDS_DIRECTORIES


# --- strings ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [(), ["a", "b"], ("a", "b"), iter("ab"), {"a": 1, "b": 2}])
def test_strings(values: Any) -> None:
    assert strings(values, "x") in ((), ("a", "b"))


@pytest.mark.parametrize(("values", "said"), [("ab", "got a str"), (None, "got None"), (["a", 1], "it holds a int")])
def test_what_are_no_strings(values: Any, said: str) -> None:
    with pytest.raises(TypeError, match=f"^x must be strings; {said}$"):
        strings(values, "x must be strings")


# --- checks that hang on a field ----------------------------------------------------------------------------


@attrs.define
class Limits:
    timeout: Any = attrs.field(default=None, validator=checked_by(check_seconds))
    items: Any = attrs.field(default=None, validator=checked_by(check_optional_list_of(Decimal)))


def test_a_field_is_checked_as_an_argument_is_when_it_is_made_and_when_it_is_set() -> None:
    limits = Limits(timeout=5, items=[Decimal(1)])
    for change in ({"timeout": 0}, {"items": [Decimal(1), 5]}, {"items": Decimal(1)}):
        ((name, value),) = change.items()
        with pytest.raises((TypeError, ValueError), match=f"^{name} must be "):
            Limits(**change)
        with pytest.raises((TypeError, ValueError), match=f"^{name} must be "):
            setattr(limits, name, value)
    assert limits == Limits(timeout=5, items=[Decimal(1)])


def test_a_list_of_the_wrong_things_is_said_to_hold_them() -> None:
    with pytest.raises(
        TypeError, match=r"^items must be a list of Decimal, or None; got a list that holds something else"
    ):
        Limits(items=[5])


# --- secrets and schemas ------------------------------------------------------------------------------------


def test_the_frame_of_a_refusal_does_not_hold_the_secrets() -> None:
    with pytest.raises(ValueError, match="empty string") as caught:
        check_secrets(["s3cret", ""])
    assert caught.value.__traceback__ is not None
    last = caught.value.__traceback__.tb_next
    assert last is not None
    assert last.tb_frame.f_locals == {"has_empty": True}


@pytest.mark.parametrize(
    "text", [None, '{"type": "json_schema", "schema": {}}', ' {"schema": {}, "type": "json_schema"} ']
)
def test_an_output_schema_in_its_wrapper(text: Any) -> None:
    check_output_schema(text)


@pytest.mark.parametrize("text", ["", "{}", "null", "[" * 10**6, '{"type": "json_schema", "schema": null}'])
def test_an_output_schema_without_it(text: str) -> None:
    with pytest.raises(
        (TypeError, ValueError), match=r'write json.dumps\(\{"type": "json_schema", "schema": schema\}\)'
    ):
        check_output_schema(text)
