"""Messages and results as plain data: what JSON, a task queue or a web framework can carry."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Callable, TypeVar

import attrs

PlainT = TypeVar("PlainT", bound="Plain")
Reader = Callable[[type, Mapping[str, Any]], Any]
_readers: list[Reader] = []


def read_with(reader: Reader) -> Reader:
    """Make ``reader`` what ``from_dict`` reads with: it stands above the classes that have the method."""
    _readers[:] = [reader]
    return reader


class Plain:
    """Has ``to_dict`` and ``from_dict``."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """All fields as dicts, lists, strings, numbers and None, ready for ``json.dumps``.

        It is your data, complete: environments, secrets and presigned URLs are in it, though ``repr`` hides them.

        >>> from runtimeuse_sync import QueryResult, TextResult
        >>> QueryResult(data=TextResult(text="done")).to_dict()
        {'data': {'text': 'done', 'type': 'text'}, 'metadata': None}
        """
        return attrs.asdict(self, value_serializer=_serialized)  # type: ignore[arg-type]

    # By this name, kombu's encoder (Celery's JSON) and others ask an object that they do not know for what JSON has.
    __json__ = to_dict

    @classmethod
    def from_dict(cls: type[PlainT], fields: Mapping[str, Any]) -> PlainT:
        """An equal one of what ``to_dict`` gave, before or after its way through JSON. Unknown keys are skipped.

        Raises:
            ValueError: if ``fields`` are not those of this class; says which one, and not what it holds.

        >>> from runtimeuse_sync import QueryResult
        >>> QueryResult.from_dict({"data": {"type": "text", "text": "done"}})
        QueryResult(data=TextResult(text='done'), metadata=None)
        """
        result: PlainT = _readers[0](cls, fields)
        return result

    def _repr_html_(self) -> str:
        """What a notebook shows: the fields of ``repr`` as a table."""
        from ..notebook import _html

        return _html.of_fields(self)


def _serialized(_: object, __: object, value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value
