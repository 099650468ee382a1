"""Payload <-> message: both spellings of the wire, and for every bad payload a ``ProtocolError`` that says where."""

from __future__ import annotations

import contextlib
import enum
import importlib.util
import json
import random
import re
import sys
import traceback
import tracemalloc
from collections.abc import Iterator
from typing import Any, Optional, Union
from unittest import mock

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

import runtimeuse_sync
from runtimeuse_sync import messages as m
from runtimeuse_sync._common.plain import Plain
from runtimeuse_sync._protocol import codec as _codec
from runtimeuse_sync._protocol import structuring as _structuring
from runtimeuse_sync._protocol.codec import (
    RawResult,
    UnknownMessage,
    check_readable,
    decode_client_message,
    decode_runtime_message,
    encode,
    structure_result,
)
from runtimeuse_sync._protocol.frames import FrameDecoder
from runtimeuse_sync.exceptions import ProtocolError, RuntimeUseError
from runtimeuse_sync.usage import Usage

# The parser that the module found, and its own. Without orjson they are the same one.
PARSERS = {"orjson": _codec._parse, "json": _codec._parse_strictly}
if _codec._parse is _codec._parse_strictly:
    del PARSERS["orjson"]


@pytest.fixture(autouse=True, scope="module", params=PARSERS)
def parser(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every test runs with either parser."""
    with mock.patch.object(_codec, "_parse", PARSERS[request.param]):
        yield request.param


def payload_of(message_type: str, fields: dict[str, Any]) -> bytes:
    return json.dumps({"message_type": message_type, **fields}).encode()


SECRET = "s3cret"


def refusal_of(decode: Any, *args: Any) -> str:
    """What is said of bad content: nothing of the content itself, and the same code for all of it."""
    with pytest.raises(ProtocolError) as caught:
        decode(*args)
    error = caught.value
    assert type(error) is ProtocolError
    assert error.__dict__ == {"close_code": 1007}
    assert SECRET not in repr(error) + "".join(traceback.format_exception(type(error), error, error.__traceback__))
    return str(error)


def runtime_refusal(message_type: str, fields: dict[str, Any]) -> str:
    return refusal_of(decode_runtime_message, payload_of(message_type, fields))


def client_refusal(message_type: str, fields: dict[str, Any]) -> str:
    return refusal_of(decode_client_message, payload_of(message_type, fields))


# --- what the runtime sends -----------------------------------------------------------------------------

FROM_RUNTIME: list[tuple[str, dict[str, Any], Any]] = [
    ("assistant_message", {"text_blocks": ["a", ""]}, m.AssistantMessageInterface(text_blocks=["a", ""])),
    ("assistant_message", {"text_blocks": []}, m.AssistantMessageInterface(text_blocks=[])),
    (
        "command_output_message",
        {"stream": "stderr", "text": "é\n", "command": "make"},
        m.CommandOutputMessageInterface(stream="stderr", text="é\n", command="make"),
    ),
    (
        "heartbeat_message",
        {"phase": "agent", "elapsed_ms": 15000},
        m.HeartbeatMessageInterface(phase="agent", elapsed_ms=15000),
    ),
    ("heartbeat_message", {"phase": "", "elapsed_ms": 0.5}, m.HeartbeatMessageInterface(phase="", elapsed_ms=0.5)),
    (
        "artifact_upload_request_message",
        {"filename": "a.txt", "filepath": "/out/a.txt"},
        m.ArtifactUploadRequestMessageInterface(filename="a.txt", filepath="/out/a.txt"),
    ),
    ("error_message", {"error": "boom"}, m.ErrorMessageInterface(error="boom")),
    ("error_message", {"error": "boom", "metadata": None}, m.ErrorMessageInterface(error="boom", metadata=None)),
    (
        "error_message",
        {"error": "boom", "metadata": {"a": [None, 1, {"b": 0.5}]}},
        m.ErrorMessageInterface(error="boom", metadata={"a": [None, 1, {"b": 0.5}]}),
    ),
    ("end_session_confirm_message", {}, m.EndSessionConfirmMessage()),
    (
        "command_execution_result_message",
        {"results": [{"command": "a", "exit_code": 0}, {"command": "b", "exit_code": -9, "stdout": "out"}]},
        m.CommandExecutionResultMessageInterface(
            results=[
                m.CommandResultItem(command="a", exit_code=0),
                m.CommandResultItem(command="b", exit_code=-9, stdout="out"),
            ]
        ),
    ),
    (
        "command_execution_result_message",
        {"results": [{"command": "a", "exit_code": 0, "stdout": None}]},
        m.CommandExecutionResultMessageInterface(results=[m.CommandResultItem(command="a", exit_code=0)]),
    ),
    ("result_message", {"any": 1}, RawResult({"message_type": "result_message", "any": 1})),
    ("of_the_future_message", {"text_blocks": 5}, UnknownMessage("of_the_future_message")),
    ("", {}, UnknownMessage("")),
    # What only clients send is unknown here.
    ("cancel_message", {}, UnknownMessage("cancel_message")),
]


@pytest.mark.parametrize(("message_type", "fields", "expected"), FROM_RUNTIME)
def test_a_message_of_a_runtime(message_type: str, fields: dict[str, Any], expected: Any) -> None:
    message = decode_runtime_message(payload_of(message_type, fields))
    assert message == expected
    assert type(message) is type(expected)


def test_every_message_of_the_protocol_has_its_tag() -> None:
    known = {expected.message_type for _, _, expected in FROM_RUNTIME if hasattr(expected, "message_type")}
    assert known >= {
        "assistant_message",
        "command_output_message",
        "artifact_upload_request_message",
        "heartbeat_message",
        "command_execution_result_message",
        "error_message",
        "end_session_confirm_message",
    }
    for message_type, _, expected in FROM_RUNTIME:
        assert getattr(expected, "message_type", message_type) == message_type


@pytest.mark.parametrize(("message_type", "fields", "expected"), FROM_RUNTIME[:-4])
def test_fields_that_nobody_knows_yet_are_no_fault(message_type: str, fields: dict[str, Any], expected: Any) -> None:
    assert decode_runtime_message(payload_of(message_type, {**fields, "new": {"in": "0.99"}})) == expected


@pytest.mark.parametrize(
    ("message_type", "fields", "expected"), [row for row in FROM_RUNTIME if row[0] in _codec._FROM_RUNTIME.classes]
)
def test_a_good_message_is_read_by_a_hook_compiled_once(
    message_type: str, fields: dict[str, Any], expected: Any
) -> None:
    # The slow path would read it as well: nobody would notice, but for the time.
    payload = payload_of(message_type, fields)
    _codec._FROM_RUNTIME.pop(message_type, None)
    with mock.patch.object(_codec, "_decode_slowly", None):
        assert decode_runtime_message(payload) == expected
        with mock.patch.object(_structuring, "compiled_hook", None):
            assert decode_runtime_message(payload) == expected


def test_with_a_result_comes_what_the_caller_reads_it_with(monkeypatch: pytest.MonkeyPatch) -> None:
    # On the caller's thread a signal could land in the middle of the import.
    monkeypatch.delitem(sys.modules, "runtimeuse_sync._protocol.structuring")
    monkeypatch.delattr(runtimeuse_sync._protocol, "structuring")
    decode_runtime_message(payload_of("result_message", {}))
    assert "runtimeuse_sync._protocol.structuring" in sys.modules


# One value of each JSON type, and what it is called.
VALUES: list[tuple[Any, str]] = [
    (None, "null"),
    (True, "a boolean"),
    (7, "a number"),
    (0.5, "a number"),
    (SECRET, "a string"),
    ([SECRET], "an array"),
    ({SECRET: SECRET}, "an object"),
]
STRING, ARRAY, OBJECT, INTEGER, NUMBER = "a string", "an array", "an object", "an integer", "a number"

# message type, its good fields, where in them, what must be there, and whether null will do.
RUNTIME_FIELDS: list[tuple[str, dict[str, Any], list[Any], str, bool]] = [
    ("assistant_message", {"text_blocks": ["a", "b"]}, ["text_blocks"], ARRAY, False),
    ("assistant_message", {"text_blocks": ["a", "b"]}, ["text_blocks", 0], STRING, False),
    ("assistant_message", {"text_blocks": ["a", "b"]}, ["text_blocks", 1], STRING, False),
    ("command_output_message", {"stream": "s", "text": "t", "command": "c"}, ["stream"], STRING, False),
    ("command_output_message", {"stream": "s", "text": "t", "command": "c"}, ["text"], STRING, False),
    ("command_output_message", {"stream": "s", "text": "t", "command": "c"}, ["command"], STRING, False),
    ("heartbeat_message", {"phase": "p", "elapsed_ms": 1}, ["phase"], STRING, False),
    ("heartbeat_message", {"phase": "p", "elapsed_ms": 1}, ["elapsed_ms"], NUMBER, False),
    ("artifact_upload_request_message", {"filename": "f", "filepath": "/f"}, ["filename"], STRING, False),
    ("artifact_upload_request_message", {"filename": "f", "filepath": "/f"}, ["filepath"], STRING, False),
    ("error_message", {"error": "e"}, ["error"], STRING, False),
    ("error_message", {"error": "e"}, ["metadata"], OBJECT, True),
    ("command_execution_result_message", {"results": []}, ["results"], ARRAY, False),
    ("command_execution_result_message", {"results": [0]}, ["results", 0], OBJECT, False),
    ("command_execution_result_message", {"results": [{"exit_code": 0}]}, ["results", 0, "command"], STRING, False),
    ("command_execution_result_message", {"results": [{"command": "c"}]}, ["results", 0, "exit_code"], INTEGER, False),
    (
        "command_execution_result_message",
        {"results": [{"command": "c", "exit_code": 0}]},
        ["results", 0, "stdout"],
        STRING,
        True,
    ),
]
DATA = {"type": "text", "text": "t"}
RESULT_FIELDS: list[tuple[str, dict[str, Any], list[Any], str, bool]] = [
    ("result_message", {"data": DATA}, ["data"], OBJECT, False),
    ("result_message", {"data": DATA}, ["data", "text"], STRING, False),
    ("result_message", {"data": {"type": "structured_output"}}, ["data", "structured_output"], OBJECT, False),
    ("result_message", {"data": DATA}, ["metadata"], OBJECT, True),
    ("result_message", {}, ["structured_output"], OBJECT, False),
]
INVOCATION = {"system_prompt": "s", "user_prompt": "u"}
RESPONSE = {"filename": "f", "filepath": "/f", "presigned_url": "u", "content_type": "c"}
DOWNLOAD = {"download_url": "u", "working_dir": "/w"}
CLIENT_FIELDS: list[tuple[str, dict[str, Any], list[Any], str, bool]] = [
    *[("artifact_upload_response_message", RESPONSE, [name], STRING, False) for name in RESPONSE],
    ("invocation_message", INVOCATION, ["system_prompt"], STRING, False),
    ("invocation_message", INVOCATION, ["user_prompt"], STRING, False),
    ("invocation_message", INVOCATION, ["source_id"], STRING, True),
    ("invocation_message", INVOCATION, ["model"], STRING, True),
    ("invocation_message", INVOCATION, ["output_format_json_schema_str"], STRING, True),
    ("invocation_message", INVOCATION, ["secrets_to_redact"], ARRAY, False),
    ("invocation_message", {**INVOCATION, "secrets_to_redact": ["a"]}, ["secrets_to_redact", 0], STRING, False),
    ("invocation_message", INVOCATION, ["artifacts_dirs"], ARRAY, True),
    ("invocation_message", {**INVOCATION, "artifacts_dirs": ["/a", "/b"]}, ["artifacts_dirs", 1], STRING, False),
    ("invocation_message", INVOCATION, ["artifacts_ignore_content"], STRING, True),
    *[
        ("invocation_message", {**INVOCATION, name: [0]}, place, kind, null)
        for name in ("pre_agent_invocation_commands", "post_agent_invocation_commands")
        for place, kind, null in ([[name], ARRAY, True], [[name, 0], OBJECT, False])
    ],
    ("command_execution_message", {"commands": [{}]}, ["commands"], ARRAY, False),
    ("command_execution_message", {"commands": [{}]}, ["commands", 0], OBJECT, False),
    ("command_execution_message", {"commands": [{}]}, ["commands", 0, "command"], STRING, False),
    ("command_execution_message", {"commands": [{"command": "c"}]}, ["commands", 0, "cwd"], STRING, True),
    ("command_execution_message", {"commands": []}, ["pre_execution_downloadables"], ARRAY, True),
    ("command_execution_message", {"commands": []}, ["source_id"], STRING, True),
    *[
        (
            "command_execution_message",
            {"commands": [], "pre_execution_downloadables": [DOWNLOAD]},
            ["pre_execution_downloadables", 0, name],
            STRING,
            False,
        )
        for name in DOWNLOAD
    ],
]


def put(fields: dict[str, Any], place: list[Any], value: Any) -> dict[str, Any]:
    """``fields`` with ``value`` at ``place``."""
    changed = json.loads(json.dumps(fields))
    inner = changed
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    return changed


def path(place: list[Any]) -> str:
    return "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place)


def wrong_values(expected: str, null: bool) -> Iterator[tuple[Any, str]]:
    """All values but those that will do, each with what it is called."""
    for value, name in VALUES:
        is_integer = expected == INTEGER and type(value) is int
        if name != expected and not is_integer and not (null and value is None):
            yield value, name


def each_field(table: list[tuple[str, dict[str, Any], list[Any], str, bool]]) -> Any:
    names = ("message_type", "fields", "place", "expected", "null")
    return pytest.mark.parametrize(names, table, ids=[f"{row[0]} {path(row[2])}" for row in table])


@each_field(RUNTIME_FIELDS)
def test_a_field_of_a_runtime_has_the_wrong_type(
    message_type: str, fields: dict[str, Any], place: list[Any], expected: str, null: bool
) -> None:
    for value, name in wrong_values(expected, null):
        said = runtime_refusal(message_type, put(fields, place, value))
        assert said == f"{message_type}: expected {expected}, got {name} at {path(place)}"


@each_field(CLIENT_FIELDS)
def test_a_field_of_a_client_has_the_wrong_type(
    message_type: str, fields: dict[str, Any], place: list[Any], expected: str, null: bool
) -> None:
    for value, name in wrong_values(expected, null):
        said = client_refusal(message_type, put(fields, place, value))
        assert said == f"{message_type}: expected {expected}, got {name} at {path(place)}"


@each_field(RESULT_FIELDS)
def test_a_field_of_a_result_has_the_wrong_type(
    message_type: str, fields: dict[str, Any], place: list[Any], expected: str, null: bool
) -> None:
    for value, name in wrong_values(expected, null):
        result = decode_runtime_message(payload_of(message_type, put(fields, place, value)))
        said = refusal_of(structure_result, result, m.ResultMessageInterface)
        assert said == f"{message_type}: expected {expected}, got {name} at {path(place)}"


@pytest.mark.parametrize(
    ("message_type", "fields", "place"),
    [
        ("assistant_message", {}, "$.text_blocks"),
        ("command_output_message", {"text": "t", "command": "c"}, "$.stream"),
        ("command_output_message", {"stream": "s", "command": "c"}, "$.text"),
        ("command_output_message", {"stream": "s", "text": "t"}, "$.command"),
        ("heartbeat_message", {"elapsed_ms": 1}, "$.phase"),
        ("heartbeat_message", {"phase": "p"}, "$.elapsed_ms"),
        ("artifact_upload_request_message", {"filepath": "/f"}, "$.filename"),
        ("artifact_upload_request_message", {"filename": "f"}, "$.filepath"),
        ("error_message", {"metadata": {}}, "$.error"),
        ("command_execution_result_message", {}, "$.results"),
        ("command_execution_result_message", {"results": [{"exit_code": 0}]}, "$.results[0].command"),
        (
            "command_execution_result_message",
            {"results": [{"command": "c", "exit_code": 0}, {"command": "c"}]},
            "$.results[1].exit_code",
        ),
    ],
)
def test_a_field_of_a_runtime_is_missing(message_type: str, fields: dict[str, Any], place: str) -> None:
    assert runtime_refusal(message_type, fields) == f"{message_type}: required field missing at {place}"


@pytest.mark.parametrize(
    ("message_type", "fields", "place"),
    [
        ("invocation_message", {"user_prompt": "u"}, "$.system_prompt"),
        ("invocation_message", {"system_prompt": "u"}, "$.user_prompt"),
        ("command_execution_message", {}, "$.commands"),
        ("command_execution_message", {"commands": [{"cwd": "/"}]}, "$.commands[0].command"),
        *[
            ("artifact_upload_response_message", {k: v for k, v in RESPONSE.items() if k != name}, f"$.{name}")
            for name in RESPONSE
        ],
        (
            "invocation_message",
            {**INVOCATION, "pre_agent_downloadables": [DOWNLOAD, {"working_dir": "/w"}]},
            "$.pre_agent_downloadables[1].download_url",
        ),
    ],
)
def test_a_field_of_a_client_is_missing(message_type: str, fields: dict[str, Any], place: str) -> None:
    assert client_refusal(message_type, fields) == f"{message_type}: required field missing at {place}"


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ([], "expected an object, got an array"),
        ({"A": 5}, "expected a string, got a number"),
        ({"A": "a", "B": None}, "expected a string, got null"),
        ({"A": {SECRET: SECRET}}, "expected a string, got an object"),
    ],
)
def test_an_environment_maps_strings_to_strings(env: Any, said: str) -> None:
    assert client_refusal("invocation_message", {**INVOCATION, "agent_env": env}) == (
        f"invocation_message: {said} at $.agent_env"
    )
    assert client_refusal("command_execution_message", {"commands": [{"command": "c", "env": env}]}) == (
        f"command_execution_message: {said} at $.commands[0].env"
    )


def test_of_several_faults_one_is_told() -> None:
    said = runtime_refusal("command_output_message", {"stream": 1, "text": 2, "command": 3})
    assert said == "command_output_message: expected a string, got a number at $.stream"


# --- what is no message at all ----------------------------------------------------------------------------

either = pytest.mark.parametrize("decode", [decode_runtime_message, decode_client_message])


@either
@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (b"[]", "expected an object, got an array at $"),
        (b'[{"message_type": "cancel_message"}]', "expected an object, got an array at $"),
        (b"null", "expected an object, got null at $"),
        (b"true", "expected an object, got a boolean at $"),
        (b"17", "expected an object, got a number at $"),
        (b"1.5", "expected an object, got a number at $"),
        (b'"assistant_message"', "expected an object, got a string at $"),
        (b"{}", "required field missing at $.message_type"),
        (b'{"text_blocks": []}', "required field missing at $.message_type"),
        (b'{"message_type": null}', "expected a string, got null at $.message_type"),
        (b'{"message_type": 5}', "expected a string, got a number at $.message_type"),
        (b'{"message_type": true}', "expected a string, got a boolean at $.message_type"),
        (b'{"message_type": ["error_message"]}', "expected a string, got an array at $.message_type"),
        (b'{"message_type": {}}', "expected a string, got an object at $.message_type"),
    ],
)
def test_json_that_is_no_message(decode: Any, payload: bytes, said: str) -> None:
    assert refusal_of(decode, payload) == said


@either
@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (b"", "not JSON: Expecting value at character 0"),
        (b"  ", "not JSON: Expecting value at character 2"),
        (b"hello", "not JSON: Expecting value at character 0"),
        (b'{"a": 1', "not JSON: Expecting ',' delimiter at character 7"),
        (b'{"a": 1} x', "not JSON: Extra data at character 9"),
        (b"\xef\xbb\xbf{}", "not JSON: Expecting value at character 0"),
        (b'"\x01"', "not JSON: Invalid control character at at character 1"),
        (b"{'a': 1}", "not JSON: Expecting property name enclosed in double quotes at character 1"),
        (b'{"a": 01}', "not JSON: Expecting ',' delimiter at character 7"),
        ('{"é": }'.encode(), "not JSON: Expecting value at character 6"),
        (b'"\xff"', "invalid UTF-8 at byte 1 of a message"),
        (b'{"message_type": "\xc3\x28"}', "invalid UTF-8 at byte 18 of a message"),
        (b'"\xed\xa0\x80"', "invalid UTF-8 at byte 1 of a message"),
        (b"NaN", "not acceptable as JSON: NaN"),
        (b'{"a": Infinity}', "not acceptable as JSON: Infinity"),
        (b'{"a": -Infinity}', "not acceptable as JSON: -Infinity"),
        (b"[" * 100_000, "not acceptable as JSON: brackets nested too deep"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "not acceptable as JSON: brackets nested too deep"),
    ],
    ids=range(18),
)
def test_what_is_no_json(decode: Any, payload: bytes, said: str) -> None:
    assert refusal_of(decode, payload) == said


@pytest.mark.skipif(not hasattr(sys, "set_int_max_str_digits"), reason="this Python reads numbers of any length")
@either
def test_a_number_of_too_many_digits(decode: Any) -> None:
    limit = sys.get_int_max_str_digits()
    payload = b'{"message_type": "error_message", "error": "e", "metadata": {"n": %s}}'
    assert refusal_of(decode, payload % (b"1" * (limit + 1))) == "not acceptable as JSON: a number of too many digits"


def test_a_number_that_is_not_one_does_not_get_through_inside_a_message() -> None:
    payload = b'{"message_type": "heartbeat_message", "phase": "p", "elapsed_ms": NaN}'
    assert refusal_of(decode_runtime_message, payload) == "not acceptable as JSON: NaN"


def test_what_is_not_json_is_said_to_be_so_only_once_it_is_not_utf_8() -> None:
    assert refusal_of(decode_runtime_message, b"{nonsense \xff") == "invalid UTF-8 at byte 10 of a message"


# --- what is kept of a peer's words ----------------------------------------------------------------------


def test_of_an_unknown_type_its_beginning_is_kept() -> None:
    kept = decode_runtime_message(payload_of("\x1b[2J" + "x" * 1_000_000, {"more": "y" * 1_000_000}))
    assert isinstance(kept, UnknownMessage)
    assert kept.message_type == "x" * 56 + "…"


def test_a_hundred_messages_of_unknown_types_take_next_to_nothing() -> None:
    tracemalloc.start()
    kept = [decode_runtime_message(payload_of(f"{n}" + "x" * 1_000_000, {})) for n in range(20)]
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len({message.message_type for message in kept if isinstance(message, UnknownMessage)}) == 20
    assert size < 200_000


@attrs.define
class Counted(m.ResultMessageInterface):
    counts: dict[str, int] = attrs.field(factory=dict)


def test_a_path_has_a_peer_s_keys_short_and_harmless() -> None:
    said = refusal_of(result, {"data": DATA, "counts": {"a\r\n\x1b[2Jb" + "k" * 10_000: None}}, Counted)
    assert said.startswith("result_message: expected an integer, got null at $.counts[")
    assert said.isprintable()
    assert len(said) < 400


# --- results --------------------------------------------------------------------------------------------


def result(fields: dict[str, Any], cls: Any = m.ResultMessageInterface) -> Any:
    return structure_result(RawResult({"message_type": "result_message", **fields}), cls)


def test_a_structured_result_of_0_4() -> None:
    found = result({"metadata": {"cost": 0.5}, "structured_output": {"success": True}})
    assert found == m.ResultMessageInterface(
        data=m.StructuredOutputResult(structured_output={"success": True}), metadata={"cost": 0.5}
    )
    assert (found.structured_output, found.text) == ({"success": True}, None)


def test_a_structured_result_of_0_5_and_later() -> None:
    found = result({"data": {"type": "structured_output", "structured_output": {"success": True}}})
    assert found == m.ResultMessageInterface(data=m.StructuredOutputResult(structured_output={"success": True}))
    assert (found.structured_output, found.text, found.metadata) == ({"success": True}, None, None)


def test_a_text_result_of_0_5_and_later() -> None:
    found = result({"data": {"type": "text", "text": "done"}, "metadata": None})
    assert found == m.ResultMessageInterface(data=m.TextResult(text="done"))
    assert (found.structured_output, found.text) == ({}, "done")


def test_what_came_first_in_time_gives_way_where_both_are_there() -> None:
    fields = {"data": {"type": "text", "text": "new"}, "structured_output": {"old": 1}}
    assert result(fields).data == m.TextResult(text="new")
    fields = {"data": None, "structured_output": {"old": 1}}
    assert refusal_of(result, fields) == "result_message: expected an object, got null at $.data"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "required field missing at $.data"),
        ({"metadata": {}}, "required field missing at $.data"),
        ({"data": {}}, "required field missing at $.data.type"),
        ({"data": {"text": "t"}}, "required field missing at $.data.type"),
        ({"data": {"type": "text"}}, "required field missing at $.data.text"),
        ({"data": {"type": "structured_output"}}, "required field missing at $.data.structured_output"),
        ({"data": {"type": "structured_output", "text": "t"}}, "required field missing at $.data.structured_output"),
        ({"data": {"type": SECRET}}, "expected 'text' or 'structured_output', got a string at $.data.type"),
        ({"data": {"type": None}}, "expected 'text' or 'structured_output', got null at $.data.type"),
        ({"data": {"type": 1, "text": "t"}}, "expected 'text' or 'structured_output', got a number at $.data.type"),
    ],
)
def test_a_result_without_what_makes_it_one(fields: dict[str, Any], said: str) -> None:
    assert refusal_of(result, fields) == f"result_message: {said}"


def test_a_result_does_not_change_what_came() -> None:
    raw = RawResult({"message_type": "result_message", "structured_output": {"a": 1}})
    structure_result(raw, m.ResultMessageInterface)
    assert raw.fields == {"message_type": "result_message", "structured_output": {"a": 1}}


class Grade(enum.Enum):
    GOOD = "good"
    BAD = "bad"


@attrs.define
class CountedUsage:
    tokens: int
    models: list[str] = attrs.field(factory=list)


@attrs.define
class Scored(m.ResultMessageInterface):
    """As the asyncio client's documentation has it, and more."""

    custom_score: float = 0.0
    grade: Optional[Grade] = None
    usage: Optional[CountedUsage] = None
    flags: dict[str, str] = attrs.field(factory=dict)
    is_final: bool = True
    extra: Any = None


def test_a_class_of_the_user_receives_fields_of_its_own() -> None:
    found = result(
        {
            "data": DATA,
            "metadata": {"a": 1},
            "custom_score": 0.9,
            "grade": "good",
            "usage": {"tokens": 3, "models": ["a"]},
            "flags": {"a": "b"},
            "is_final": False,
            "extra": [1, {"a": None}],
        },
        Scored,
    )
    assert type(found) is Scored
    assert found == Scored(
        data=m.TextResult(text="t"),
        metadata={"a": 1},
        custom_score=0.9,
        grade=Grade.GOOD,
        usage=CountedUsage(3, ["a"]),
        flags={"a": "b"},
        is_final=False,
        extra=[1, {"a": None}],
    )


def test_a_class_of_the_user_has_its_defaults_and_both_shapes() -> None:
    found = result({"structured_output": {"a": 1}, "custom_score": 1}, Scored)
    assert found == Scored(data=m.StructuredOutputResult(structured_output={"a": 1}), custom_score=1)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("custom_score", SECRET, "expected a number, got a string at $.custom_score"),
        ("custom_score", None, "expected a number, got null at $.custom_score"),
        ("custom_score", True, "expected a number, got a boolean at $.custom_score"),
        ("grade", SECRET, "a value that this field does not take at $.grade"),
        ("usage", [], "expected an object, got an array at $.usage"),
        ("usage", {"tokens": 1.0}, "expected an integer, got a number at $.usage.tokens"),
        ("usage", {"tokens": False}, "expected an integer, got a boolean at $.usage.tokens"),
        ("usage", {}, "required field missing at $.usage.tokens"),
        ("usage", {"tokens": 1, "models": ["a", 0]}, "expected a string, got a number at $.usage.models[1]"),
        ("flags", {"a": 1}, "expected a string, got a number at $.flags"),
        ("is_final", "false", "expected a boolean, got a string at $.is_final"),
        ("is_final", 0, "expected a boolean, got a number at $.is_final"),
        ("is_final", None, "expected a boolean, got null at $.is_final"),
    ],
)
def test_a_field_of_the_user_has_the_wrong_type(field: str, value: Any, said: str) -> None:
    assert refusal_of(result, {"data": DATA, field: value}, Scored) == f"result_message: {said}"


