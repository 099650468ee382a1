"""What an answer becomes: of the type that was asked for, over a real connection; or an error that says where."""

from __future__ import annotations

import copy
import pickle
import traceback
from collections.abc import Iterator
from typing import Any, NamedTuple, Optional, Union

import attrs
import jsonschema
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtimeuse_sync import (
    AssistantMessageInterface,
    Client,
    InvocationMessage,
    OutputValidationError,
    QueryOptions,
    QueryResult,
    ResultMessageInterface,
    StructuredOutputResult,
    TextResult,
)
from runtimeuse_sync.local import LocalRuntime, Sender
from runtimeuse_sync.outputs._output import Output

from .types import CASES, SCHEMA, Dated, Model, Part, Person, Point, Stats, entries

ANSWERS = {name: answer for name, _, answer, _ in CASES}
IDS = [case[0] for case in CASES]


def agent(invocation: InvocationMessage, sender: Sender) -> Union[str, dict[str, Any]]:
    """Answers what the case that the prompt names has."""
    sender.assistant("Thinking.")
    return ANSWERS.get(invocation.user_prompt, "I do not know.")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with LocalRuntime(agent) as runtime:
        Client(runtime.url).wait_until_ready()  # from here on it opens nothing that a test could be blamed for
        yield runtime.url


@pytest.fixture
def client(url: str) -> Client:
    return Client(url)


# --- over a real connection -----------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_an_answer_is_of_the_type(client: Client, case: tuple[str, Any, dict[str, Any], Any]) -> None:
    name, output_type, answer, expected = case
    result = client.query(name, output_type=output_type)
    assert result.output == expected
    assert type(result.output) is type(expected)
    assert result.data == StructuredOutputResult(structured_output=answer)


def test_every_call_takes_an_output_type(client: Client) -> None:
    invocation = InvocationMessage(system_prompt="", user_prompt="attrs")
    outputs: list[Any] = [client.query("attrs", QueryOptions(timeout=60), output_type=Stats).output]
    told: list[Any] = []
    outputs.append(client.invoke(invocation, told.append, output_type=Stats).output)
    outputs.append(told[0].output)
    for start in ("attrs", invocation):
        with client.stream(start, output_type=Stats) as run:  # type: ignore[arg-type]
            messages = list(run)
        outputs += [run.result.output, messages[-1].output]  # type: ignore[attr-defined]
        assert isinstance(messages[0], AssistantMessageInterface)
    with client.session() as session:
        outputs.append(session.query("attrs", output_type=Stats).output)
        outputs.append(session.invoke(invocation, output_type=Stats).output)
    assert outputs == [Stats(3, 4)] * 9


def test_without_a_type_the_output_is_the_text_or_the_dict(client: Client) -> None:
    assert client.query("What?").output == "I do not know."
    schema = '{"type": "json_schema", "schema": {"type": "object"}}'
    assert client.query("attrs", output_format_json_schema_str=schema).output == ANSWERS["attrs"]
    assert client.invoke(InvocationMessage(system_prompt="", user_prompt="attrs")).output == ANSWERS["attrs"]


@attrs.define(kw_only=True)
class Scored(ResultMessageInterface[Stats]):
    score: Optional[float] = None


@attrs.frozen(kw_only=True)
class Frozen(ResultMessageInterface[Stats]):
    score: Optional[float] = None


@pytest.mark.parametrize("cls", [Scored, Frozen])
def test_a_result_class_of_the_users_own(client: Client, cls: type[ResultMessageInterface[Stats]]) -> None:
    invocation = InvocationMessage(system_prompt="", user_prompt="attrs")
    result = client.invoke(invocation, result_message_cls=cls, output_type=Stats)
    assert type(result) is cls
    assert result.output == Stats(3, 4)


