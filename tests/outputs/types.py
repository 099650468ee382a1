"""Output types, each with some of its values, and what an agent answers for it."""

from __future__ import annotations

import datetime
import decimal
import enum
import uuid
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple, Optional, TypedDict, Union

import attrs
import msgspec
import pydantic
from pydantic import BaseModel, Field


@attrs.define
class Stats:
    """What is in a folder."""

    files: int
    lines: Annotated[int, msgspec.Meta(ge=0, description="of all files")] = 0


@dataclass
class Person:
    """Somebody."""

    name: str
    nick: Optional[str] = None
    friends: list[Person2] = field(default_factory=list)


@dataclass
class Person2:
    name: str


class Size(TypedDict):
    width: float
    height: float


class Partial(TypedDict, total=False):
    width: float


class Point(NamedTuple):
    """A point."""

    x: int
    y: int
    label: str = "none"


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Circle(msgspec.Struct, tag=True):
    radius: float


class Square(msgspec.Struct, tag=True):
    side: float


class Shapes(msgspec.Struct):
    shapes: list[Union[Circle, Square]]
    by_name: dict[str, Union[Circle, Square]]
    origin: Point = Point(0, 0)


class Row(msgspec.Struct, array_like=True):
    key: str
    count: int


class Nothing(msgspec.Struct):
    pass


@attrs.define
class Deep:
    levels: dict[str, list[dict[str, list[Stats]]]]


class Model(BaseModel):
    """A model."""

    model_config = pydantic.ConfigDict(extra="forbid")

    name: str = Field(min_length=1, description="its name")
    tags: dict[str, int] = {}
    parent: Optional[Part] = None


class Part(BaseModel):
    kind: Literal["part"] = "part"
    size: int


class Whole(BaseModel):
    kind: Literal["whole"] = "whole"
    parts: list[Part]


class Dated(BaseModel):
    day: datetime.date
    pair: tuple[int, str]
    either: Union[Part, Whole]


SCHEMA: dict[str, Any] = {
    "$defs": {"file": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}},
    "type": "object",
    "properties": {
        "files": {"type": "array", "items": {"$ref": "#/$defs/file"}},
        "sizes": {"type": "object", "additionalProperties": {"type": "integer"}},
        "note": {"type": "string"},
    },
    "required": ["files"],
}


def entries(**values: Any) -> dict[str, Any]:
    return {"entries": [{"key": key, "value": value} for key, value in values.items()]}