@attrs.define
class Renamed(m.ResultMessageInterface):
    message_type: str = "handlers_result_message"


def test_a_fault_names_the_class_s_own_tag() -> None:
    assert refusal_of(result, {}, Renamed) == "handlers_result_message: required field missing at $.data"


def test_a_class_of_the_user_with_a_tag_of_its_own_keeps_it() -> None:
    assert result({"data": DATA}, Renamed).message_type == "handlers_result_message"


@attrs.define
class Rated(m.ResultMessageInterface):
    """As users write it: a field of their own that has to be there, and that is no keyword-only one."""

    custom_score: float


def test_a_field_of_the_user_may_be_required_and_positional() -> None:
    assert result({"data": DATA, "custom_score": 0.5}, Rated) == Rated(0.5, data=m.TextResult(text="t"))
    assert refusal_of(result, {"data": DATA}, Rated) == "result_message: required field missing at $.custom_score"


@attrs.define
class Issue:
    text: str
    type: Optional[str] = None
    message_type: str = "none"


@attrs.define
class Reviewed(m.ResultMessageInterface):
    issue: Optional[Issue] = None
    type: str = "quick"


def test_a_field_of_the_user_may_be_called_as_a_tag_of_the_wire() -> None:
    issue = {"text": "t", "type": "bug", "message_type": "mine"}
    reviewed = result({"data": DATA, "issue": issue, "type": "thorough"}, Reviewed)
    assert (reviewed.issue, reviewed.type) == (Issue(**issue), "thorough")


