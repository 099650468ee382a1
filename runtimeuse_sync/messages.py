"""The messages between client and runtime, and the return values of the calls.

The classes keep the names of the wire's asyncio client. All take keyword arguments only, but for the line of a
command. Each has ``to_dict`` and ``from_dict``, for JSON. Fields that may hold secrets stay out of ``repr``. Where
a class says "since 0.x", older runtimes do not send (or do not understand) it.
"""

from __future__ import annotations

from typing import Any, Optional, Union

import attrs
from attrs import define, field

from ._common.plain import Plain
from ._common.tracebacks import made_without_a_trace
from ._common.validation import (
    check_env,
    check_list_of,
    check_optional_list_of,
    check_optional_string,
    check_optional_strings,
    check_string,
    check_strings,
    checked_by,
)
from ._common.with_output import OutputT, WithOutput
from .usage import Usage

_string, _optional_string = checked_by(check_string), checked_by(check_optional_string)
_strings, _optional_strings = checked_by(check_strings), checked_by(check_optional_strings)
_env = checked_by(check_env)


# Marks what is the same in every message of a class.
IS_TAG = {"is_tag": True}


def _message_type(name: str, *, checked: bool = False) -> Any:
    validator = attrs.validators.in_((name,)) if checked else None
    return field(default=name, repr=False, validator=validator, metadata=IS_TAG)


# --- what the runtime sends -------------------------------------------------------------------------


@define(kw_only=True)
class AgentRuntimeMessageInterface(Plain):
    """The base of every message that a runtime sends.

    Attributes:
        message_type (str): the wire's tag for the class.

    >>> isinstance(AssistantMessageInterface(text_blocks=["hi"]), AgentRuntimeMessageInterface)
    True
    """

    message_type: str


@define(kw_only=True)
class AssistantMessageInterface(AgentRuntimeMessageInterface):
    """Text of the agent. Until runtime 0.13 it carries the output of commands too.

    Attributes:
        text_blocks (list[str]): the blocks of text.

    >>> AssistantMessageInterface(text_blocks=["Reading the repository."]).text_blocks
    ['Reading the repository.']
    """

    text_blocks: list[str]
    message_type: str = _message_type("assistant_message")


@define(kw_only=True)
class CommandOutputMessageInterface(AgentRuntimeMessageInterface):
    """A piece of a command's output, as it came (since 0.14).

    Attributes:
        stream (str): ``"stdout"`` or ``"stderr"``.
        text (str): the output; not cut at line ends.
        command (str): the command that printed it.

    >>> CommandOutputMessageInterface(stream="stdout", text="ok\\n", command="make")
    CommandOutputMessageInterface(stream='stdout', text='ok\\n', command='make')
    """

    stream: str
    text: str
    command: str
    message_type: str = _message_type("command_output_message")


@define(kw_only=True)
class HeartbeatMessageInterface(AgentRuntimeMessageInterface):
    """A sign of life, every 15 s while a request is in flight (since 0.14.1).

    Attributes:
        phase (str): what the runtime is doing.
        elapsed_ms (float): milliseconds since the request began.

    >>> HeartbeatMessageInterface(phase="agent", elapsed_ms=15000)
    HeartbeatMessageInterface(phase='agent', elapsed_ms=15000)
    """

    phase: str
    elapsed_ms: float
    message_type: str = _message_type("heartbeat_message")


@define(kw_only=True)
class ArtifactUploadRequestMessageInterface(AgentRuntimeMessageInterface):
    """The runtime asks where to upload a file of a watched directory.

    Attributes:
        filename (str): the name of the file.
        filepath (str): its path in the sandbox.

    >>> ArtifactUploadRequestMessageInterface(filename="report.csv", filepath="/out/report.csv").filename
    'report.csv'
    """

    filename: str
    filepath: str
    message_type: str = _message_type("artifact_upload_request_message")


@define(kw_only=True)
class ErrorMessageInterface(AgentRuntimeMessageInterface):
    """The runtime, or the agent, reports an error.

    Attributes:
        error (str): what went wrong.
        metadata (dict or None): details, if any. Default None.

    >>> ErrorMessageInterface(error="rate limited").error
    'rate limited'
    """

    error: str
    metadata: Optional[dict[str, Any]] = None
    message_type: str = _message_type("error_message")


@define(kw_only=True)
class EndSessionConfirmMessage(AgentRuntimeMessageInterface):
    """The runtime has drained its artifacts and closes the session (since 0.13).

    >>> EndSessionConfirmMessage().message_type
    'end_session_confirm_message'
    """

    message_type: str = _message_type("end_session_confirm_message")


@define(kw_only=True)
class TextResult(Plain):
    """A result in words: what a request without an output schema gives.

    Attributes:
        text (str): the agent's answer.

    >>> TextResult(text="42").text
    '42'
    """

    text: str
    type: str = field(default="text", repr=False, metadata=IS_TAG)


