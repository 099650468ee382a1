"""The nodes of a strict schema: each decodes the answer at its place, and locates errors in it.

Strict schemas have no open objects and no optional fields. So a mapping is asked for as a list of its entries, a
tuple as an object with a field for each position, and a field that may be left out may be null instead; ``decode``
turns the answer back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Union

import attrs

from ._faults import Steps, UnfitError, field_path

Schema = dict[str, Any]

# How much of a branch a value has to fit, the best first.
DEEP, TAGS, TYPE = 2, 1, 0


_JSON_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


def _is(value: Any, name: str) -> bool:
    return type(value) in _JSON_TYPES.get(name, ())


@attrs.frozen
class Leaf:
    """A value that has no parts."""

    schema: Schema

    def fits(self, value: Any, depth: int) -> bool:
        """Whether ``value`` may be meant for this place."""
        allowed = self.schema.get("enum", [self.schema["const"]] if "const" in self.schema else None)
        if allowed is not None and depth >= TAGS:
            return any(type(value) is type(one) and value == one for one in allowed)
        types = self.schema.get("type", [])
        return any(_is(value, name) for name in ([types] if isinstance(types, str) else types))

    def decode(self, value: Any, path: str) -> Any:
        """Decode ``value``, which is at ``path`` of the answer."""
        return value

    def locate(self, steps: Steps, value: Any) -> str:
        """The path in ``value`` of what has ``steps`` in the decoded one, as far as it is known."""
        return ""

    @property
    def is_tag(self) -> bool:
        """Whether it is a constant that identifies a branch."""
        return "enum" in self.schema or "const" in self.schema

    @property
    def takes_null(self) -> bool:
        return self.fits(None, TAGS)


@attrs.frozen
class Fields:
    """An object. Those of its fields in ``optional`` were made nullable: null stands for leaving them out."""

    schema: Schema
    fields: Mapping[str, Node]
    optional: frozenset[str]
    is_tag = False
    takes_null = False

    def fits(self, value: Any, depth: int) -> bool:
        if type(value) is not dict or depth == TYPE:
            return type(value) is dict
        if depth == TAGS:
            return all(node.fits(value.get(name), depth) for name, node in self.fields.items() if node.is_tag)
        return all(name in self.fields for name in value) and all(
            name in self.optional if name not in value else self._fits_field(name, node, value[name], depth)
            for name, node in self.fields.items()
        )

    def _fits_field(self, name: str, node: Node, value: Any, depth: int) -> bool:
        return (value is None and name in self.optional) or node.fits(value, depth)

    def decode(self, value: Any, path: str) -> Any:
        if type(value) is not dict:
            return value
        fields = self.fields
        return {
            name: fields[name].decode(item, path + field_path(name)) if name in fields else item
            for name, item in value.items()
            if not (item is None and name in self.optional)
        }

    def locate(self, steps: Steps, value: Any) -> str:
        name = steps[0] if steps else None
        if type(value) is not dict or name not in self.fields or name not in value:
            return ""
        return field_path(str(name)) + self.fields[str(name)].locate(steps[1:], value[name])


@attrs.frozen
class Items:
    """An array."""

    schema: Schema
    item: Node
    is_tag = False
    takes_null = False

    def fits(self, value: Any, depth: int) -> bool:
        return type(value) is list and (depth < DEEP or all(self.item.fits(item, depth) for item in value))

    def decode(self, value: Any, path: str) -> Any:
        if type(value) is not list:
            return value
        return [self.item.decode(item, f"{path}[{index}]") for index, item in enumerate(value)]

    def locate(self, steps: Steps, value: Any) -> str:
        index = steps[0] if steps else None
        if type(value) is not list or type(index) is not int or not 0 <= index < len(value):
            return ""
        return f"[{index}]" + self.item.locate(steps[1:], value[index])


@attrs.frozen
class Positions:
    """A tuple, asked for as an object: its ``fields`` are the positions, in order."""

    as_object: Fields
    is_tag = False
    takes_null = False

    @property
    def schema(self) -> Schema:
        return self.as_object.schema

    @property
    def names(self) -> list[str]:
        return list(self.as_object.fields)

    def fits(self, value: Any, depth: int) -> bool:
        if depth == DEEP:
            return self.as_object.fits(value, depth)
        return type(value) is dict and (depth == TYPE or any(name in value for name in self.names))

    def decode(self, value: Any, path: str) -> Any:
        if type(value) is not dict:
            raise UnfitError("Expected an object with a field for each position", path)
        found = self.as_object.decode(value, path)
        missing = [name for name in self.names if name not in found]
        if any(name not in self.as_object.optional for name in missing):
            raise UnfitError(f"Object missing required field `{missing[0]}`", path)
        if missing != self.names[len(self.names) - len(missing) :]:
            raise UnfitError("Expected null for all positions behind the first that is null", path)
        return [found[name] for name in self.names[: len(self.names) - len(missing)]]

    def locate(self, steps: Steps, value: Any) -> str:
        index, names = steps[0] if steps else None, self.names
        if type(index) is not int or not 0 <= index < len(names):
            return ""
        return self.as_object.locate([names[index], *steps[1:]], value)


@attrs.frozen
class Entries:
    """A mapping, asked for as ``{"entries": [{"key": …, "value": …}]}``."""

    schema: Schema
    key: Node
    value: Node
    is_tag = False
    takes_null = False

    def fits(self, value: Any, depth: int) -> bool:
        if type(value) is not dict or depth == TYPE:
            return type(value) is dict
        entries = value.get("entries")
        return type(entries) is list and (depth < DEEP or all(map(self._fits_entry, entries)))

    def _fits_entry(self, entry: Any) -> bool:
        return (
            type(entry) is dict
            and entry.keys() == {"key", "value"}
            and self.key.fits(entry["key"], DEEP)
            and self.value.fits(entry["value"], DEEP)
        )

    def decode(self, value: Any, path: str) -> Any:
        if type(value) is not dict:
            return value
        if type(value.get("entries")) is not list:
            at = f"{path}.entries" if "entries" in value else path
            raise UnfitError("Expected an object with a list `entries`", at)
        found: dict[str, Any] = {}
        for index, entry in enumerate(value["entries"]):
            at = f"{path}.entries[{index}]"
            key, item = _entry(entry, at)
            if key in found:
                raise UnfitError("Expected a key that no other entry has", f"{at}.key")
            found[key] = self.value.decode(item, f"{at}.value")
        return found

    def locate(self, steps: Steps, value: Any) -> str:
        entries = value.get("entries") if type(value) is dict else None
        for index, entry in enumerate(entries if steps and type(entries) is list else ()):
            if entry["key"] == str(steps[0]):
                return f".entries[{index}].value" + self.value.locate(steps[1:], entry["value"])
        return ""


def _entry(entry: Any, path: str) -> tuple[str, Any]:
    if type(entry) is not dict:
        raise UnfitError("Expected an object with `key` and `value`", path)
    for name in ("key", "value"):
        if name not in entry:
            raise UnfitError(f"Object missing required field `{name}`", path)
    if type(entry["key"]) is not str:
        raise UnfitError("Expected `str`", f"{path}.key")
    return entry["key"], entry["value"]


@attrs.frozen
class Choice:
    """A choice between several nodes (``anyOf``)."""

    schema: Schema
    branches: Sequence[Node]
    is_tag = False

    def _meant(self, value: Any) -> Union[Node, None]:
        """The branch that ``value`` fits best."""
        for depth in (DEEP, TAGS, TYPE):
            for branch in self.branches:
                if branch.fits(value, depth):
                    return branch
        return None

    @property
    def takes_null(self) -> bool:
        return any(branch.takes_null for branch in self.branches)

    def fits(self, value: Any, depth: int) -> bool:
        return any(branch.fits(value, depth) for branch in self.branches)

    def decode(self, value: Any, path: str) -> Any:
        branch = self._meant(value)
        if branch is None and any(isinstance(one, Positions) for one in self.branches):
            raise UnfitError("Expected one of what the schema offers", path)  # a list would be taken for a tuple
        return value if branch is None else branch.decode(value, path)

    def locate(self, steps: Steps, value: Any) -> str:
        branch = self._meant(value)
        if branch is None:
            return ""
        # Some say which branch they mean by a step of its own.
        if any(one is not branch and one.schema.get("title") in steps[:1] for one in self.branches):
            return ""
        return branch.locate(steps, value) or branch.locate(steps[1:], value)


@attrs.frozen
class Wrapped:
    """The root of what is no object: ``{"value": …}``."""

    schema: Schema
    value: Node

    def decode(self, value: Any, path: str) -> Any:
        if "value" not in value:
            raise UnfitError("Object missing required field `value`", path)
        return self.value.decode(value["value"], f"{path}.value")

    def locate(self, steps: Steps, value: Any) -> str:
        return ".value" + self.value.locate(steps, value["value"])


Node = Union[Leaf, Fields, Items, Positions, Entries, Choice]