@attrs.define
class Fussy(m.ResultMessageInterface):
    number: int = attrs.field(default=9, validator=attrs.validators.gt(5))


def test_what_the_user_s_own_checks_refuse_is_a_fault_of_the_result() -> None:
    assert result({"data": DATA, "number": 6}, Fussy).number == 6
    said = refusal_of(result, {"data": DATA, "number": 5}, Fussy)
    assert said == "result_message: a value that this field does not take at $"


class Signal(enum.Enum):
    """Structuring it raises what has nothing to do with values, as a signal handler may."""

    NONE = ""

    @classmethod
    def _missing_(cls, value: object) -> Any:
        raise {"soft limit": RuntimeError("soft limit"), "Ctrl-C": KeyboardInterrupt()}[str(value)]


@attrs.define
class Interrupted(m.ResultMessageInterface):
    number: int = 0
    signal: Signal = Signal.NONE


@pytest.mark.parametrize(("value", "raised"), [("soft limit", RuntimeError), ("Ctrl-C", KeyboardInterrupt)])
@pytest.mark.parametrize("number", [1, "wrong as well"])
def test_what_is_no_fault_of_the_result_goes_on_unchanged(value: str, raised: type[BaseException], number: Any) -> None:
    with pytest.raises(raised) as caught:
        result({"data": DATA, "number": number, "signal": value}, Interrupted)
    assert type(caught.value) is raised


