"""One output type: the schema that is sent, and how the answer to it is read."""

from __future__ import annotations

import json
from typing import Any, Protocol, Union, get_args

from .. import OutputValidationError, ResultMessageInterface, StructuredOutputResult
from ._faults import FaultError, UnfitError
from ._nodes import Node, Schema, Wrapped
from ._strict import Names, RefusedError, strict


class Kind(Protocol):
    """The interface to a library that handles an output type."""

    schema: Schema
    names: Names

    def convert(self, value: Any) -> Any:
        """``value`` as the type; raises ``FaultError``."""


class Output:
    """An output type, ready to be asked for.

    Raises:
        TypeError, ValueError: for what is no type, or has no strict schema; says why.
        ImportError: the extra ``typed`` is not installed.

    >>> Output(list[int]).schema["properties"]
    {'value': {'type': 'array', 'items': {'type': 'integer'}}}
    """

    def __init__(self, output_type: Any) -> None:
        self._kind = _kind_of(output_type)
        try:
            self._node: Union[Node, Wrapped] = strict(self._kind.schema, self._kind.names)
        except RefusedError as error:
            refusal = ValueError if isinstance(output_type, dict) else TypeError
            raise refusal(f"output_type cannot be asked for: {error}") from None

    @property
    def schema(self) -> Schema:
        """The schema that is sent."""
        return self._node.schema

    @property
    def text(self) -> str:
        """The schema as the JSON text that is sent."""
        return json.dumps({"type": "json_schema", "schema": self.schema}, allow_nan=False)

    def read(self, result: ResultMessageInterface[Any]) -> Any:
        """The answer as the type; raises ``OutputValidationError``."""
        try:
            return self._read(result.data)
        except UnfitError as error:
            fault = OutputValidationError(message=error.message, path=error.path, result=result, detail=error.detail)
        raise fault  # without a context: that would be the validator's error, which quotes the answer

    def _read(self, data: Any) -> Any:
        if not isinstance(data, StructuredOutputResult):
            raise UnfitError("Expected structured output, got text", "$")
        answer = data.structured_output
        value = self._node.decode(answer, "$")
        try:
            return self._kind.convert(value)
        except FaultError as error:
            located = [(self._node.locate(one.steps, answer), one) for one in (error, *error.others)]
        path, fault = max(located, key=lambda found: len(found[0]))
        raise UnfitError(fault.message, f"${path}", fault.detail)


def _kind_of(output_type: Any) -> Kind:
    """The library that handles a type. Each is imported only for its own types."""
    if isinstance(output_type, dict):
        from ._by_schema import BySchema

        return BySchema(output_type)
    if _is_pydantic(output_type):
        from ._by_pydantic import ByPydantic

        return ByPydantic(output_type)
    from ._by_msgspec import ByMsgspec

    return ByMsgspec(output_type)


def _is_pydantic(output_type: Any) -> bool:
    """Whether it is a model, or has one in its brackets."""
    if hasattr(output_type, "__pydantic_core_schema__") or hasattr(output_type, "__pydantic_validator__"):
        return True
    if isinstance(output_type, type) and hasattr(output_type, "__get_validators__"):
        raise TypeError("output_type is a model of pydantic 1, which has no strict reading: make it one of pydantic 2")
    return any(_is_pydantic(part) for part in get_args(output_type))
