"""Answers of a type: what ``output_type`` of the calls does.

From the outside in:

| module | its one job |
|---|---|
| ``_asking`` | an invocation with an output type, and what asks again |
| ``_output`` | one output type: its schema, and the reading of an answer |
| ``_by_msgspec``, ``_by_pydantic``, ``_by_schema`` | what each library knows of a type |
| ``_strict`` | a JSON schema -> the strict one that is sent |
| ``_nodes`` | what one place of a strict schema says, and what an answer there stands for |
| ``_faults`` | what is wrong with an answer, and where |
"""

from __future__ import annotations

from typing import Any

from ._asking import Asking
from ._output import Output

__all__ = ["Asking", "output_schema"]


def output_schema(output_type: Any) -> dict[str, Any]:
    """The JSON schema that is sent for an ``output_type``: strict, with an object at its root.

    Raises:
        TypeError, ValueError: for a type that cannot be asked for; says why.
        ImportError: the extra ``typed`` is not installed.

    >>> from typing import TypedDict
    >>> class Stats(TypedDict):
    ...     files: int
    >>> output_schema(Stats)["properties"]
    {'files': {'type': 'integer'}}
    """
    return Output(output_type).schema
