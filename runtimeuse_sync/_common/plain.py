"""Conversion of messages and results to and from plain data, for JSON, task queues and web frameworks."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Callable, TypeVar

import attrs

PlainT = TypeVar("PlainT", bound="Plain")
Reader = Callable[[type, Mapping[str, Any]], Any]
_readers: list[Reader] = []


def read_with(reader: Reader) -> Reader:
    """Set the function that ``from_dict`` calls. Set later, since its module imports the classes with the method."""
    _readers[:] = [reader]
    return reader


class Plain:
    """A base class with ``to_dict`` and ``from_dict``."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as dicts, lists, strings, numbers and None, ready for ``json.dumps``.

        It includes environments, secrets and presigned URLs, although ``repr`` hides them.

        >>> from runtimeuse_sync import QueryResult, TextResult
        >>> QueryResult(data=TextResult(text="done")).to_dict()
        {'data': {'text': 'done', 'type': 'text'}, 'metadata': None}
        """
        return attrs.asdict(self, value_serializer=_serialized)  # type: ignore[arg-type]

    # An alias of ``to_dict`` that kombu's encoder (Celery's JSON) and others call for objects of unknown classes.
    __json__ = to_dict

    @classmethod
    def from_dict(cls: type[PlainT], fields: Mapping[str, Any]) -> PlainT:
        """Make an equal object from what ``to_dict`` returned, also if it went through JSON. Unknown keys are ignored.

        Raises:
            ValueError: if ``fields`` do not fit this class; it names the field, and does not quote its value.

        >>> from runtimeuse_sync import QueryResult
        >>> QueryResult.from_dict({"data": {"type": "text", "text": "done"}})
        QueryResult(data=TextResult(text='done'), metadata=None)
        """
        result: PlainT = _readers[0](cls, fields)
        return result

    def _repr_html_(self) -> str:
        """The HTML that a notebook shows: the fields of ``repr`` as a table."""
        from ..notebook import _html

        return _html.of_fields(self)


def _serialized(_: object, __: object, value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value
