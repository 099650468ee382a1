"""The classes of what travels: their tags, their checks, and what they do not show."""

from __future__ import annotations

import copy
import pickle
import traceback
from typing import Any, Optional

import attrs
import pytest

from runtimeuse_sync import messages as m

SECRET = "s3cret"
COMMAND = m.CommandInterface(command="ls")
DOWNLOAD = m.RuntimeEnvironmentDownloadableInterface(download_url="u", working_dir="/w")

# Each class with what it needs at least.
FROM_RUNTIME: dict[type, tuple[str, dict[str, Any]]] = {
    m.AssistantMessageInterface: ("assistant_message", {"text_blocks": ["a"]}),
    m.CommandOutputMessageInterface: ("command_output_message", {"stream": "stdout", "text": "t", "command": "c"}),
    m.HeartbeatMessageInterface: ("heartbeat_message", {"phase": "agent", "elapsed_ms": 1}),
    m.ArtifactUploadRequestMessageInterface: (
        "artifact_upload_request_message",
        {"filename": "f", "filepath": "/f"},
    ),
    m.ErrorMessageInterface: ("error_message", {"error": "e"}),
    m.EndSessionConfirmMessage: ("end_session_confirm_message", {}),
    m.ResultMessageInterface: ("result_message", {"data": m.TextResult(text="t")}),
    m.CommandExecutionResultMessageInterface: ("command_execution_result_message", {"results": []}),
}
FROM_CLIENT: dict[type, tuple[str, dict[str, Any]]] = {
    m.InvocationMessage: ("invocation_message", {"system_prompt": "s", "user_prompt": "u"}),
    m.CommandExecutionMessage: ("command_execution_message", {"commands": [COMMAND]}),
    m.ArtifactUploadResponseMessageInterface: (
        "artifact_upload_response_message",
        {"filename": "f", "filepath": "/f", "presigned_url": "u", "content_type": "c"},
    ),
    m.CancelMessage: ("cancel_message", {}),
    m.EndSessionMessage: ("end_session_message", {}),
}
PARTS: dict[type, dict[str, Any]] = {
    m.TextResult: {"text": "t"},
    m.StructuredOutputResult: {"structured_output": {"a": 1}},
    m.CommandResultItem: {"command": "c", "exit_code": 0},
    m.CommandInterface: {"command": "c"},
    m.RuntimeEnvironmentDownloadableInterface: {"download_url": "u", "working_dir": "/w"},
    m.ArtifactUploadResult: {"presigned_url": "u", "content_type": "c"},
    m.QueryResult: {"data": m.TextResult(text="t")},
    m.CommandExecutionResult: {"results": []},
}
NEEDS = {cls: needs for cls, (_, needs) in {**FROM_RUNTIME, **FROM_CLIENT}.items()} | PARTS
each_class = pytest.mark.parametrize("cls", NEEDS, ids=lambda cls: cls.__name__)


def make(cls: type, **fields: Any) -> Any:
    return cls(**{**NEEDS[cls], **fields})


# --- what is true of all ------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", {**FROM_RUNTIME, **FROM_CLIENT}, ids=lambda cls: cls.__name__)
def test_a_message_has_its_tag_and_takes_it_too(cls: type) -> None:
    tag, needs = {**FROM_RUNTIME, **FROM_CLIENT}[cls]
    assert make(cls).message_type == tag
    assert make(cls, message_type=tag) == make(cls)
    assert "message_type" not in repr(make(cls))
    assert attrs.fields_dict(cls).keys() >= needs.keys()


@pytest.mark.parametrize("cls", FROM_CLIENT, ids=lambda cls: cls.__name__)
def test_a_message_of_a_client_takes_no_other_tag(cls: type) -> None:
    with pytest.raises(ValueError, match="'message_type' must be in"):
        make(cls, message_type="another_message")


@pytest.mark.parametrize("cls", FROM_RUNTIME, ids=lambda cls: cls.__name__)
def test_what_a_runtime_sends_has_a_base_in_common(cls: type) -> None:
    assert isinstance(make(cls), m.AgentRuntimeMessageInterface)