@pytest.mark.parametrize("again", [lambda value: pickle.loads(pickle.dumps(value)), copy.copy, copy.deepcopy])
def test_a_result_keeps_its_output(client: Client, again: Any) -> None:
    invocation = InvocationMessage(system_prompt="", user_prompt="attrs")
    results: list[Any] = [client.query("attrs", output_type=Stats), client.invoke(invocation, output_type=Stats)]
    results += [client.query("attrs"), client.invoke(invocation, None, Scored, output_type=Stats)]
    for result in results:
        assert again(result) == result
        assert again(result).output == result.output
        assert type(again(result).output) is type(result.output)


def test_an_output_is_no_field() -> None:
    result = QueryResult[Stats](data=StructuredOutputResult(structured_output={"files": 3}))
    other = QueryResult[Stats](data=StructuredOutputResult(structured_output={"files": 3}))
    other.output = Stats(3)
    assert result == other
    assert repr(result) == repr(other)
    assert attrs.asdict(result) == attrs.asdict(other)


# --- answers that do not fit ----------------------------------------------------------------------------


def test_every_call_raises_where_the_answer_does_not_fit(client: Client) -> None:
    invocation = InvocationMessage(system_prompt="", user_prompt="int")
    told: list[Any] = []
    with pytest.raises(OutputValidationError) as of_query:
        client.query("int", output_type=Stats)
    with pytest.raises(OutputValidationError) as of_invoke:
        client.invoke(invocation, told.append, output_type=Stats)
    with pytest.raises(OutputValidationError) as of_stream:
        with client.stream("int", output_type=Stats) as run:
            for message in run:
                told.append(message)
    with pytest.raises(OutputValidationError):
        run.result  # noqa: B018
    for caught in (of_query, of_invoke, of_stream):
        error = caught.value
        assert (error.path, error.message) == ("$", "Object missing required field `files`")
        assert isinstance(error.result, ResultMessageInterface)
        assert error.result.structured_output == {"value": 3}
        assert error.__context__ is None
    assert [type(message) for message in told] == [AssistantMessageInterface]


def test_text_is_no_answer(client: Client) -> None:
    with pytest.raises(OutputValidationError, match=r"Expected structured output, got text at \$$"):
        client.query("What?", output_type=Stats)


def read(output_type: Any, answer: dict[str, Any]) -> Any:
    return Output(output_type).read(ResultMessageInterface(data=StructuredOutputResult(structured_output=answer)))


def fault(output_type: Any, answer: dict[str, Any]) -> OutputValidationError:
    with pytest.raises(OutputValidationError) as caught:
        read(output_type, answer)
    return caught.value


class Positive(pydantic.BaseModel):
    count: int

    @pydantic.field_validator("count")
    @classmethod
    def _positive(cls, value: int) -> int:
        if value < 0:
            raise ValueError(f"{value} is below zero")
        return value


@attrs.define
class Checked:
    name: str = attrs.field(validator=attrs.validators.max_len(3))