@define(kw_only=True)
class StructuredOutputResult(Plain):
    """A result that follows the request's output schema.

    Attributes:
        structured_output (dict): the agent's answer.

    >>> StructuredOutputResult(structured_output={"files": 3}).structured_output["files"]
    3
    """

    structured_output: dict[str, Any]
    type: str = field(default="structured_output", repr=False, metadata=IS_TAG)


ResultData = Union[TextResult, StructuredOutputResult]


class _AnsweringMessage(AgentRuntimeMessageInterface, WithOutput[OutputT]):
    __slots__ = ("_output",)


@define(kw_only=True)
class ResultMessageInterface(_AnsweringMessage[OutputT]):
    """The result of an invocation, in the shape that the runtime sent.

    Runtime 0.4 sends ``structured_output`` beside ``metadata``; 0.5 and later send ``data``. The
    properties ``structured_output`` and ``text`` read both. Subclass it with ``@attrs.define`` to receive
    fields that a runtime's handler adds:

    >>> import attrs
    >>> @attrs.define(kw_only=True)
    ... class ScoredResult(ResultMessageInterface):
    ...     custom_score: float = 0.0
    >>> ScoredResult(data=TextResult(text="fine"), custom_score=0.9).custom_score
    0.9

    With ``output_type``, ``output`` is of that type; a subclass says so by ``ResultMessageInterface[Stats]``.

    Attributes:
        data (TextResult or StructuredOutputResult): the result.
        metadata (dict or None): what the runtime tells of the run: cost, duration, … Default None.
    """

    data: ResultData
    metadata: Optional[dict[str, Any]] = None
    message_type: str = _message_type("result_message")

    @property
    def structured_output(self) -> dict[str, Any]:
        """The structured output; an empty dict where the result is text.

        >>> ResultMessageInterface(data=StructuredOutputResult(structured_output={"success": True})).structured_output
        {'success': True}
        """
        return self.data.structured_output if isinstance(self.data, StructuredOutputResult) else {}

    @property
    def text(self) -> Optional[str]:
        """The text; None where the result is structured.

        >>> ResultMessageInterface(data=TextResult(text="done")).text
        'done'
        """
        return self.data.text if isinstance(self.data, TextResult) else None

    @property
    def usage(self) -> Usage:
        """What the run took, as far as ``metadata`` tells.

        >>> ResultMessageInterface(data=TextResult(text="done"), metadata={"num_turns": 2}).usage.turns
        2
        """
        return Usage.of(self.metadata)


# Node's default limit for captured output. A process itself has no exit code below 0.
_ENDED_BY_RUNTIME = (
    "the runtime ended it, as it does with a command that prints more than 1 MiB on stdout or stderr; "
    "let it write to a file, or print less"
)


@define(kw_only=True)
class CommandResultItem(Plain):
    """The end of one command.

    Attributes:
        command (str): the command.
        exit_code (int): its exit code; -1 if the runtime ended it, mostly since it printed more than 1 MiB.
        stdout (str or None): what it printed (since 0.12). Default None.

    >>> CommandResultItem(command="true", exit_code=0).exit_code
    0
    """

    command: str
    exit_code: int
    stdout: Optional[str] = None

    @property
    def failure(self) -> Optional[str]:
        """The failure in words; None if it did not fail.

        >>> CommandResultItem(command="make", exit_code=2).failure
        'exit code 2'
        """
        if self.exit_code == -1:
            return f"exit code -1: {_ENDED_BY_RUNTIME}"
        return f"exit code {self.exit_code}" if self.exit_code else None


@attrs.frozen(kw_only=True)
class CompletedCommand(Plain):
    """The end of a command of ``run``, and its output.

    Attributes:
        command (str): the line that ran.
        exit_code (int): its exit code.
        stdout, stderr (str): what it printed. Bytes that are not UTF-8 are U+FFFD. Not in ``repr``.
        duration (float): seconds that it took, as seen from here.

    >>> CompletedCommand(command="make", exit_code=2, stdout="", stderr="No rule", duration=0.1).stderr
    'No rule'
    """

    command: str
    exit_code: int
    stdout: str = field(repr=False)
    stderr: str = field(repr=False)
    duration: float

    def _repr_html_(self) -> str:
        """The HTML that a notebook shows: a table of all fields."""
        from .notebook import _html

        return _html.table(type(self).__name__, attrs.asdict(self))


@define(kw_only=True)
class CommandExecutionResultMessageInterface(AgentRuntimeMessageInterface):
    """The result of a ``CommandExecutionMessage`` (since 0.8).

    Attributes:
        results (list[CommandResultItem]): one for each command that ran; those after a failed one are left out.

    >>> CommandExecutionResultMessageInterface(results=[]).results
    []
    """

    results: list[CommandResultItem]
    message_type: str = _message_type("command_execution_result_message")