@attrs.define
class Undecided(m.ResultMessageInterface):
    """cattrs does not know how to choose."""

    either: Union[int, str, None] = None


def test_no_exception_of_cattrs_reaches_the_user() -> None:
    with contextlib.suppress(TypeError, ProtocolError):
        result({"data": DATA, "either": 3}, Undecided)


def test_a_class_that_no_json_can_be_read_into_is_refused_before_there_is_any() -> None:
    check_readable(Scored)
    with pytest.raises(TypeError, match="^Undecided has a field whose type cannot be read from JSON: "):
        check_readable(Undecided)


# --- nothing of the payload in an error -----------------------------------------------------------------------


@pytest.mark.parametrize("payload", [b's3cret {"', b'{"s3cret', b'["\\s3cret"]', b'"s3cret\xff"', b'{"a": s3cret}'])
def test_an_error_holds_nothing_of_what_is_no_json(payload: bytes) -> None:
    refusal_of(decode_runtime_message, payload)


def test_a_raw_result_does_not_show_its_fields() -> None:
    assert repr(RawResult({"a": SECRET})) == "RawResult()"


# --- what the client sends ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (m.CancelMessage(), '{"message_type":"cancel_message"}'),
        (m.EndSessionMessage(), '{"message_type":"end_session_message"}'),
        (
            m.ArtifactUploadResponseMessageInterface(
                filename="a.txt", filepath="/a.txt", presigned_url="https://x?y", content_type="text/plain"
            ),
            '{"filename":"a.txt","filepath":"/a.txt","presigned_url":"https://x?y","content_type":"text/plain",'
            '"message_type":"artifact_upload_response_message"}',
        ),
        (
            m.InvocationMessage(system_prompt="s", user_prompt="é"),
            '{"system_prompt":"s","user_prompt":"\\u00e9","message_type":"invocation_message","secrets_to_redact":[]}',
        ),
        (
            m.CommandExecutionMessage(commands=[m.CommandInterface(command="ls", cwd="/", env={"A": "b"})]),
            '{"commands":[{"command":"ls","cwd":"/","env":{"A":"b"}}],"message_type":"command_execution_message",'
            '"secrets_to_redact":[]}',
        ),
    ],
)
def test_a_message_is_one_line_of_json_without_what_is_unset(message: Any, expected: str) -> None:
    assert encode(message) == expected.encode()