@pytest.mark.parametrize(
    ("output_type", "answer", "path", "message"),
    [
        (int, {}, "$", "Object missing required field `value`"),
        (int, {"value": "1"}, "$.value", "Expected `int`, got `str`"),
        (list[int], {"value": [1, True]}, "$.value[1]", "Expected `int`, got `bool`"),
        (Stats, {"files": 1, "lines": -1}, "$.lines", "Expected `int` >= 0"),
        (Point, {"x": 1}, "$", "Object missing required field `y`"),
        (Point, {"x": 1, "y": "1"}, "$.y", "Expected `int`, got `str`"),
        (tuple[int, str], {"value": [1, "a"]}, "$", "Object missing required field `item_0`"),
        (list[Point], {"value": [[1, 2]]}, "$.value[0]", "Expected an object with a field for each position"),
        (Optional[Point], {"value": [1, 2]}, "$.value", "Expected one of what the schema offers"),
        (dict[str, int], {"a": 1}, "$", "Expected an object with a list `entries`"),
        (Optional[dict[str, int]], {"value": {"a": 1}}, "$.value", "Expected an object with a list `entries`"),
        (dict[str, int], {"entries": [1]}, "$.entries[0]", "Expected an object with `key` and `value`"),
        (dict[str, int], {"entries": [{"key": "a"}]}, "$.entries[0]", "Object missing required field `value`"),
        (dict[str, int], {"entries": [{"key": 1, "value": 1}]}, "$.entries[0].key", "Expected `str`"),
        (
            dict[str, int],
            {"entries": [{"key": "a", "value": 1}, {"key": "a", "value": 2}]},
            "$.entries[1].key",
            "Expected a key that no other entry has",
        ),
        (dict[str, int], entries(a=1, b=2, c="s3cret", d=4), "$.entries[2].value", "Expected `int`, got `str`"),
        (
            dict[str, list[dict[str, Stats]]],
            entries(a=[], b=[entries(c={"files": 1}, d={"files": 1}), entries(e={"files": "s3cret"})]),
            "$.entries[1].value[1].entries[0].value.files",
            "Expected `int`, got `str`",
        ),
        (Model, {"name": "", "tags": None}, "$.name", "String should have at least 1 character"),
        (
            Model,
            {"name": "a", "tags": entries(b=1, c="1")},
            "$.tags.entries[1].value",
            "Input should be a valid integer",
        ),
        (Model, {"name": "a", "s3cret": 1}, "$", "Extra inputs are not permitted"),
        (
            Dated,
            {
                "day": "2024-01-02",
                "pair": {"item_0": 1, "item_1": "a"},
                "either": {"kind": "whole", "parts": [{"size": "1"}]},
            },
            "$.either.parts[0].size",
            "Input should be a valid integer",
        ),
        (list[Part], {"value": [{"kind": "s3cret", "size": 1}]}, "$.value[0].kind", "Input should be 'part'"),
        (SCHEMA, {"files": [{"path": 1}]}, "$.files[0].path", "Expected `string`"),
        (SCHEMA, {"files": [{}]}, "$.files[0]", "Object missing required field `path`"),
        (SCHEMA, {"files": [], "sizes": entries(a=1, b="s3cret")}, "$.sizes.entries[1].value", "Expected `integer`"),
        ({"enum": ["a"]}, {"value": "s3cret"}, "$.value", "Expected what the schema's 'enum' says"),
        ({"type": "integer", "maximum": 3}, {"value": 4}, "$.value", "Expected what the schema's 'maximum' says: 3"),
        (Positive, {"count": -777}, "$.count", "Expected what a check of the type accepts"),
        (Checked, {"name": "s3cret"}, "$", "Expected what a check of the type accepts"),
        (list[Checked], {"value": [{"name": "s3cret"}]}, "$.value[0]", "Expected what a check of the type accepts"),
    ],
    ids=str,
)
def test_an_error_says_what_and_where(output_type: Any, answer: dict[str, Any], path: str, message: str) -> None:
    error = fault(output_type, answer)
    assert (error.path, error.message) == (path, message)


@pytest.mark.parametrize(
    ("output_type", "answer", "said"),
    [(Positive, {"count": -777}, "-777 is below zero"), (Checked, {"name": "s3cret"}, "must be <= 3")],
)
def test_what_a_check_of_the_users_own_says_is_in_no_text(output_type: Any, answer: dict[str, Any], said: str) -> None:
    error = fault(output_type, answer)
    assert said in (error.detail or "")
    assert said not in "".join(traceback.format_exception(type(error), error, error.__traceback__))


def test_an_error_travels_with_its_result(client: Client) -> None:
    error = fault(Stats, {"files": "three"})
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.path, again.result) == (str(error), "$.files", error.result)


# --- hostile answers ------------------------------------------------------------------------------------


class Place(NamedTuple):
    """Where in an answer: the steps, and the path that says so."""

    steps: tuple[Union[str, int], ...]
    path: str


def places(value: Any, steps: tuple[Union[str, int], ...] = (), path: str = "$") -> Iterator[Place]:
    if steps:
        yield Place(steps, path)
    if isinstance(value, dict):
        for key, item in value.items():
            yield from places(item, (*steps, key), f"{path}.{key}")
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from places(item, (*steps, index), f"{path}[{index}]")