# --- what the client sends --------------------------------------------------------------------------


@made_without_a_trace
@define
class CommandInterface(Plain):
    """A shell command for the sandbox.

    Attributes:
        command (str): the command line; may be given by its place.
        cwd (str or None): the directory to run it in. Default: the runtime's own.
        env (dict[str, str] or None): environment variables to add. Not in ``repr``.

    >>> CommandInterface("make test", cwd="/src", env={"TOKEN": "s3cret"})
    CommandInterface(command='make test', cwd='/src')
    """

    command: str = field(validator=_string)
    cwd: Optional[str] = field(default=None, validator=_optional_string, kw_only=True)
    env: Optional[dict[str, str]] = field(default=None, validator=_env, repr=False, kw_only=True)


@made_without_a_trace
@define(kw_only=True)
class RuntimeEnvironmentDownloadableInterface(Plain):
    """A file or zip archive that the runtime downloads before the work begins.

    Attributes:
        download_url (str): where it is. Not in ``repr``: such URLs are often presigned.
        working_dir (str): the directory in the sandbox to put it into (archives are unpacked there).

    >>> RuntimeEnvironmentDownloadableInterface(download_url="https://example.com/src.zip", working_dir="/src")
    RuntimeEnvironmentDownloadableInterface(working_dir='/src')
    """

    download_url: str = field(validator=_string, repr=False)
    working_dir: str = field(validator=_string)


_commands = checked_by(check_list_of(CommandInterface))
_optional_commands = checked_by(check_optional_list_of(CommandInterface))
_downloadables = checked_by(check_optional_list_of(RuntimeEnvironmentDownloadableInterface))


@made_without_a_trace
@define(kw_only=True)
class InvocationMessage(Plain):
    """Asks the runtime to run its agent.

    Attributes:
        system_prompt (str): the agent's instructions.
        user_prompt (str): the task.
        source_id (str or None): your name for the run, for logs. Default None.
        model (str or None): the model to use. Default: the runtime's own.
        agent_env (dict[str, str] or None): environment variables for the agent. Not in ``repr``.
        secrets_to_redact (list[str]): strings that the runtime replaces by ``[REDACTED]`` in all that it
            sends (since 0.9). Default: none. Not in ``repr``.
        output_format_json_schema_str (str or None): a JSON text ``{"type": "json_schema", "schema": {…}}``;
            with it the result is structured. Default: text.
        pre_agent_downloadables (list[RuntimeEnvironmentDownloadableInterface] or None): fetched first.
        pre_agent_invocation_commands (list[CommandInterface] or None): run before the agent.
        post_agent_invocation_commands (list[CommandInterface] or None): run after it.
        artifacts_dirs (list[str] or None): directories whose files the runtime offers for upload (runtimes
            before 0.14.2 watch one directory, so give them one).
        artifacts_ignore_content (str or None): gitignore lines for ``artifacts_dirs`` (since 0.15).

    >>> InvocationMessage(system_prompt="Be brief.", user_prompt="Hello").user_prompt
    'Hello'
    """

    system_prompt: str = field(validator=_string)
    user_prompt: str = field(validator=_string)
    message_type: str = _message_type("invocation_message", checked=True)
    source_id: Optional[str] = field(default=None, validator=_optional_string)
    model: Optional[str] = field(default=None, validator=_optional_string)
    agent_env: Optional[dict[str, str]] = field(default=None, validator=_env, repr=False)
    secrets_to_redact: list[str] = field(factory=list, validator=_strings, repr=False)
    output_format_json_schema_str: Optional[str] = field(default=None, validator=_optional_string)
    pre_agent_downloadables: Optional[list[RuntimeEnvironmentDownloadableInterface]] = field(
        default=None, validator=_downloadables
    )
    pre_agent_invocation_commands: Optional[list[CommandInterface]] = field(default=None, validator=_optional_commands)
    post_agent_invocation_commands: Optional[list[CommandInterface]] = field(default=None, validator=_optional_commands)
    artifacts_dirs: Optional[list[str]] = field(default=None, validator=_optional_strings)
    artifacts_ignore_content: Optional[str] = field(default=None, validator=_optional_string)