def sent(**fields: Any) -> dict[str, Any]:
    """What an invocation with ``fields`` has on the wire, beyond what every one has."""
    message = json.loads(encode(m.InvocationMessage(**{**INVOCATION, **fields})))
    for name in ("system_prompt", "user_prompt", "message_type"):
        del message[name]
    return message


def test_unset_fields_are_left_out_but_secrets_to_redact_never_is() -> None:
    assert sent() == {"secrets_to_redact": []}
    assert sent(secrets_to_redact=["a"]) == {"secrets_to_redact": ["a"]}


def test_fields_that_were_renamed_are_written_in_both_spellings() -> None:
    assert sent(model="m") == {"secrets_to_redact": [], "model": "m", "preferred_model": "m"}
    downloads = [m.RuntimeEnvironmentDownloadableInterface(download_url="u", working_dir="/w")]
    assert sent(pre_agent_downloadables=downloads) == {
        "secrets_to_redact": [],
        "pre_agent_downloadables": [DOWNLOAD],
        "runtime_environment_downloadables": [DOWNLOAD],
    }


def test_an_empty_value_is_a_value() -> None:
    assert sent(model="", pre_agent_downloadables=[], agent_env={}) == {
        "secrets_to_redact": [],
        "model": "",
        "preferred_model": "",
        "pre_agent_downloadables": [],
        "runtime_environment_downloadables": [],
        "agent_env": {},
    }


