"""Encoding and decoding of messages. Only this module uses ``json``, and knows the old field names of runtime 0.4.

``structuring`` is imported where the first message needs it: cattrs takes a third of the time that all the rest
of this package takes to import.
"""

from __future__ import annotations

import json
from typing import Any, Callable, NoReturn, TypeVar, Union, cast

import attrs

from .. import messages as m
from .._common.plain import read_with
from .._common.validation import kind
from .._common.words import harmless
from ..exceptions import ProtocolError
from .nesting import is_too_deep

T = TypeVar("T")
ResultT = TypeVar("ResultT", bound=m.ResultMessageInterface)
Fields = dict[str, Any]
Hook = Callable[[Any, Any], Any]

# The close code for a payload that is not valid for its type (RFC 6455, section 7.4.1).
_BAD_PAYLOAD = 1007

# Field names since runtime 0.5, and those of 0.4. Both are sent: runtimes ignore fields that they do not know, and a
# client cannot tell which version it talks to.
_OLD_NAMES = {
    "model": "preferred_model",
    "pre_agent_downloadables": "runtime_environment_downloadables",
}


@attrs.frozen
class RawResult:
    """A ``result_message`` that is not yet converted to the caller's result class, which this module does not know.

    Attributes:
        fields (dict): the JSON object as received. Not in ``repr``.

    >>> RawResult({"message_type": "result_message", "data": {"type": "text", "text": "hi"}})
    RawResult()
    """

    fields: Fields = attrs.field(repr=False)


# Characters that are kept of an unknown message type.
_LONGEST_TYPE = 60


def _short(message_type: str) -> str:
    return harmless(message_type, _LONGEST_TYPE)


@attrs.frozen
class UnknownMessage:
    """A message of a type that this version does not know: a newer runtime may send it.

    Attributes:
        message_type (str): the beginning of its type, 60 characters, without control characters.

    >>> UnknownMessage("telemetry_message")
    UnknownMessage(message_type='telemetry_message')
    """

    message_type: str = attrs.field(converter=_short)


Payload = Union[bytes, bytearray]
RuntimeMessage = Union[m.AgentRuntimeMessageInterface, RawResult, UnknownMessage]


# --- payload -> message -----------------------------------------------------------------------------


def _no_constant(name: str) -> NoReturn:
    raise ProtocolError(f"not acceptable as JSON: {name}", close_code=_BAD_PAYLOAD)


_decoder = json.JSONDecoder(parse_constant=_no_constant)
_scan: Callable[[str, int], tuple[Any, int]] = _decoder.scan_once  # type: ignore[attr-defined] # not in typeshed


def _too_deep() -> ProtocolError:
    return ProtocolError("not acceptable as JSON: brackets nested too deep", close_code=_BAD_PAYLOAD)


def _parse_strictly(payload: Payload) -> Any:
    if is_too_deep(payload):
        raise _too_deep()
    try:
        return _parse_text(payload.decode())
    except UnicodeDecodeError as error:
        raise ProtocolError(f"invalid UTF-8 at byte {error.start} of a message", close_code=_BAD_PAYLOAD) from None
    except json.JSONDecodeError as error:
        raise ProtocolError(f"not JSON: {error.msg} at character {error.pos}", close_code=_BAD_PAYLOAD) from None
    except ValueError:
        raise ProtocolError("not acceptable as JSON: a number of too many digits", close_code=_BAD_PAYLOAD) from None
    except RecursionError:  # a safety net: the stack may be nearly used up by the caller
        raise _too_deep() from None


def _parse_text(text: str) -> Any:
    # As JSONDecoder.decode, but without skipping white space, which takes two regular expressions a message.
    try:
        value, end = _scan(text, 0)
    except StopIteration:
        return _decoder.decode(text)
    return value if end == len(text) else _decoder.decode(text)


try:
    import orjson
except ImportError:
    _parse = _parse_strictly
else:

    def _parse(payload: Payload) -> Any:
        if is_too_deep(payload):
            raise _too_deep()
        try:
            return orjson.loads(payload)
        except orjson.JSONDecodeError:
            # orjson refuses more (lone surrogates), so the standard library decides.
            return _parse_strictly(payload)


def _tag(cls: type) -> str:
    return cast("str", attrs.fields_dict(cls)["message_type"].default)


class _Kinds(dict[str, Hook]):
    """A dict from ``message_type`` to the compiled hook of its class; each is compiled at its first use."""

    def __init__(self, classes: tuple[type, ...]) -> None:
        self.classes = {_tag(cls): cls for cls in classes}

    def __missing__(self, message_type: str) -> Hook:
        from .structuring import compiled_hook

        hook = compiled_hook(self.classes[message_type])
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


def _raw_result(fields: Fields, _: object) -> RawResult:
    # Imported for the caller, who needs it next: on this, the connection thread, no signal can interrupt the import.
    from . import structuring as structuring

    return RawResult(fields)


