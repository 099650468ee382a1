"""The schemas that are sent, and what is refused before anything is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Callable, Literal, NamedTuple, Optional, Union

import jsonschema
import pytest
from pydantic import BaseModel

from runtimeuse_sync.outputs import output_schema

from .types import CASES, SCHEMA, Colour, Point, Shapes, Stats

each = pytest.mark.parametrize(
    ("output_type", "answer"), [case[1:3] for case in CASES], ids=[case[0] for case in CASES]
)


def schemas(schema: Any) -> Iterator[dict[str, Any]]:
    """``schema``, and all in it."""
    yield schema
    for one in [*schema.get("properties", {}).values(), *schema.get("anyOf", ())]:
        yield from schemas(one)
    if "items" in schema:
        yield from schemas(schema["items"])


def test_there_are_many_types() -> None:
    assert len({json.dumps(output_schema(case[1])) for case in CASES}) >= 30


@each
def test_no_reference_and_no_open_object_at_any_depth(output_type: Any, answer: dict[str, Any]) -> None:
    schema = output_schema(output_type)
    text = json.dumps(schema)
    assert "$ref" not in text
    assert "$defs" not in text
    assert schema["type"] == "object"
    for one in schemas(schema):
        assert "type" in one or "anyOf" in one
        if one.get("type") == "object":
            assert one["additionalProperties"] is False
            assert one["required"] == list(one["properties"])
        if one.get("type") == "array":
            assert isinstance(one["items"], dict)
        assert not {"oneOf", "allOf", "prefixItems", "default", "discriminator"} & one.keys()


@each
def test_the_answer_of_each_case_follows_the_schema(output_type: Any, answer: dict[str, Any]) -> None:
    schema = output_schema(output_type)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(answer, schema)


def test_docstrings_and_constraints_are_told() -> None:
    assert output_schema(Stats) == {
        "title": "Stats",
        "description": "What is in a folder.",
        "type": "object",
        "properties": {
            "files": {"type": "integer"},
            "lines": {
                "anyOf": [{"description": "of all files", "type": "integer", "minimum": 0}, {"type": "null"}],
            },
        },
        "required": ["files", "lines"],
        "additionalProperties": False,
    }


def test_positions_are_asked_for_by_their_names() -> None:
    assert list(output_schema(Point)["properties"]) == ["x", "y", "label"]
    assert list(output_schema(Shapes)["properties"]["origin"]["anyOf"][0]["properties"]) == ["x", "y", "label"]


def test_two_tuples_of_one_name_have_no_names() -> None:
    def another() -> Any:
        class Point(NamedTuple):
            a: int
            b: int
            c: str = ""

        return Point

    schema = output_schema(tuple[Point, another()])  # type: ignore[misc]
    assert list(schema["properties"]["item_0"]["properties"]) == ["item_0", "item_1", "item_2"]


def test_the_schema_given_stays_as_it_is() -> None:
    before = json.dumps(SCHEMA)
    output_schema(SCHEMA)["properties"].clear()
    assert json.dumps(SCHEMA) == before


# --- refused --------------------------------------------------------------------------------------------


@dataclass
class Tree:
    children: list[Tree]


class Node(BaseModel):
    next: Optional[Node] = None


@dataclass
class Loose:
    anything: Any


@dataclass
class Unresolved:
    what: Nowhere  # type: ignore[name-defined] # noqa: F821


@dataclass
class Mixed:
    """A model of pydantic's in a class of Python's."""

    node: Node


class Callback(BaseModel):
    call: Callable[[], None]


@pytest.mark.parametrize(
    ("output_type", "said"),
    [
        (Tree, "the type contains itself, and a strict schema would have no end, at $.children[]"),
        (Node, "the type contains itself, and a strict schema would have no end, at $.next"),
        (Loose, "anything may stand here, and a strict schema must say what, at $.anything"),
        (Any, "anything may stand here, and a strict schema must say what, at $"),
        (object, "not supported"),
        (list, "anything may stand here, and a strict schema must say what, at $[]"),
        (dict, "an object must say what is in it: its fields, or the type of all its values, at $"),
        (dict[str, Any], "an object must say what is in it"),
        (Unresolved, "Nowhere"),
        (Mixed, "test_schemas.Node'> is not supported"),
        (Callback, "Cannot generate a JsonSchema"),
        (complex, "not supported"),
        (5, "5"),
        ("Stats", "not supported"),
        (Union[Stats, Tree], "Type unions may not contain more than one"),
    ],
    ids=str,
)
def test_types_that_no_strict_schema_has(output_type: Any, said: str) -> None:
    with pytest.raises(TypeError) as caught:
        output_schema(output_type)
    assert str(caught.value).startswith("output_type cannot be ")
    assert said in str(caught.value)


CYCLE: dict[str, Any] = {"type": "array"}
CYCLE["items"] = CYCLE
DOUBLING: dict[str, Any] = {"$defs": {"0": {"type": "integer"}}, "$ref": "#/$defs/30"}
for _level in range(1, 31):
    _below = {"$ref": f"#/$defs/{_level - 1}"}
    DOUBLING["$defs"][str(_level)] = {"type": "object", "properties": {"a": _below, "b": _below}}


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "json_schema", "schema": {}}, "output_type is no JSON schema: "),
        ({"type": "object"}, "an object must say what is in it"),
        ({"type": "object", "additionalProperties": True}, "an object must say what is in it"),
        (
            {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": True},
            "an object with fields cannot have further ones",
        ),
        ({}, "anything may stand here"),
        ({"properties": {"a": True}}, "anything may stand here, and a strict schema must say what, at $.a"),
        ({"type": "object", "patternProperties": {"a": {}}}, "strict schemas have no 'patternProperties'"),
        ({"not": {"type": "string"}}, "strict schemas have no 'not'"),
        ({"allOf": [{"type": "string"}, {"minLength": 2}]}, "strict schemas have no 'allOf'"),
        ({"$ref": "https://example.com/schema"}, "a reference must lead to a schema in the same document"),
        ({"$ref": "#/$defs/gone"}, "a reference must lead to a schema in the same document"),
        ({"properties": {"a": {"$ref": "#"}}}, "the type contains itself"),
        ({"enum": [{"a": 1}]}, "only strings, numbers, booleans and null"),
        (CYCLE, "nested too deep"),
        (DOUBLING, "the type is too large or nested too deep"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else None,
)
def test_schemas_that_cannot_be_made_strict(schema: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match="output_type") as caught:
        output_schema(schema)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("schema", "sent"),
    [
        ({"allOf": [{"type": "string"}]}, {"type": "string"}),
        ({"oneOf": [{"type": "string"}, {"type": "null"}]}, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        ({"enum": ["a", 1]}, {"enum": ["a", 1], "type": ["integer", "string"]}),
        ({"const": None}, {"const": None, "type": "null"}),
        ({"type": "string", "format": "color"}, {"type": "string"}),
        (
            {"type": ["array", "null"], "items": {"type": "integer"}},
            {"anyOf": [{"type": "array", "items": {"type": "integer"}}, {"type": "null"}]},
        ),
    ],
    ids=str,
)
def test_what_strict_schemas_say_in_another_way(schema: dict[str, Any], sent: dict[str, Any]) -> None:
    assert output_schema(schema)["properties"]["value"] == sent


def test_a_literal_of_strings_and_numbers_is_asked_for_or_refused() -> None:
    try:
        assert output_schema(Literal["a", 1])["properties"]["value"]["type"] == ["integer", "string"]
    except TypeError as error:
        assert "this msgspec knows no Literal of values of several types; write an Enum" in str(error)  # noqa: PT017


def test_an_enum_says_its_type() -> None:
    assert output_schema(Colour)["properties"]["value"]["type"] == "string"