@pytest.mark.parametrize("cls", [*FROM_CLIENT, *PARTS], ids=lambda cls: cls.__name__)
def test_nothing_else_has_that_base(cls: type) -> None:
    assert not isinstance(make(cls), m.AgentRuntimeMessageInterface)


def test_the_base_can_be_made_for_a_message_of_one_s_own() -> None:
    assert m.AgentRuntimeMessageInterface(message_type="future_message").message_type == "future_message"


@each_class
def test_fields_are_given_by_name(cls: type) -> None:
    with pytest.raises(TypeError, match="positional"):
        cls(*["positional"] * (2 if cls is m.CommandInterface else 1))
    with pytest.raises(TypeError, match="unexpected keyword"):
        make(cls, misspelt=1)


@each_class
def test_a_field_that_is_needed_cannot_be_left_out(cls: type) -> None:
    for name in NEEDS[cls]:
        with pytest.raises(TypeError, match=f"missing 1 required (keyword-only|positional) argument: '{name}'"):
            cls(**{field: value for field, value in NEEDS[cls].items() if field != name})


@each_class
def test_it_copies_and_pickles(cls: type) -> None:
    made = make(cls)
    for again in (copy.copy(made), copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert again == made
        assert type(again) is cls


@each_class
def test_attributes_that_do_not_exist_cannot_be_set(cls: type) -> None:
    with pytest.raises(AttributeError):
        make(cls).misspelt = 1


# --- defaults -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [m.InvocationMessage, m.CommandExecutionMessage])
def test_a_request_leaves_everything_else_to_the_runtime(cls: type) -> None:
    made = attrs.asdict(make(cls), recurse=False)
    for name in [*NEEDS[cls], "message_type"]:
        del made[name]
    assert made.pop("secrets_to_redact") == []
    assert set(made.values()) == {None}


@pytest.mark.parametrize("cls", [m.InvocationMessage, m.CommandExecutionMessage])
def test_two_requests_have_no_list_in_common(cls: type) -> None:
    assert make(cls).secrets_to_redact is not make(cls).secrets_to_redact


@pytest.mark.parametrize(
    ("cls", "name"),
    [
        (m.ErrorMessageInterface, "metadata"),
        (m.ResultMessageInterface, "metadata"),
        (m.QueryResult, "metadata"),
        (m.CommandResultItem, "stdout"),
        (m.CommandInterface, "cwd"),
        (m.CommandInterface, "env"),
    ],
)
def test_what_may_be_missing_is_none(cls: type, name: str) -> None:
    assert getattr(make(cls), name) is None


def test_the_data_of_a_result_says_its_type() -> None:
    assert m.TextResult(text="t").type == "text"
    assert m.StructuredOutputResult(structured_output={}).type == "structured_output"


# --- results ------------------------------------------------------------------------------------------------


def test_a_text_result_has_no_structure() -> None:
    result = m.ResultMessageInterface(data=m.TextResult(text="done"))
    assert (result.text, result.structured_output) == ("done", {})


def test_a_structured_result_has_no_text() -> None:
    output = {"success": True}
    result = m.ResultMessageInterface(data=m.StructuredOutputResult(structured_output=output))
    assert result.text is None
    assert result.structured_output is output
    assert result.structured_output.get("success")


def test_a_result_can_be_extended() -> None:
    @attrs.define
    class Scored(m.ResultMessageInterface):
        custom_score: float = 0.0

    result = Scored(data=m.TextResult(text="t"), custom_score=0.9)
    assert (result.custom_score, result.text, result.message_type) == (0.9, "t", "result_message")
    assert isinstance(result, m.ResultMessageInterface)


# --- checks ---------------------------------------------------------------------------------------------------

INVOCATION, EXECUTION = m.InvocationMessage, m.CommandExecutionMessage
RESPONSE = m.ArtifactUploadResponseMessageInterface


@pytest.mark.parametrize(
    ("cls", "name", "bad", "good"),
    [
        (INVOCATION, "system_prompt", [None, 5, b"s"], ["", "s"]),
        (INVOCATION, "user_prompt", [None, 5, ["u"]], ["", "u"]),
        (INVOCATION, "source_id", [5], [None, "run-1"]),
        (INVOCATION, "model", [5], [None, "m"]),
        (INVOCATION, "output_format_json_schema_str", [{"type": "json_schema"}], [None, "{}"]),
        (INVOCATION, "artifacts_ignore_content", [["*.tmp"]], [None, "*.tmp"]),
        (INVOCATION, "agent_env", [[], {"A": 5}, {5: "a"}, {"A": None}, "A=b"], [None, {}, {"A": "b"}]),
        (INVOCATION, "secrets_to_redact", [None, "a", [5], {"a"}], [[], ["a"], ("a",)]),
        (INVOCATION, "artifacts_dirs", ["/out", [5], 5], [None, [], ["/out"], ("/a", "/b")]),
        (INVOCATION, "pre_agent_downloadables", [DOWNLOAD, [{}], [COMMAND]], [None, [], [DOWNLOAD], (DOWNLOAD,)]),
        (INVOCATION, "pre_agent_invocation_commands", [COMMAND, ["ls"], [{}]], [None, [], [COMMAND], (COMMAND,)]),
        (INVOCATION, "post_agent_invocation_commands", [COMMAND, ["ls"]], [None, [], [COMMAND]]),
        (EXECUTION, "commands", [None, COMMAND, ["ls"], "ls"], [[], [COMMAND], (COMMAND,)]),
        (EXECUTION, "source_id", [5], [None, "run-1"]),
        (EXECUTION, "secrets_to_redact", [None, "a", [5]], [[], ["a"]]),
        (EXECUTION, "artifacts_dirs", ["/out", [5]], [None, ["/out"]]),
        (EXECUTION, "artifacts_ignore_content", [5], [None, "*.tmp"]),
        (EXECUTION, "pre_execution_downloadables", [[COMMAND], DOWNLOAD], [None, [DOWNLOAD]]),
        (m.CommandInterface, "command", [None, ["ls"], 5], ["ls"]),
        (m.CommandInterface, "cwd", [5], [None, "/"]),
        (m.CommandInterface, "env", [{"A": 5}, ["A=b"]], [None, {"A": "b"}]),
        (m.RuntimeEnvironmentDownloadableInterface, "download_url", [None, 5], ["u"]),
        (m.RuntimeEnvironmentDownloadableInterface, "working_dir", [None, 5], ["/w"]),
        (m.ArtifactUploadResult, "presigned_url", [None, 5], ["u"]),
        (m.ArtifactUploadResult, "content_type", [None, 5], ["c"]),
        *[(RESPONSE, name, [None, 5], ["x"]) for name in NEEDS[RESPONSE]],
    ],
)
def test_what_a_user_writes_is_checked_at_once(cls: type, name: str, bad: list[Any], good: list[Any]) -> None:
    for value in good:
        assert getattr(make(cls, **{name: value}), name) == value
    for value in bad:
        with pytest.raises(TypeError, match=name):
            make(cls, **{name: value})


def test_a_change_is_checked_too() -> None:
    message = make(m.InvocationMessage)
    with pytest.raises(TypeError, match="model"):
        message.model = 5
    message.model = "m"
    assert message.model == "m"


def test_the_line_of_a_command_may_be_given_by_its_place() -> None:
    assert m.CommandInterface("ls", cwd="/") == m.CommandInterface(command="ls", cwd="/")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (0, None),
        (3, "exit code 3"),
        (-9, "exit code -9"),
        (-1, "exit code -1: the runtime ended it, as it does with a"),
    ],
)
def test_how_a_command_failed_in_words(code: int, said: Optional[str]) -> None:
    failure = m.CommandResultItem(command="c", exit_code=code).failure
    assert (failure is None) == (said is None)
    assert failure is None or said is None or failure.startswith(said)