@pytest.mark.parametrize(
    ("directories", "old"),
    [(["/out"], {"artifacts_dir": "/out"}), (["/a", "/b"], {}), ([], {}), (("/out",), {"artifacts_dir": "/out"})],
)
def test_the_one_directory_of_0_4_is_written_only_where_there_is_one(directories: Any, old: dict[str, str]) -> None:
    new = {"artifacts_dirs": list(directories)}
    assert sent(artifacts_dirs=directories) == {"secrets_to_redact": [], **new, **old}
    commands = json.loads(encode(m.CommandExecutionMessage(commands=[], artifacts_dirs=directories)))
    tag = {"message_type": "command_execution_message", "commands": [], "secrets_to_redact": []}
    assert commands == {**tag, **new, **old}


def test_what_is_unset_inside_a_field_is_left_out_too() -> None:
    commands = [m.CommandInterface(command="a"), m.CommandInterface(command="b", cwd="/b")]
    assert sent(post_agent_invocation_commands=commands)["post_agent_invocation_commands"] == [
        {"command": "a"},
        {"command": "b", "cwd": "/b"},
    ]


def test_only_requests_have_an_old_spelling() -> None:
    @attrs.define
    class Other:
        model: str = "m"

    assert encode(Other()) == b'{"model":"m"}'


def test_what_a_runtime_sends_can_be_written_as_well() -> None:
    message = m.ErrorMessageInterface(error="e", metadata={"a": None})
    assert json.loads(encode(message)) == {"message_type": "error_message", "error": "e", "metadata": {"a": None}}
    data = m.ResultMessageInterface(data=m.TextResult(text="t"))
    assert json.loads(encode(data)) == {"message_type": "result_message", "data": DATA}


def test_what_is_no_json_is_not_written() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        encode(m.ErrorMessageInterface(error="e", metadata={"a": float("nan")}))


def test_any_text_can_be_written() -> None:
    # A lone surrogate has no UTF-8, but JSON has an escape for it.
    payload = encode(m.InvocationMessage(system_prompt="\ud800\x00\u2028😀", user_prompt=""))
    assert payload.isascii()
    assert decode_client_message(payload) == m.InvocationMessage(system_prompt="\ud800\x00\u2028😀", user_prompt="")


# --- what a runtime reads -------------------------------------------------------------------------------------


def received(**fields: Any) -> Any:
    return decode_client_message(payload_of("invocation_message", {**INVOCATION, **fields}))


def test_the_old_spelling_is_read() -> None:
    assert received(preferred_model="m") == m.InvocationMessage(**INVOCATION, model="m")
    assert received(artifacts_dir="/out") == m.InvocationMessage(**INVOCATION, artifacts_dirs=["/out"])
    assert received(runtime_environment_downloadables=[DOWNLOAD]) == m.InvocationMessage(
        **INVOCATION, pre_agent_downloadables=[m.RuntimeEnvironmentDownloadableInterface(**DOWNLOAD)]
    )
    commands = decode_client_message(payload_of("command_execution_message", {"commands": [], "artifacts_dir": "/o"}))
    assert commands == m.CommandExecutionMessage(commands=[], artifacts_dirs=["/o"])


def test_the_new_spelling_goes_first() -> None:
    found = received(
        model="new",
        preferred_model="old",
        artifacts_dirs=["/new"],
        artifacts_dir="/old",
        pre_agent_downloadables=[],
        runtime_environment_downloadables=[DOWNLOAD],
    )
    assert found == m.InvocationMessage(**INVOCATION, model="new", artifacts_dirs=["/new"], pre_agent_downloadables=[])


def test_null_is_as_good_as_unset() -> None:
    assert received(model=None, agent_env=None, artifacts_dirs=None) == m.InvocationMessage(**INVOCATION)
    assert received(model=None, preferred_model="old").model is None


def test_a_fault_in_the_old_spelling_is_told_in_the_new() -> None:
    fields = {**INVOCATION, "artifacts_dir": 5}
    said = "invocation_message: expected a string, got a number at $.artifacts_dirs[0]"
    assert client_refusal("invocation_message", fields) == said


