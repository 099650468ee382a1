"""Strict conversion of parsed JSON to attrs classes. The only module that uses cattrs.

cattrs by itself converts None to ``"None"`` and ``"false"`` to True; the hooks here refuse a value of another type.
There are two converters: a fast one, which does not say where an error is, and one whose errors have a path. The
second is used only after the first has failed.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Callable, Literal, Optional, TypeVar, Union, cast, get_args

import attrs
import cattrs.errors
from cattrs import Converter, StructureHandlerNotFoundError, transform_error
from cattrs.cols import list_structure_factory
from cattrs.gen import make_dict_structure_fn_from_attrs, override

from .. import messages as m
from .._common.words import harmless

T = TypeVar("T")
Hook = Callable[[Any, Any], Any]

# Characters of an error text. It includes keys of mappings, which a peer may have chosen.
_LONGEST_FAULT = 300
_MISSING = "required field missing"
# The exceptions that mean that a value does not fit: raised by the hooks, or by cattrs.
_UNFIT: tuple[type[Exception], ...] = (
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    *(
        error
        for error in vars(cattrs.errors).values()
        if isinstance(error, type) and issubclass(error, Exception) and error is not StructureHandlerNotFoundError
    ),
)


class _MismatchError(ValueError):
    """A value of the wrong type. Its text names the types, never the value, which may be a secret."""

    def __init__(self, expected: str, value: object) -> None:
        super().__init__(f"expected {expected}, got {_json_type(value)}")


def _json_type(value: object) -> str:
    names: dict[type, str] = {
        dict: "an object",
        list: "an array",
        str: "a string",
        bool: "a boolean",
        type(None): "null",
    }
    return names.get(type(value), "a number")


def _exactly(kind: type, name: str) -> Hook:
    def structure(value: Any, _: object) -> Any:
        if type(value) is kind:
            return value
        raise _MismatchError(name, value)

    return structure


def _number(value: Any, _: object) -> Union[int, float]:
    if type(value) is float or type(value) is int:
        return cast("float", value)
    raise _MismatchError("a number", value)


def _string_map(value: Any, _: object) -> dict[str, str]:
    for item in _exactly(dict, "an object")(value, _).values():
        _exactly(str, "a string")(item, _)
    return cast("dict[str, str]", value)


def _guarded(kind: type, name: str, hook: Hook) -> Hook:
    """``hook``, restricted to values of ``kind``: cattrs would accept anything that has the right methods."""

    def structure(value: Any, cls: Any) -> Any:
        if type(value) is kind:
            return hook(value, cls)
        raise _MismatchError(name, value)

    return structure


@attrs.frozen
class Tagged:
    """The field that every message has."""

    message_type: str


@attrs.frozen
class StructuredOutputOf04:
    """A result as runtimes up to 0.4 send it."""

    structured_output: dict[str, Any]


_Tag = Literal["text", "structured_output"]


def _tag_of_data(value: Any, _: object) -> str:
    if type(value) is str and value in get_args(_Tag):
        return value
    raise _MismatchError("'text' or 'structured_output'", value)


@attrs.frozen
class _DataTag:
    type: _Tag


def _is_list(cls: Any) -> bool:
    return getattr(cls, "__origin__", None) is list


def configure(*, explain: bool) -> Converter:
    """Make a converter with strict hooks; with ``explain``, its errors have a path."""
    converter = Converter(detailed_validation=explain)
    converter.register_structure_hook(str, _exactly(str, "a string"))
    converter.register_structure_hook(int, _exactly(int, "an integer"))
    converter.register_structure_hook(bool, _exactly(bool, "a boolean"))
    converter.register_structure_hook(float, _number)
    converter.register_structure_hook_func(lambda cls: cls == _Tag, _tag_of_data)
    converter.register_structure_hook_func(lambda cls: cls == dict[str, str], _string_map)
    converter.register_structure_hook_func(lambda cls: cls == dict[str, Any], _exactly(dict, "an object"))
    converter.register_structure_hook_factory(
        _is_list, lambda cls: _guarded(list, "an array", list_structure_factory(cls, converter))
    )
    converter.register_structure_hook_factory(
        lambda cls: isinstance(cls, type) and attrs.has(cls),
        lambda cls: _guarded(dict, "an object", _object_hook(cls, converter)),
    )

    def result_data(value: Any, _: object) -> m.ResultData:
        tag = converter.structure(value, _DataTag).type
        cls: type[Any] = m.TextResult if tag == "text" else m.StructuredOutputResult
        return cast("m.ResultData", converter.structure(value, cls))

    converter.register_structure_hook_func(lambda cls: cls == m.ResultData, result_data)
    return converter


def _object_hook(cls: type, converter: Converter) -> Hook:
    attrs.resolve_types(cls)
    # A tag is a constant. Leaving it out, for the class's default, saves one string for each message.
    omitted: Any = {a.name: override(omit=True) for a in attrs.fields(cls) if _is_tag(a, cls)}
    # cattrs passes arguments in the order of the fields, so keyword-only ones have to come last; a subclass may have
    # added positional fields after them.
    fields = sorted(attrs.fields(cls), key=lambda a: a.kw_only)
    # A result class is generic in the type of its ``output``, which is not a field: any type will do.
    type_arguments: dict[str, Any] = {parameter.__name__: Any for parameter in getattr(cls, "__parameters__", ())}
    return cast("Hook", make_dict_structure_fn_from_attrs(fields, cls, converter, type_arguments, **omitted))


def _is_tag(field: attrs.Attribute[Any], cls: type) -> bool:
    if field.metadata.get("is_tag"):
        return True
    # A subclass of a message class may have another default; in any other class the name has no special meaning.
    is_message = issubclass(cls, m.AgentRuntimeMessageInterface)
    return is_message and field.name == "message_type" and field.default is not attrs.NOTHING


@lru_cache(maxsize=2)
def _converter(*, explain: bool) -> Converter:
    return configure(explain=explain)


def compiled_hook(cls: type) -> Hook:
    """A compiled function that converts a dict to ``cls``, fast; any exception means that the dict does not fit.

    Raises ``TypeError`` for a class with a field type that cannot be read from JSON.
    """
    try:
        return _object_hook(cls, _converter(explain=False))
    except StructureHandlerNotFoundError as error:
        raise _not_readable(cls, error) from None
    except NameError as error:
        raise TypeError(f"{cls.__name__} has an annotation that cannot be resolved: {error}") from None


def _not_readable(cls: type, error: StructureHandlerNotFoundError) -> TypeError:
    return TypeError(f"{cls.__name__} has a field whose type cannot be read from JSON: {error.type_}")


class UnfitError(Exception):
    """Parsed JSON does not fit the class; the text says what is wrong, and where."""


def structure(fields: Any, cls: type[T]) -> T:
    """Convert ``fields`` to ``cls``; raises ``UnfitError``."""
    try:
        return _converter(explain=False).structure(fields, cls)
    except StructureHandlerNotFoundError as error:
        raise _not_readable(cls, error) from None
    except _UNFIT:  # no other: on the caller's thread, a signal handler may raise one
        pass
    try:
        return _converter(explain=True).structure(fields, cls)
    except _UNFIT as error:
        fault = transform_error(error, format_exception=_describe)[0].replace(" @ ", " at ")
        raise UnfitError(harmless(fault, _LONGEST_FAULT)) from None


def _describe(error: BaseException, _: Optional[type]) -> str:
    if not isinstance(error, _UNFIT):
        raise error  # cattrs also collects exceptions that say nothing about the value
    if isinstance(error, _MismatchError):
        return str(error)
    return _MISSING if isinstance(error, KeyError) else "a value that this field does not take"