# --- what is not shown ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cls", "name", "value"),
    [
        (m.InvocationMessage, "agent_env", {"TOKEN": SECRET}),
        (m.InvocationMessage, "secrets_to_redact", [SECRET]),
        (m.CommandExecutionMessage, "secrets_to_redact", [SECRET]),
        (m.CommandInterface, "env", {"TOKEN": SECRET}),
        (m.RuntimeEnvironmentDownloadableInterface, "download_url", f"https://bucket/x?sig={SECRET}"),
        (m.ArtifactUploadResult, "presigned_url", f"https://bucket/x?sig={SECRET}"),
        (m.ArtifactUploadResponseMessageInterface, "presigned_url", f"https://bucket/x?sig={SECRET}"),
    ],
)
def test_what_may_be_secret_is_not_in_a_repr(cls: type, name: str, value: Any) -> None:
    made = make(cls, **{name: value})
    assert getattr(made, name) == value
    assert SECRET not in repr(made)
    assert SECRET not in str(made)
    assert name not in repr(made)


def test_nor_is_it_where_it_stands_inside_another_message() -> None:
    command = m.CommandInterface(command="make", env={"TOKEN": SECRET})
    download = m.RuntimeEnvironmentDownloadableInterface(download_url=SECRET, working_dir="/w")
    message = make(m.InvocationMessage, pre_agent_invocation_commands=[command], pre_agent_downloadables=[download])
    assert SECRET not in repr(message)
    assert "CommandInterface(command='make', cwd=None)" in repr(message)