_FROM_RUNTIME["result_message"] = _raw_result

_FROM_CLIENT = _Kinds(
    (
        m.InvocationMessage,
        m.CommandExecutionMessage,
        m.ArtifactUploadResponseMessageInterface,
        m.CancelMessage,
        m.EndSessionMessage,
    )
)


def decode_runtime_message(payload: Payload) -> RuntimeMessage:
    """Decode a message sent by a runtime; raises ``ProtocolError``."""
    fields = _parse(payload)
    try:
        message: RuntimeMessage = _FROM_RUNTIME[fields["message_type"]](fields, None)
    except Exception:  # noqa: BLE001 - whatever the fast path tripped over, the slow path names it
        message = _decode_slowly(fields, _FROM_RUNTIME)
    return message


def decode_client_message(payload: Payload) -> Union[m.ClientMessage, UnknownMessage]:
    """Decode a message sent by a client, with old or new field names; raises ``ProtocolError``."""
    fields = _parse(payload)
    if type(fields) is dict:
        fields = _with_new_names(fields)
    return cast("Union[m.ClientMessage, UnknownMessage]", _decode_slowly(fields, _FROM_CLIENT))


def _decode_slowly(fields: Any, kinds: _Kinds) -> Any:
    from .structuring import Tagged

    message_type = _structure(fields, Tagged).message_type
    cls = kinds.classes.get(message_type)
    return UnknownMessage(message_type) if cls is None else _structure(fields, cls, message_type)


def _structure(fields: Any, cls: type[T], name: str = "") -> T:
    """Convert ``fields`` to ``cls``; raises a ``ProtocolError`` that says which field is wrong and how."""
    from .structuring import UnfitError, structure

    try:
        return structure(fields, cls)
    except UnfitError as error:
        fault = f"{name}: {error}" if name else str(error)
        raise ProtocolError(fault, close_code=_BAD_PAYLOAD) from None


def check_readable(cls: type[m.ResultMessageInterface]) -> None:
    """Raise ``TypeError`` for a class with a field type that cannot be read from JSON."""
    from .structuring import compiled_hook

    compiled_hook(cls)


def structure_result(result: RawResult, cls: type[ResultT]) -> ResultT:
    """Convert a result to the class that the caller asked for; raises ``ProtocolError``."""
    from .structuring import StructuredOutputOf04

    fields = result.fields
    if "data" not in fields and "structured_output" in fields:
        output = _structure(fields, StructuredOutputOf04, "result_message").structured_output
        fields = {**fields, "data": {"type": "structured_output", "structured_output": output}}
    return _structure(fields, cls, _tag(cls))


@read_with
def _read_plain(cls: type, fields: Any) -> Any:
    """The implementation of ``from_dict`` for ``cls``."""
    from .structuring import UnfitError, structure

    if type(fields) is not dict:
        raise ValueError(f"{cls.__name__}.from_dict needs a dict; got {kind(fields)}")
    tag = attrs.fields_dict(cls)["message_type"].default if "message_type" in attrs.fields_dict(cls) else None
    if isinstance(tag, str) and fields.get("message_type", tag) != tag:
        raise ValueError(f"{cls.__name__}.from_dict was given a message of another type than {tag}")
    try:
        return structure(fields, cls)
    except UnfitError as error:
        raise ValueError(f"{cls.__name__}: {error}") from None


# --- message -> payload -----------------------------------------------------------------------------

_to_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def encode(message: Any) -> bytes:
    """Encode ``message`` as JSON. A field that is None is left out: some releases fail on ``null``."""
    return _to_json(_fields(message)).encode()


def encode_whatever_came(message: Any) -> bytes:
    """Encode a message that a peer sent: a number too large for a float, such as 1e999, becomes ``"Infinity"``."""
    fields = _fields(message)
    try:
        return _to_json(fields).encode()
    except ValueError:
        return _to_json(json.loads(json.dumps(fields), parse_constant=str)).encode()


def _fields(message: Any) -> Fields:
    if isinstance(message, RawResult):
        return message.fields
    fields = attrs.asdict(message, filter=lambda _, value: value is not None)
    is_request = isinstance(message, (m.InvocationMessage, m.CommandExecutionMessage))
    return _with_old_names(fields) if is_request else fields


def _with_old_names(fields: Fields) -> Fields:
    old = {old: fields[new] for new, old in _OLD_NAMES.items() if new in fields}
    directories: Any = fields.get("artifacts_dirs") or []
    if len(directories) == 1:
        old["artifacts_dir"] = directories[0]
    return {**fields, **old}


def _with_new_names(fields: Fields) -> Fields:
    # The client of 0.4 writes null for a field that is not set.
    new = {new: fields[old] for new, old in _OLD_NAMES.items() if old in fields and new not in fields}
    if fields.get("artifacts_dir") is not None and "artifacts_dirs" not in fields:
        new["artifacts_dirs"] = [fields["artifacts_dir"]]
    return {**fields, **new}