@made_without_a_trace
@define(kw_only=True)
class CommandExecutionMessage(Plain):
    """Asks the runtime to run commands, without its agent (since 0.8).

    Attributes:
        commands (list[CommandInterface]): run in order, until one fails.
        source_id, secrets_to_redact, artifacts_dirs, artifacts_ignore_content: as in ``InvocationMessage``.
        pre_execution_downloadables (list[RuntimeEnvironmentDownloadableInterface] or None): fetched first.

    >>> CommandExecutionMessage(commands=[CommandInterface(command="ls")]).commands
    [CommandInterface(command='ls', cwd=None)]
    """

    commands: list[CommandInterface] = field(validator=_commands)
    message_type: str = _message_type("command_execution_message", checked=True)
    source_id: Optional[str] = field(default=None, validator=_optional_string)
    secrets_to_redact: list[str] = field(factory=list, validator=_strings, repr=False)
    artifacts_dirs: Optional[list[str]] = field(default=None, validator=_optional_strings)
    artifacts_ignore_content: Optional[str] = field(default=None, validator=_optional_string)
    pre_execution_downloadables: Optional[list[RuntimeEnvironmentDownloadableInterface]] = field(
        default=None, validator=_downloadables
    )


@made_without_a_trace
@define(kw_only=True)
class ArtifactUploadResult(Plain):
    """The upload URL of an artifact: the return value of ``on_artifact_upload_request``.

    Attributes:
        presigned_url (str): the runtime PUTs the file here. Not in ``repr``.
        content_type (str): the ``Content-Type`` header of that PUT.

    >>> ArtifactUploadResult(presigned_url="https://bucket.example.com/x?sig=…", content_type="text/csv")
    ArtifactUploadResult(content_type='text/csv')
    """

    presigned_url: str = field(validator=_string, repr=False)
    content_type: str = field(validator=_string)


@made_without_a_trace
@define(kw_only=True)
class ArtifactUploadResponseMessageInterface(Plain):
    """The answer to an ``ArtifactUploadRequestMessageInterface``.

    Attributes:
        filename, filepath (str): those of the request.
        presigned_url, content_type (str): those of the ``ArtifactUploadResult``. The URL is not in ``repr``.

    >>> ArtifactUploadResponseMessageInterface(
    ...     filename="a.txt", filepath="/out/a.txt", presigned_url="https://…", content_type="text/plain")
    ArtifactUploadResponseMessageInterface(filename='a.txt', filepath='/out/a.txt', content_type='text/plain')
    """

    filename: str = field(validator=_string)
    filepath: str = field(validator=_string)
    presigned_url: str = field(validator=_string, repr=False)
    content_type: str = field(validator=_string)
    message_type: str = _message_type("artifact_upload_response_message", checked=True)


@define(kw_only=True)
class CancelMessage(Plain):
    """Cancels the request in flight.

    >>> CancelMessage().message_type
    'cancel_message'
    """

    message_type: str = _message_type("cancel_message", checked=True)


@define(kw_only=True)
class EndSessionMessage(Plain):
    """Asks the runtime to upload what is left and to close (since 0.11; older ones ignore it).

    >>> EndSessionMessage().message_type
    'end_session_message'
    """

    message_type: str = _message_type("end_session_message", checked=True)


ClientMessage = Union[
    InvocationMessage,
    CommandExecutionMessage,
    ArtifactUploadResponseMessageInterface,
    CancelMessage,
    EndSessionMessage,
]


# --- what a silent stream yields -----------------------------------------------------------------------


@define(kw_only=True)
class Tick(AgentRuntimeMessageInterface):
    """Yielded by a stream when nothing has come for its ``tick`` seconds.

    It comes from the client, not from the runtime, so that a loop over a silent run can look at the world outside.

    Attributes:
        elapsed_seconds (float): since the run was entered.

    >>> Tick(elapsed_seconds=3.0)
    Tick(elapsed_seconds=3.0)
    """

    elapsed_seconds: float
    message_type: str = field(default="tick", init=False, repr=False)


# --- what query() and execute_commands() return -----------------------------------------------------


class _Answer(Plain, WithOutput[OutputT]):
    __slots__ = ("_output",)


@define(kw_only=True)
class QueryResult(_Answer[OutputT]):
    """The return value of ``query()``.

    Attributes:
        output: the agent's answer, of the ``output_type`` that was asked for; without one, a str or a dict.
        data (TextResult or StructuredOutputResult): the agent's answer as it came.
        metadata (dict or None): what the runtime tells of the run.

    >>> QueryResult(data=TextResult(text="done")).data.text
    'done'
    """

    data: ResultData
    metadata: Optional[dict[str, Any]] = None

    @property
    def usage(self) -> Usage:
        """What the run took, as far as ``metadata`` tells.

        >>> QueryResult(data=TextResult(text="done"), metadata={"total_cost_usd": 0.25}).usage.cost_usd
        0.25
        """
        return Usage.of(self.metadata)


@define(kw_only=True)
class CommandExecutionResult(Plain):
    """The return value of ``execute_commands()``.

    Attributes:
        results (list[CommandResultItem]): one for each command that ran, in order.

    >>> CommandExecutionResult(results=[CommandResultItem(command="true", exit_code=0)]).results[0].exit_code
    0
    """

    results: list[CommandResultItem]
