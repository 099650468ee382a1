"""A JSON schema -> what strict runtimes need: no reference, no open object at any depth, an object at the root.

OpenAI's strict mode is the measure. What it cannot say is asked for in another way (see ``_nodes``), or refused
before anything is sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Union

import attrs

from ._nodes import Choice, Entries, Fields, Items, Leaf, Node, Positions, Schema, Wrapped

# The names of a tuple's positions, by the title of its schema, where it has any.
Names = Mapping[str, Sequence[str]]

# Schemas in a schema: references are written out, which may make much of little.
MOST_SCHEMAS = 5000

_ANNOTATIONS = ("title", "description")
_CONSTRAINTS = (
    "type",
    "enum",
    "const",
    "format",
    "pattern",
    "minLength",
    "maxLength",
    "contentEncoding",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
)
_OF_ARRAYS = ("minItems", "maxItems", "uniqueItems")
# Others are not known to every runtime; the answer is checked for them all the same.
_FORMATS = ("date-time", "date", "time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid")
_SHAPES = ("properties", "additionalProperties", "items", "prefixItems", "type")
_REFUSED = (
    "$dynamicRef",
    "$recursiveRef",
    "contains",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "else",
    "if",
    "not",
    "patternProperties",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
)


class RefusedError(ValueError):
    """A schema that cannot be made strict; says why, and where in it."""

    def __init__(self, reason: str, where: str) -> None:
        super().__init__(f"{reason}, at {where}")


_TOO_LARGE = RefusedError("the type is too large or nested too deep for a schema without references", "$")


def strict(schema: Schema, names: Names) -> Union[Node, Wrapped]:
    """The strict form of ``schema``; raises ``RefusedError``."""
    try:
        node = _Builder(schema, names).build(schema, "$", ())
    except RecursionError:  # a dict that holds itself
        raise _TOO_LARGE from None
    if isinstance(node, (Fields, Positions, Entries)):
        return node
    return Wrapped(_object({"value": node.schema}, {}), node)


def _object(properties: Schema, about: Schema) -> Schema:
    return {
        **about,
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _picked(schema: Schema, keywords: Sequence[str]) -> Schema:
    return {keyword: schema[keyword] for keyword in keywords if keyword in schema}


@attrs.define
class _Builder:
    root: Schema
    names: Names
    built: int = 0

    def build(self, schema: Any, where: str, refs: tuple[str, ...]) -> Node:
        """The node of ``schema``, which stands at ``where``, inside of what ``refs`` refer to."""
        self.built += 1
        if self.built > MOST_SCHEMAS:
            raise _TOO_LARGE
        if not isinstance(schema, dict):
            raise RefusedError("anything may stand here, and a strict schema must say what", where)
        for keyword in _REFUSED:
            if keyword in schema:
                raise RefusedError(f"strict schemas have no {keyword!r}", where)
        if "$ref" in schema:
            return self._reference(schema, where, refs)
        if "allOf" in schema:
            return self._all_of(schema, where, refs)
        return self._of_shape(schema, where, refs)

    def _of_shape(self, schema: Schema, where: str, refs: tuple[str, ...]) -> Node:
        types = schema.get("type")
        if "anyOf" in schema or "oneOf" in schema:
            return self._choice(schema, where, refs)
        if isinstance(types, list) and {"object", "array"} & set(types):
            branches = [{**schema, "type": one} for one in types]
            return self._branches(branches, {}, where, refs)
        if types == "object" or (types is None and {"properties", "additionalProperties"} & schema.keys()):
            return self._of_object(schema, where, refs)
        if types == "array" or (types is None and {"items", "prefixItems"} & schema.keys()):
            return self._of_array(schema, where, refs)
        return _leaf(schema, where)

    # --- what refers to other schemas ---------------------------------------------------------------

    def _reference(self, schema: Schema, where: str, refs: tuple[str, ...]) -> Node:
        ref = schema["$ref"]
        if ref in refs or ref == "#":
            raise RefusedError("the type contains itself, and a strict schema would have no end", where)
        beside = {keyword: value for keyword, value in schema.items() if keyword != "$ref"}
        return self.build({**self._target(ref, where), **beside}, where, (*refs, ref))

    def _target(self, ref: Any, where: str) -> Schema:
        found: Any = self.root if isinstance(ref, str) and ref.startswith("#/") else None
        for part in str(ref).split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            found = found.get(name) if isinstance(found, dict) else None
        if not isinstance(found, dict):
            raise RefusedError("a reference must lead to a schema in the same document, as in '#/$defs/File'", where)
        return found

    def _all_of(self, schema: Schema, where: str, refs: tuple[str, ...]) -> Node:
        if not isinstance(schema["allOf"], list) or len(schema["allOf"]) != 1:
            raise RefusedError("strict schemas have no 'allOf'", where)
        beside = {keyword: value for keyword, value in schema.items() if keyword != "allOf"}
        return self.build({**schema["allOf"][0], **beside}, where, refs)

    def _choice(self, schema: Schema, where: str, refs: tuple[str, ...]) -> Node:
        branches = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
        beside = [keyword for keyword in _SHAPES if keyword in schema]
        if beside or ("anyOf" in schema and "oneOf" in schema):
            raise RefusedError("strict schemas have nothing else beside 'anyOf'", where)
        return self._branches(branches, _picked(schema, _ANNOTATIONS), where, refs)

    def _branches(self, branches: list[Any], about: Schema, where: str, refs: tuple[str, ...]) -> Node:
        nodes = [self.build(branch, where, refs) for branch in branches]
        return Choice({**about, "anyOf": [node.schema for node in nodes]}, nodes)

    # --- objects ------------------------------------------------------------------------------------

    def _of_object(self, schema: Schema, where: str, refs: tuple[str, ...]) -> Node:
        more = schema.get("additionalProperties")
        if schema.get("properties") or ("properties" in schema and not more):
            if more:
                raise RefusedError(
                    "an object with fields cannot have further ones of any name in a strict schema", where
                )
            return self._fields(schema, where, refs)
        if not isinstance(more, dict):
            raise RefusedError("an object must say what is in it: its fields, or the type of all its values", where)
        return self._entries(schema, where, refs)

    def _fields(self, schema: Schema, where: str, refs: tuple[str, ...]) -> Fields:
        nodes: dict[str, Node] = {
            name: self.build(field, f"{where}.{name}", refs) for name, field in schema["properties"].items()
        }
        return fields_of(nodes, set(schema.get("required", ())), _picked(schema, _ANNOTATIONS))

    def _entries(self, schema: Schema, where: str, refs: tuple[str, ...]) -> Node:
        key = self.build({"type": "string", **schema.get("propertyNames", {})}, f"{where}[key]", refs)
        value = self.build(schema["additionalProperties"], f"{where}[value]", refs)
        sizes = {"minProperties": "minItems", "maxProperties": "maxItems"}
        entries = {
            "type": "array",
            "items": _object({"key": key.schema, "value": value.schema}, {}),
            **{sizes[keyword]: schema[keyword] for keyword in sizes if keyword in schema},
        }
        return Entries(_object({"entries": entries}, _picked(schema, _ANNOTATIONS)), key, value)

    # --- arrays -------------------------------------------------------------------------------------

    def _of_array(self, schema: Schema, where: str, refs: tuple[str, ...]) -> Node:
        places, rest = schema.get("prefixItems"), schema.get("items")
        if places is not None:
            if isinstance(rest, dict):
                raise RefusedError("strict schemas have no arrays whose first items differ from the rest", where)
            return self._positions(schema, where, refs)
        if rest is False or schema.get("maxItems") == 0:
            raise RefusedError("an array that is always empty says nothing", where)
        item = self.build(rest, f"{where}[]", refs)
        about = {**_picked(schema, _ANNOTATIONS), "type": "array", "items": item.schema}
        return Items({**about, **_picked(schema, _OF_ARRAYS)}, item)

    def _positions(self, schema: Schema, where: str, refs: tuple[str, ...]) -> Node:
        places = schema["prefixItems"]
        names = list(self.names.get(schema.get("title", ""), ()))
        if len(names) != len(places):
            names = [f"item_{index}" for index in range(len(places))]
        nodes = {name: self.build(place, f"{where}[{i}]", refs) for i, (name, place) in enumerate(zip(names, places))}
        required = set(names[: schema.get("minItems", 0)])
        return Positions(fields_of(nodes, required, _picked(schema, _ANNOTATIONS)))


def fields_of(nodes: dict[str, Node], required: set[str], about: Schema) -> Fields:
    """The object of ``nodes``, where those that are not ``required`` may be null."""
    optional = [name for name, node in nodes.items() if name not in required and not node.takes_null]
    properties = {name: _or_null(node.schema) if name in optional else node.schema for name, node in nodes.items()}
    return Fields(_object(properties, about), nodes, frozenset(optional))


def _or_null(schema: Schema) -> Schema:
    if set(schema) <= {"anyOf", *_ANNOTATIONS}:
        return {**schema, "anyOf": [*schema["anyOf"], {"type": "null"}]}
    return {"anyOf": [schema, {"type": "null"}]}


# --- values without parts -------------------------------------------------------------------------------


def _leaf(schema: Schema, where: str) -> Leaf:
    found = _picked(schema, (*_ANNOTATIONS, *_CONSTRAINTS))
    if found.get("format", _FORMATS[0]) not in _FORMATS:
        del found["format"]
    if "type" not in found:
        values = found.get("enum", [found["const"]] if "const" in found else [])
        types = sorted({_type_of(value, where) for value in values})
        if not types:
            raise RefusedError("anything may stand here, and a strict schema must say what", where)
        found["type"] = types[0] if len(types) == 1 else types
    return Leaf(found)


def _type_of(value: Any, where: str) -> str:
    names = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}
    if type(value) not in names:
        raise RefusedError("only strings, numbers, booleans and null can be listed in a strict schema", where)
    return names[type(value)]