def replaced(value: Any, steps: tuple[Union[str, int], ...], by: Any) -> Any:
    if not steps:
        return by
    changed = value.copy()
    changed[steps[0]] = replaced(value[steps[0]], steps[1:], by)
    return changed


def follows(answer: Any, schema: Any) -> bool:
    return bool(jsonschema.Draft202012Validator(schema).is_valid(answer))


SECRET = "s3cret\x1b[2J"
WRONG = [SECRET, -987654.25, True, None, [], [[SECRET]], [{SECRET: SECRET}], {SECRET: SECRET}]
# Where nothing tells which branch a wrong object was meant to be, and where a key itself is what does not fit.
VAGUE = ("model of dates", "dict of int keys")
# msgspec takes a number for a Decimal as well.
LAX = ("Decimal",)


@given(case=st.sampled_from([case for case in CASES if case[0] not in LAX]), data=st.data())
def test_a_wrong_type_at_any_depth_is_told_by_its_place(case: tuple[str, Any, dict[str, Any], Any], data: Any) -> None:
    name, output_type, answer, _ = case
    output = Output(output_type)
    candidates = [
        (place, wrong)
        for place in places(answer)
        for wrong in WRONG
        # An object instead of another may be one with defaults for all that it lacks.
        if not isinstance(wrong, dict) and not follows(replaced(answer, place.steps, wrong), output.schema)
    ]
    if not candidates:
        return
    place, wrong = data.draw(st.sampled_from(candidates))
    message = ResultMessageInterface(
        data=StructuredOutputResult(structured_output=replaced(answer, place.steps, wrong))
    )
    with pytest.raises(OutputValidationError) as caught:
        output.read(message)
    error = caught.value
    if name in VAGUE:
        assert place.path.startswith(error.path) or error.path.startswith(place.path)
    else:
        assert error.path in (place.path, f"{place.path}[0]")  # a list may be wrong by its item
    shown = "".join(traceback.format_exception(type(error), error, error.__traceback__)) + repr(error)
    assert "s3cret" not in shown
    assert "987654" not in shown
    assert "\x1b" not in shown


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text() | st.sampled_from(["value", "entries", "key", "files", "x", "type"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(case=st.sampled_from(CASES), data=st.data())
def test_whatever_comes_it_fits_or_is_told(case: tuple[str, Any, dict[str, Any], Any], data: Any) -> None:
    _, output_type, answer, _ = case
    place = data.draw(st.sampled_from([Place((), "$"), *places(answer)]))
    value = data.draw(json_values if place.steps else st.dictionaries(st.text(), json_values, max_size=3))
    message = ResultMessageInterface(
        data=StructuredOutputResult(structured_output=replaced(answer, place.steps, value))
    )
    path = path_of_fault(Output(output_type), message)
    assert path is None or place.path.startswith(path) or path.startswith(place.path)


def path_of_fault(output: Output, message: ResultMessageInterface) -> Optional[str]:
    try:
        output.read(message)
    except OutputValidationError as error:
        return error.path
    return None


def test_a_mapping_of_many_entries_is_searched_by_halves() -> None:
    values: dict[str, Any] = {str(number): number for number in range(20_000)}
    values["17000"] = "s3cret"
    assert fault(dict[str, int], entries(**values)).path == "$.entries[17000].value"


def test_a_name_that_is_no_identifier_is_quoted() -> None:
    schema = {"type": "object", "properties": {"total files": {"type": "integer"}}}
    assert fault(schema, {"total files": "3"}).path == '$["total files"]'


def test_text_in_place_of_the_output_keeps_the_result() -> None:
    with pytest.raises(OutputValidationError) as caught:
        Output(Person).read(ResultMessageInterface(data=TextResult(text="s3cret")))
    assert caught.value.result is not None
    assert caught.value.result.text == "s3cret"