@pytest.mark.parametrize(
    ("cls", "name", "bad"),
    [
        (m.InvocationMessage, "secrets_to_redact", SECRET),
        (m.InvocationMessage, "secrets_to_redact", [SECRET.encode()]),
        (m.InvocationMessage, "agent_env", f"TOKEN={SECRET}"),
        (m.InvocationMessage, "agent_env", {"TOKEN": SECRET.encode()}),
        (m.CommandExecutionMessage, "secrets_to_redact", SECRET),
        (m.CommandInterface, "env", {"TOKEN": [SECRET]}),
        (m.RuntimeEnvironmentDownloadableInterface, "download_url", SECRET.encode()),
        (m.ArtifactUploadResult, "presigned_url", SECRET.encode()),
        (m.ArtifactUploadResponseMessageInterface, "presigned_url", SECRET.encode()),
    ],
)
def test_nor_is_it_in_the_error_where_it_has_the_wrong_type(cls: type, name: str, bad: Any) -> None:
    with pytest.raises(TypeError, match=name) as caught:
        make(cls, **{name: bad})
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(caught.value.args)
    assert_no_frame_shows_it(caught.value)


def assert_no_frame_shows_it(error: BaseException) -> None:
    """But for those of the tests, which hold it in their own variables."""
    assert error.__traceback__ is not None
    report = traceback.TracebackException(
        type(error), error, error.__traceback__.tb_next, capture_locals=True, lookup_lines=False
    )
    while report.stack and report.stack[0].filename == __file__:
        del report.stack[0]
    assert report.stack
    assert SECRET not in "".join(report.format())


@pytest.mark.parametrize(
    ("cls", "name", "bad"),
    [
        (m.InvocationMessage, "secrets_to_redact", SECRET),
        (m.CommandInterface, "env", SECRET),
        (m.ArtifactUploadResult, "presigned_url", SECRET.encode()),
    ],
)
def test_nor_where_it_is_set(cls: type, name: str, bad: Any) -> None:
    made = make(cls)
    with pytest.raises(TypeError, match=name) as caught:
        setattr(made, name, bad)
    assert_no_frame_shows_it(caught.value)


def test_nor_where_something_else_is_wrong() -> None:
    with pytest.raises(TypeError, match="source_id") as caught:
        make(m.InvocationMessage, agent_env={"TOKEN": SECRET}, source_id=5)
    assert_no_frame_shows_it(caught.value)
    with pytest.raises(TypeError, match="unexpected keyword") as caught:
        make(m.InvocationMessage, agent_env={"TOKEN": SECRET}, misspelt=5)
    assert_no_frame_shows_it(caught.value)
