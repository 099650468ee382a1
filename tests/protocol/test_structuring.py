"""The two converters: what the codec's tests do not see of them. That both are strict is held there, field by field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Union
from unittest import mock

import attrs
import pytest

from runtimeuse_sync import messages as m
from runtimeuse_sync._protocol import structuring as _structuring
from runtimeuse_sync._protocol.structuring import UnfitError, compiled_hook, configure, structure

if TYPE_CHECKING:
    from decimal import Decimal

OUTPUT = {"message_type": "command_output_message", "stream": "stdout", "text": "t", "command": "c"}


def test_a_compiled_hook_makes_a_message() -> None:
    assert compiled_hook(m.CommandOutputMessageInterface)(OUTPUT, None) == m.CommandOutputMessageInterface(
        stream="stdout", text="t", command="c"
    )


@pytest.mark.parametrize(
    ("fields", "error"),
    [({**OUTPUT, "text": 5, "command": 5}, ValueError), ({"stream": "stdout"}, KeyError), ([], TypeError)],
)
def test_it_stops_at_the_first_fault_and_looks_for_no_path(fields: Any, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        compiled_hook(m.CommandOutputMessageInterface)(fields, None)
    assert not hasattr(caught.value, "exceptions")


def test_a_converter_that_explains_collects_all_faults() -> None:
    with pytest.raises(Exception, match="While structuring") as caught:
        configure(explain=True).structure({**OUTPUT, "text": 5, "command": 5}, m.CommandOutputMessageInterface)
    assert len(caught.value.exceptions) == 2  # type: ignore[attr-defined]


def test_the_first_of_them_is_told() -> None:
    with pytest.raises(UnfitError, match=r"^expected a string, got a number at \$\.text$") as caught:
        structure({**OUTPUT, "text": 5, "command": 5}, m.CommandOutputMessageInterface)
    assert caught.value.__suppress_context__


def test_converters_are_made_once() -> None:
    def use_both() -> None:
        for fields in (OUTPUT, {}):
            try:
                structure(fields, m.CommandOutputMessageInterface)
            except UnfitError:
                continue

    use_both()
    with mock.patch.object(_structuring, "configure", side_effect=AssertionError):
        use_both()
        use_both()
        compiled_hook(m.CommandOutputMessageInterface)


@attrs.define
class Undecided:
    """cattrs does not know how to choose."""

    either: Union[int, str, None] = None


@attrs.define
class Unknown:
    """An annotation that only a type checker can resolve."""

    price: Decimal = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("cls", "said"),
    [
        (Undecided, r"^Undecided has a field whose type cannot be read from JSON: .*Union\[int, str, "),
        (Unknown, r"^Unknown has an annotation that cannot be resolved: name 'Decimal' is not defined$"),
    ],
)
def test_a_class_that_json_cannot_be_read_into_is_refused(cls: type, said: str) -> None:
    with pytest.raises(TypeError, match=said) as caught:
        compiled_hook(cls)
    assert caught.value.__suppress_context__


def test_nor_does_cattrs_refuse_it_in_its_own_words_when_there_is_a_value() -> None:
    with pytest.raises(TypeError, match=r"^Undecided has a field whose type cannot be read from JSON: ") as caught:
        structure({"either": 3}, Undecided)
    assert caught.value.__suppress_context__


@attrs.define
class Kinds:
    """A class of a user whose ``type`` is no constant."""

    type: str
    message_type: str


def test_only_a_tag_with_a_default_is_a_constant() -> None:
    assert structure({"type": "a", "message_type": "b"}, Kinds) == Kinds(type="a", message_type="b")
    with pytest.raises(UnfitError, match=r"^required field missing at \$\.type$"):
        structure({"message_type": "b"}, Kinds)
    assert structure({"text": "t", "type": "whatever"}, m.TextResult) == m.TextResult(text="t")