# The type, what an agent answers, what is made of it.
CASES: list[tuple[str, Any, dict[str, Any], Any]] = [
    ("int", int, {"value": 3}, 3),
    ("str", str, {"value": "three"}, "three"),
    ("bool", bool, {"value": True}, True),
    ("float", float, {"value": 1.5}, 1.5),
    ("constrained int", Annotated[int, msgspec.Meta(ge=1, le=9)], {"value": 3}, 3),
    ("attrs", Stats, {"files": 3, "lines": 4}, Stats(3, 4)),
    ("attrs, default", Stats, {"files": 3, "lines": None}, Stats(3)),
    ("dataclass", Person, {"name": "A", "nick": None, "friends": [{"name": "B"}]}, Person("A", None, [Person2("B")])),
    ("TypedDict", Size, {"width": 1.0, "height": 2.0}, {"width": 1.0, "height": 2.0}),
    ("TypedDict, not total", Partial, {"width": None}, {}),
    ("NamedTuple", Point, {"x": 1, "y": 2, "label": "here"}, Point(1, 2, "here")),
    ("NamedTuple, default", Point, {"x": 1, "y": 2, "label": None}, Point(1, 2)),
    ("Enum", Colour, {"value": "red"}, Colour.RED),
    ("IntEnum", Level, {"value": 2}, Level.HIGH),
    ("Literal", Literal["a", "b"], {"value": "b"}, "b"),
    ("Optional Enum", Optional[Colour], {"value": None}, None),
    ("Optional", Optional[int], {"value": None}, None),
    ("Optional attrs", Optional[Stats], {"value": {"files": 1, "lines": 2}}, Stats(1, 2)),
    ("union", Union[int, str, None], {"value": "x"}, "x"),
    ("list", list[int], {"value": [1, 2]}, [1, 2]),
    ("list of attrs", list[Stats], {"value": [{"files": 1, "lines": None}]}, [Stats(1)]),
    ("set", set[str], {"value": ["a", "b"]}, {"a", "b"}),
    ("tuple", tuple[int, str], {"item_0": 1, "item_1": "a"}, (1, "a")),
    ("even tuple", tuple[int, ...], {"value": [1, 2, 3]}, (1, 2, 3)),
    ("list of tuples", list[tuple[int, int]], {"value": [{"item_0": 1, "item_1": 2}]}, [(1, 2)]),
    ("dict", dict[str, int], entries(a=1, b=2), {"a": 1, "b": 2}),
    ("dict of int keys", dict[int, str], entries(**{"1": "a"}), {1: "a"}),
    ("dict of dicts", dict[str, dict[str, int]], entries(a=entries(b=1)), {"a": {"b": 1}}),
    ("dict or list", Union[dict[str, int], list[int]], {"value": entries(a=1)}, {"a": 1}),
    ("Struct union", Union[Circle, Square], {"value": {"type": "Square", "side": 2.0}}, Square(2.0)),
    (
        "Struct",
        Shapes,
        {
            "shapes": [{"type": "Circle", "radius": 1.0}],
            "by_name": entries(a={"type": "Square", "side": 2.0}),
            "origin": {"x": 1, "y": 2, "label": None},
        },
        Shapes([Circle(1.0)], {"a": Square(2.0)}, Point(1, 2)),
    ),
    ("array-like Struct", list[Row], {"value": [{"key": "a", "count": 1}]}, [Row("a", 1)]),
    ("empty Struct", Nothing, {}, Nothing()),
    ("deep", Deep, {"levels": entries(a=[entries(b=[{"files": 1, "lines": 2}])])}, Deep({"a": [{"b": [Stats(1, 2)]}]})),
    (
        "datetime",
        datetime.datetime,
        {"value": "2024-01-02T03:04:05Z"},
        datetime.datetime(2024, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc),
    ),
    ("date", datetime.date, {"value": "2024-01-02"}, datetime.date(2024, 1, 2)),
    (
        "UUID",
        uuid.UUID,
        {"value": "12345678-1234-5678-1234-567812345678"},
        uuid.UUID("12345678-1234-5678-1234-567812345678"),
    ),
    ("Decimal", decimal.Decimal, {"value": "1.10"}, decimal.Decimal("1.10")),
    ("bytes", bytes, {"value": "aGVsbG8="}, b"hello"),
    (
        "model",
        Model,
        {"name": "a", "tags": entries(x=1), "parent": {"kind": None, "size": 2}},
        Model(name="a", tags={"x": 1}, parent=Part(size=2)),
    ),
    ("model, defaults", Model, {"name": "a", "tags": None, "parent": None}, Model(name="a")),
    ("list of models", list[Part], {"value": [{"kind": "part", "size": 1}]}, [Part(size=1)]),
    (
        "model of dates",
        Dated,
        {
            "day": "2024-01-02",
            "pair": {"item_0": 1, "item_1": "a"},
            "either": {"kind": "whole", "parts": [{"kind": "part", "size": 1}]},
        },
        Dated(day=datetime.date(2024, 1, 2), pair=(1, "a"), either=Whole(parts=[Part(size=1)])),
    ),
    (
        "schema",
        SCHEMA,
        {"files": [{"path": "a"}], "sizes": entries(a=1), "note": None},
        {"files": [{"path": "a"}], "sizes": {"a": 1}},
    ),
    ("schema of a list", {"type": "array", "items": {"type": ["integer", "null"]}}, {"value": [1, None]}, [1, None]),
]
