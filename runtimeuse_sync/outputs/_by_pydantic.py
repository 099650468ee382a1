"""Output types that are or contain pydantic models, handled by pydantic, which a user of such a model has."""

from __future__ import annotations

import json
from typing import Any

import pydantic
from pydantic.errors import PydanticUserError

from ._faults import OWN_CHECK, FaultError
from ._nodes import Schema
from ._strict import Names

# Kinds of errors whose texts may quote what came; the kinds of users' own are not known here.
_QUOTING = ("value_error", "assertion_error", "get_attribute_error", "union_tag_invalid", "json_invalid")
_QUOTING_ENDS = ("_parsing", "_violation", "_encoding")

# Faults that are looked at, of all that an answer has.
MOST_FAULTS = 50


class ByPydantic:
    """A type as pydantic knows it, read strictly. Raises ``TypeError`` for one that has no schema.

    Attributes:
        schema: its JSON schema.
        names: of positions; pydantic has none.
    """

    def __init__(self, output_type: Any) -> None:
        self.names: Names = {}
        try:
            self._adapter = pydantic.TypeAdapter(output_type)
            self.schema: Schema = self._adapter.json_schema()
        except PydanticUserError as error:
            raise TypeError(f"output_type cannot be read from JSON: {error.message}") from None

    def convert(self, value: Any) -> Any:
        """``value`` as the type; raises ``FaultError``."""
        try:
            # From JSON, where strictness takes a date's text for a date.
            return self._adapter.validate_json(json.dumps(value), strict=True)
        except pydantic.ValidationError as error:
            # Of a union, each branch complains.
            first, *others = map(_fault, error.errors(include_url=False, include_context=False)[:MOST_FAULTS])
        first.others = others
        raise first


def _fault(error: Any) -> FaultError:
    kind, text = error["type"], error["msg"]
    is_own_check = kind in _QUOTING or kind.endswith(_QUOTING_ENDS) or not _is_pydantics(kind)
    return FaultError(OWN_CHECK if is_own_check else text, error["loc"], text if is_own_check else None)


def _is_pydantics(kind: str) -> bool:
    from typing import get_args

    from pydantic_core.core_schema import ErrorType

    return kind in get_args(ErrorType)