@pytest.mark.parametrize(
    ("message_type", "expected"),
    [
        ("cancel_message", m.CancelMessage()),
        ("end_session_message", m.EndSessionMessage()),
        ("assistant_message", UnknownMessage("assistant_message")),
        ("result_message", UnknownMessage("result_message")),
        ("future_message", UnknownMessage("future_message")),
    ],
)
def test_a_message_of_a_client(message_type: str, expected: Any) -> None:
    message = decode_client_message(payload_of(message_type, {"unknown": 1}))
    assert message == expected
    assert type(message) is type(expected)


# --- there and back -------------------------------------------------------------------------------------------

texts = st.text(max_size=12)
maybe = st.none() | texts
envs = st.none() | st.dictionaries(texts, texts, max_size=3)
lists = st.lists(texts, max_size=3)
commands = st.lists(st.builds(m.CommandInterface, command=texts, cwd=maybe, env=envs), max_size=3)
downloads = st.none() | st.lists(
    st.builds(m.RuntimeEnvironmentDownloadableInterface, download_url=texts, working_dir=texts), max_size=2
)
client_messages = st.one_of(
    st.builds(
        m.InvocationMessage,
        system_prompt=texts,
        user_prompt=texts,
        source_id=maybe,
        model=maybe,
        agent_env=envs,
        secrets_to_redact=lists,
        output_format_json_schema_str=maybe,
        pre_agent_downloadables=downloads,
        pre_agent_invocation_commands=st.none() | commands,
        post_agent_invocation_commands=st.none() | commands,
        artifacts_dirs=st.none() | lists,
        artifacts_ignore_content=maybe,
    ),
    st.builds(
        m.CommandExecutionMessage,
        commands=commands,
        source_id=maybe,
        secrets_to_redact=lists,
        artifacts_dirs=st.none() | lists,
        artifacts_ignore_content=maybe,
        pre_execution_downloadables=downloads,
    ),
    st.builds(
        m.ArtifactUploadResponseMessageInterface,
        filename=texts,
        filepath=texts,
        presigned_url=texts,
        content_type=texts,
    ),
    st.just(m.CancelMessage()),
    st.just(m.EndSessionMessage()),
)


@given(client_messages)
def test_what_a_client_writes_a_runtime_reads(message: Any) -> None:
    payload = encode(message)
    assert decode_client_message(payload) == message
    assert None not in json.loads(payload).values()


# Numbers within 64 bits: beyond them orjson gives a float, see below.
scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, width=64) | texts
values = st.recursive(
    scalars.filter(lambda value: value not in (float("inf"), float("-inf"))),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
metadata = st.none() | st.dictionaries(texts, values, max_size=3)
runtime_messages = st.one_of(
    st.builds(m.AssistantMessageInterface, text_blocks=lists),
    st.builds(m.CommandOutputMessageInterface, stream=texts, text=texts, command=texts),
    st.builds(m.HeartbeatMessageInterface, phase=texts, elapsed_ms=st.integers(0, 10**15) | st.floats(0, 1e15)),
    st.builds(m.ArtifactUploadRequestMessageInterface, filename=texts, filepath=texts),
    st.builds(m.ErrorMessageInterface, error=texts, metadata=metadata),
    st.builds(
        m.CommandExecutionResultMessageInterface,
        results=st.lists(
            st.builds(m.CommandResultItem, command=texts, exit_code=st.integers(-(2**31), 2**31), stdout=maybe),
            max_size=3,
        ),
    ),
    st.just(m.EndSessionConfirmMessage()),
)
results = st.builds(
    m.ResultMessageInterface,
    data=st.builds(m.TextResult, text=texts)
    | st.builds(m.StructuredOutputResult, structured_output=st.dictionaries(texts, values, max_size=3)),
    metadata=metadata,
)


@given(runtime_messages)
def test_what_a_runtime_writes_a_client_reads(message: Any) -> None:
    assert decode_runtime_message(encode(message)) == message


@given(results)
def test_a_result_that_a_runtime_writes_a_client_reads(message: Any) -> None:
    raw = decode_runtime_message(encode(message))
    assert isinstance(raw, RawResult)
    assert structure_result(raw, m.ResultMessageInterface) == message


# --- plain data -----------------------------------------------------------------------------------------------

parts = st.one_of(
    st.builds(m.TextResult, text=texts),
    st.builds(m.StructuredOutputResult, structured_output=st.dictionaries(texts, values, max_size=3)),
    st.builds(m.CommandResultItem, command=texts, exit_code=st.integers(-9, 9), stdout=maybe),
    st.builds(
        m.CompletedCommand, command=texts, exit_code=st.integers(), stdout=texts, stderr=texts, duration=st.floats(0, 9)
    ),
    st.builds(m.CommandInterface, command=texts, cwd=maybe, env=envs),
    st.builds(m.RuntimeEnvironmentDownloadableInterface, download_url=texts, working_dir=texts),
    st.builds(m.ArtifactUploadResult, presigned_url=texts, content_type=texts),
    st.builds(m.AgentRuntimeMessageInterface, message_type=texts),
    st.builds(lambda found: m.QueryResult(data=found.data, metadata=found.metadata), results),
    st.builds(
        m.CommandExecutionResult,
        results=st.lists(st.builds(m.CommandResultItem, command=texts, exit_code=st.integers(-9, 9)), max_size=3),
    ),
    st.builds(Usage, input_tokens=st.none() | st.integers(0), cost_usd=st.none() | st.floats(0, 1e9), session_id=maybe),
)


@given(client_messages | runtime_messages | results | parts)
def test_plain_data_there_and_back(message: Any) -> None:
    plain = message.to_dict()
    again = type(message).from_dict(json.loads(json.dumps(plain)))
    assert again == message
    assert type(again) is type(message)
    assert again.to_dict() == plain


def test_so_has_every_class_of_messages_and_results() -> None:
    classes = {cls for cls in vars(m).values() if isinstance(cls, type) and attrs.has(cls)}
    assert all(issubclass(cls, Plain) for cls in classes)
    assert not hasattr(m.TextResult(text="t"), "__dict__")


def test_so_has_a_class_of_the_user() -> None:
    scored = Scored(data=m.TextResult(text="t"), grade=Grade.GOOD, usage=CountedUsage(3, ["a"]), extra=[1, {"a": None}])
    plain = scored.to_dict()
    assert plain["grade"] == "good"
    assert Scored.from_dict(json.loads(json.dumps(plain))) == scored


def test_plain_data_has_what_a_repr_hides() -> None:
    assert m.ArtifactUploadResult(presigned_url=SECRET, content_type="c").to_dict()["presigned_url"] == SECRET


@pytest.mark.parametrize(
    ("cls", "fields", "said"),
    [
        (m.QueryResult, [], "QueryResult.from_dict needs a dict; got a list"),
        (m.QueryResult, {}, "QueryResult: required field missing at $.data"),
        (
            m.QueryResult,
            {"data": {"type": SECRET}},
            "QueryResult: expected 'text' or 'structured_output', got a string",
        ),
        (m.TextResult, {"text": 5}, "TextResult: expected a string, got a number at $.text"),
        (m.CancelMessage, {"message_type": SECRET}, "CancelMessage.from_dict was given a message of another type than"),
    ],
)
def test_what_is_no_plain_data_of_a_class(cls: Any, fields: Any, said: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(said)}") as caught:
        cls.from_dict(fields)
    assert SECRET not in str(caught.value)


# --- the two parsers ------------------------------------------------------------------------------------------


def outcome(parse: Any, payload: bytes) -> tuple[str, str]:
    try:
        found = parse(payload)
    except ProtocolError as error:
        return "refused", str(error)
    return "read", repr(found)


both = pytest.mark.skipif("orjson" not in PARSERS, reason="there is one parser: orjson is not installed")


def agree(payload: bytes) -> bool:
    return outcome(PARSERS["orjson"], payload) == outcome(PARSERS["json"], payload)


@both
@given(values)
def test_both_parsers_read_the_same(value: Any) -> None:
    assert agree(json.dumps(value).encode())
    assert agree(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))


