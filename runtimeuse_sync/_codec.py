"""Payload <-> message: the only module that knows json and cattrs, and both spellings of the wire.

Decoding has two speeds. The fast path runs compiled hooks that stop at the first fault without saying where;
only when one of them fails is the payload structured again, by hooks that keep a path for the error.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any, Callable, Literal, NoReturn, Optional, TypeVar, Union, cast, get_args

import attrs
from cattrs import BaseValidationError, Converter, transform_error
from cattrs.cols import list_structure_factory
from cattrs.gen import make_dict_structure_fn, override

from . import messages as m
from .exceptions import ProtocolError

ResultT = TypeVar("ResultT", bound=m.ResultMessageInterface)
Fields = dict[str, Any]
Hook = Callable[[Any, Any], Any]

# RFC 6455, section 7.4.1: the payload is not what its type promises.
_BAD_PAYLOAD = 1007

# How runtime 0.4 spelled what 0.5 and later call by another name. Both are written: runtimes ignore fields
# that they do not know, and nothing tells a client which runtime it has.
_OLD_NAMES = {
    "model": "preferred_model",
    "pre_agent_downloadables": "runtime_environment_downloadables",
}


@attrs.frozen
class RawResult:
    """A ``result_message`` before it is known which class the caller wants it to be."""

    fields: Fields = attrs.field(repr=False)


@attrs.frozen
class UnknownMessage:
    """A message of a type that this version does not know: runtimes grow."""

    message_type: str


RuntimeMessage = Union[m.AgentRuntimeMessageInterface, RawResult, UnknownMessage]


# --- strict hooks: cattrs by itself turns None into "None" and "false" into True ----------------------


class _MismatchError(ValueError):
    """A value of the wrong type. Says the types, never the value: it may be a secret."""

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
    """``hook``, for values of ``kind`` alone: cattrs takes whatever has the right methods."""

    def structure(value: Any, cls: Any) -> Any:
        if type(value) is kind:
            return hook(value, cls)
        raise _MismatchError(name, value)

    return structure


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
    """A converter with strict hooks; with ``explain``, one whose errors know their path."""
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
    # A tag is a constant: leaving it to the class's default spares a string for each message.
    constants = [
        a.name for a in attrs.fields(cls) if a.name in ("message_type", "type") and a.default is not attrs.NOTHING
    ]
    omitted: Any = {name: override(omit=True) for name in constants}
    return cast("Hook", make_dict_structure_fn(cls, converter, **omitted))


@lru_cache(maxsize=2)
def _converter(*, explain: bool) -> Converter:
    return configure(explain=explain)


# --- payload -> message -----------------------------------------------------------------------------


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_scan = json.JSONDecoder(parse_constant=_no_constant)


def _parse_strictly(payload: bytes) -> Any:
    try:
        return _scan.decode(payload.decode())
    except UnicodeDecodeError as error:
        raise ProtocolError(f"invalid UTF-8 at byte {error.start} of a message", close_code=_BAD_PAYLOAD) from None
    except json.JSONDecodeError as error:
        raise ProtocolError(f"not JSON: {error.msg} at character {error.pos}", close_code=_BAD_PAYLOAD) from None
    except (ValueError, RecursionError) as error:
        # A number of too many digits, NaN, or more brackets than the parser has stack for.
        raise ProtocolError(f"not acceptable as JSON: {type(error).__name__}", close_code=_BAD_PAYLOAD) from None


try:
    import orjson
except ImportError:
    _parse = _parse_strictly
else:

    def _parse(payload: bytes) -> Any:
        try:
            return orjson.loads(payload)
        except orjson.JSONDecodeError:
            # Stricter in places (lone surrogates, depth): what counts is the standard library's verdict.
            return _parse_strictly(payload)


def _tag(cls: type) -> str:
    return cast("str", attrs.fields_dict(cls)["message_type"].default)


class _Kinds(dict[str, Hook]):
    """``message_type`` -> compiled hook, each compiled when it is first needed."""

    def __init__(self, classes: tuple[type, ...]) -> None:
        super().__init__()
        self.classes = {_tag(cls): cls for cls in classes}

    def __missing__(self, message_type: str) -> Hook:
        hook = _object_hook(self.classes[message_type], _converter(explain=False))
        self[message_type] = hook
        return hook


_FROM_RUNTIME = _Kinds(
    (
        m.AssistantMessageInterface,
        m.CommandOutputMessageInterface,
        m.HeartbeatMessageInterface,
        m.ArtifactUploadRequestMessageInterface,
        m.ErrorMessageInterface,
        m.EndSessionConfirmMessage,
        m.CommandExecutionResultMessageInterface,
    )
)
_FROM_RUNTIME["result_message"] = lambda fields, _: RawResult(fields)

_FROM_CLIENT = _Kinds(
    (
        m.InvocationMessage,
        m.CommandExecutionMessage,
        m.ArtifactUploadResponseMessageInterface,
        m.CancelMessage,
        m.EndSessionMessage,
    )
)


def decode_runtime_message(payload: bytes) -> RuntimeMessage:
    """The message that a runtime sent as ``payload``; raises ``ProtocolError``."""
    fields = _parse(payload)
    try:
        return cast("RuntimeMessage", _FROM_RUNTIME[fields["message_type"]](fields, None))
    except Exception:  # noqa: BLE001 - whatever the fast path tripped over, the slow path names it
        return cast("RuntimeMessage", _decode_slowly(fields, _FROM_RUNTIME))


def decode_client_message(payload: bytes) -> Union[m.ClientMessage, UnknownMessage]:
    """The message that a client sent as ``payload``, in either spelling; raises ``ProtocolError``."""
    fields = _parse(payload)
    if type(fields) is dict:
        fields = _with_new_names(fields)
    return cast("Union[m.ClientMessage, UnknownMessage]", _decode_slowly(fields, _FROM_CLIENT))


def _decode_slowly(fields: Any, kinds: _Kinds) -> Any:
    if type(fields) is not dict:
        raise ProtocolError(f"expected an object, got {_json_type(fields)} at $", close_code=_BAD_PAYLOAD)
    message_type = fields.get("message_type")
    if type(message_type) is not str:
        fault = f"expected a string, got {_json_type(message_type)}" if "message_type" in fields else _MISSING
        raise ProtocolError(f"{fault} at $.message_type", close_code=_BAD_PAYLOAD)
    if message_type not in kinds.classes:
        return UnknownMessage(message_type)
    return _structure(fields, kinds.classes[message_type])


_MISSING = "required field missing"
# What hooks raise for a value that does not fit.
_FAULTS = (ValueError, TypeError, KeyError, AttributeError)


def _structure(fields: Fields, cls: type) -> Any:
    """``fields`` as ``cls``, or a ``ProtocolError`` that says which field is wrong and how."""
    try:
        return _converter(explain=False).structure(fields, cls)
    except _FAULTS:  # and nothing else: on the caller's thread it could be a signal handler's
        pass
    try:
        return _converter(explain=True).structure(fields, cls)
    except (*_FAULTS, BaseValidationError) as error:
        fault = transform_error(error, format_exception=_describe)[0].replace(" @ ", " at ")
        raise ProtocolError(f"{_tag(cls)}: {fault}", close_code=_BAD_PAYLOAD) from None


def _describe(error: BaseException, _: Optional[type]) -> str:
    if not isinstance(error, _FAULTS):
        raise error  # cattrs collects whatever is raised while it structures
    if isinstance(error, _MismatchError):
        return str(error)
    return _MISSING if isinstance(error, KeyError) else "a value that this field does not take"


def structure_result(result: RawResult, cls: type[ResultT]) -> ResultT:
    """The result as the class that the caller asked for; raises ``ProtocolError``."""
    fields = result.fields
    if "data" in fields or "structured_output" not in fields:
        return cast("ResultT", _structure(fields, cls))
    output = fields["structured_output"]
    if type(output) is not dict:
        fault = f"expected an object, got {_json_type(output)} at $.structured_output"
        raise ProtocolError(f"result_message: {fault}", close_code=_BAD_PAYLOAD)
    data = {"type": "structured_output", "structured_output": output}
    return cast("ResultT", _structure({**fields, "data": data}, cls))


# --- message -> payload -----------------------------------------------------------------------------


def encode(message: Any) -> bytes:
    """``message`` as JSON. A field that is None is left out: ``null`` broke some releases."""
    fields = attrs.asdict(message, filter=lambda _, value: value is not None)
    if isinstance(message, (m.InvocationMessage, m.CommandExecutionMessage)):
        fields = _with_old_names(fields)
    return json.dumps(fields, separators=(",", ":"), allow_nan=False).encode()


def _with_old_names(fields: Fields) -> Fields:
    old = {old: fields[new] for new, old in _OLD_NAMES.items() if new in fields}
    directories: Any = fields.get("artifacts_dirs") or []
    if len(directories) == 1:
        old["artifacts_dir"] = directories[0]
    return {**fields, **old}


def _with_new_names(fields: Fields) -> Fields:
    new = {new: fields[old] for new, old in _OLD_NAMES.items() if old in fields and new not in fields}
    if "artifacts_dir" in fields and "artifacts_dirs" not in fields:
        new["artifacts_dirs"] = [fields["artifacts_dir"]]
    return {**fields, **new}