@both
@given(st.binary(max_size=30) | st.text('[]{}",:0123456789.eE+-ntfalsrue\\ ', max_size=20).map(str.encode))
def test_both_parsers_refuse_the_same(payload: bytes) -> None:
    assert agree(payload)


@both
@pytest.mark.parametrize(
    "payload",
    [
        b'"\\ud800"',
        b'"\\udc00\\ud800"',
        b'"\\ud83d\\ude00"',
        b'{"a":1,"a":2}',
        b"1e400",
        b"-0",
        b"-0.0",
        b"1E5",
        b"1e-400",
        b"0.1234567890123456789012345678901234567890",
        b"9007199254740993.0",
        b"[" * 500 + b"]" * 500,
        b"18446744073709551615",
        b"-9223372036854775808",
        b'"\\u0000\x7f\xc2\x80"',
        b"\t\n\r 1 \r\n\t",
        b"\x0c1",
        b"\xa01",
    ],
)
def test_both_parsers_agree_on_the_odd_cases(payload: bytes) -> None:
    assert agree(payload)


@both
@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 10**30])
def test_beyond_64_bits_orjson_gives_the_nearest_float(number: int) -> None:
    payload = str(number).encode()
    assert PARSERS["json"](payload) == number
    assert PARSERS["orjson"](payload) == float(number)


@pytest.mark.parametrize("payload", [b"{}", b'["' + b"x" * 1000 + b'"]', b"1"])
def test_white_space_is_looked_for_only_where_there_is_some(payload: bytes) -> None:
    with mock.patch.object(_codec, "_decoder", None):
        assert _codec._parse_strictly(payload) == json.loads(payload)
    assert _codec._parse_strictly(b" \r\n\t" + payload + b"\t\n ") == json.loads(payload)


def test_without_orjson_the_strict_parser_is_the_parser() -> None:
    spec = importlib.util.find_spec("runtimeuse_sync._protocol.codec")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with mock.patch.dict(sys.modules, {"orjson": None}):
        spec.loader.exec_module(module)
    assert module._parse is module._parse_strictly


# --- hostile bytes --------------------------------------------------------------------------------------------

TAGS = [tag for kinds in (_codec._FROM_RUNTIME, _codec._FROM_CLIENT) for tag in kinds.classes] + ["result_message"]
NAMES = ["text_blocks", "error", "metadata", "data", "results", "stream", "text", "command", "commands", "type"]
odd_messages = st.builds(
    lambda tag, fields: json.dumps({"message_type": tag, **fields}).encode(),
    st.sampled_from(TAGS) | values,
    st.dictionaries(st.sampled_from(NAMES) | texts, values, max_size=4),
)


@given(odd_messages | st.binary(max_size=60))
def test_any_payload_is_a_message_or_a_protocol_error(payload: bytes) -> None:
    codes = set()
    for decode in (decode_runtime_message, decode_client_message):
        try:
            message = decode(payload)
            if isinstance(message, RawResult):
                structure_result(message, Scored)
        except ProtocolError as error:
            codes.add(error.close_code)
    assert codes <= {1007}


GOOD = [
    payload_of(message_type, fields) for message_type, fields, _ in FROM_RUNTIME if message_type != "cancel_message"
] + [payload_of("result_message", {"data": DATA}), payload_of("result_message", {"structured_output": {}})]


def hostile(chance: random.Random) -> bytes:
    """Noise, or a good frame with a few bytes of it changed, left out or doubled."""
    if chance.random() < 0.3:
        return chance.getrandbits(8 * 24).to_bytes(24, "big")[: chance.randrange(25)]
    payload = chance.choice(GOOD)
    size = len(payload)
    header = bytes([0x81, size]) if size < 126 else bytes([0x81, 126]) + size.to_bytes(2, "big")
    stream = bytearray(header + payload)
    for _ in range(chance.randrange(4)):
        at = chance.randrange(len(stream))
        stream[at : at + chance.randrange(3)] = chance.choice((b"", b"\xff", b'"', b"{", b"\x00", b"[1]", b"null"))
        stream = stream or bytearray(b"\x80")
    return bytes(stream)


def handle(stream: bytes) -> int:
    """Decode it as the connection would; how many messages it has."""
    decoder = FrameDecoder(1 << 20)
    found = 0
    for event in decoder.feed(stream):
        if isinstance(event, (bytes, bytearray)):
            message = decode_runtime_message(event)
            if isinstance(message, RawResult):
                structure_result(message, m.ResultMessageInterface)
            found += 1
    if decoder.error is not None:
        raise decoder.error
    return found


def handle_many(count: int) -> tuple[int, int]:
    """How many messages and how many refusals ``count`` hostile byte strings make."""
    chance, messages, refusals = random.Random(count), 0, 0
    for _ in range(count):
        try:
            messages += handle(hostile(chance))
        except RuntimeUseError:
            refusals += 1
    return messages, refusals


def test_hostile_bytes_end_in_messages_or_errors_of_ours() -> None:
    messages, refusals = handle_many(5000)
    assert messages > 500
    assert refusals > 500


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_million_hostile_byte_strings_end_so_in_bounded_memory() -> None:
    resource = pytest.importorskip("resource")
    handle_many(10_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    handle_many(990_000)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 20 * 1024 * (1024 if sys.platform == "darwin" else 1)
