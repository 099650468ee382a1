"""The options of a call: callbacks, limits, and the option classes of ``query`` and ``execute_commands``."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from functools import cache
from typing import Any, Callable, Optional, TypeVar, Union

import attrs
from attrs import define, field, frozen

from . import messages as m
from ._common.tracebacks import made_without_a_trace
from ._common.validation import (
    check_artifacts,
    check_callable,
    check_env,
    check_is_cancelled,
    check_logger,
    check_optional_list_of,
    check_optional_string,
    check_optional_strings,
    check_output_schema,
    check_seconds,
    check_secrets,
    check_string,
    check_strings,
    check_transfers,
    check_type,
    checked_by,
)

OnAssistantMessageCallback = Callable[[m.AssistantMessageInterface], Any]
OnCommandOutputCallback = Callable[[m.CommandOutputMessageInterface], Any]
OnHeartbeatCallback = Callable[[m.HeartbeatMessageInterface], Any]
OnResultMessageCallback = Callable[[Any], Any]
OnErrorMessageCallback = Callable[[m.ErrorMessageInterface], Any]
OnArtifactUploadRequestCallback = Callable[
    [m.ArtifactUploadRequestMessageInterface], Union[m.ArtifactUploadResult, tuple[str, str]]
]
IsCancelledCallback = Union[threading.Event, Callable[[], bool]]
Logger = Union[logging.Logger, "logging.LoggerAdapter[Any]"]
# Paths in the sandbox, each with one here.
Transfers = dict[str, Union[str, "os.PathLike[str]"]]

ValueT = TypeVar("ValueT")

_string, _optional_string = checked_by(check_string), checked_by(check_optional_string)
_seconds, _callback = checked_by(check_seconds), checked_by(check_callable)
_downloadables = checked_by(check_optional_list_of(m.RuntimeEnvironmentDownloadableInterface))
_commands = checked_by(check_optional_list_of(m.CommandInterface))
_is_cancelled = checked_by(lambda _, value: check_is_cancelled(value))
_logger = checked_by(lambda _, value: check_logger(value))
_ticks = checked_by(lambda name, value: check_seconds(name, value, none_means="no ticks"))


@frozen(kw_only=True, repr=False)
class CallOptions:
    """Callbacks and limits of one call: the keywords of ``invoke`` and ``stream``.

    Attributes:
        on_artifact_upload_request: says where an artifact goes.
        on_error_message: told of each error; returns True to go on.
        is_cancelled: a ``threading.Event``, or a function that returns a bool.
        timeout (float or None): seconds for connecting, running and draining together.
        idle_timeout (float or None): seconds that may pass without a message from the runtime.
        logger: for this call's log records. Default: the client's.
        tick (float or None): seconds of silence after which a stream yields a ``Tick``. Default None: it yields none.

    >>> CallOptions(timeout=True)
    Traceback (most recent call last):
    ...
    TypeError: timeout must be a positive number of seconds, or None for no limit; got a bool
    """

    on_artifact_upload_request: Optional[OnArtifactUploadRequestCallback] = field(default=None, validator=_callback)
    on_error_message: Optional[OnErrorMessageCallback] = field(default=None, validator=_callback)
    is_cancelled: Optional[IsCancelledCallback] = field(default=None, validator=_is_cancelled)
    timeout: Optional[float] = field(default=None, validator=_seconds)
    idle_timeout: Optional[float] = field(default=None, validator=_seconds)
    logger: Optional[Logger] = field(default=None, validator=_logger)
    tick: Optional[float] = field(default=None, validator=_ticks)


@cache
def _shared_fields(cls: type, other: type) -> tuple[str, ...]:
    known = attrs.fields_dict(other)
    return tuple(a.name for a in attrs.fields(cls) if a.name in known)


@define(kw_only=True, repr=False)
class _RequestOptions:
    """The fields that ``QueryOptions`` and ``ExecuteCommandsOptions`` share."""

    source_id: Optional[str] = field(default=None, validator=_optional_string)
    secrets_to_redact: list[str] = field(factory=list, validator=checked_by(check_strings), repr=False)
    artifacts_dirs: Optional[list[str]] = field(default=None, validator=checked_by(check_optional_strings))
    artifacts_ignore_content: Optional[str] = field(default=None, validator=_optional_string)
    on_assistant_message: Optional[OnAssistantMessageCallback] = field(default=None, validator=_callback, repr=False)
    on_command_output: Optional[OnCommandOutputCallback] = field(default=None, validator=_callback, repr=False)
    on_artifact_upload_request: Optional[OnArtifactUploadRequestCallback] = field(
        default=None, validator=_callback, repr=False
    )
    on_error_message: Optional[OnErrorMessageCallback] = field(default=None, validator=_callback, repr=False)
    on_heartbeat: Optional[OnHeartbeatCallback] = field(default=None, validator=_callback, repr=False)
    is_cancelled: Optional[IsCancelledCallback] = field(default=None, validator=_is_cancelled, repr=False)
    timeout: Optional[float] = field(default=None, validator=_seconds)
    idle_timeout: Optional[float] = field(default=None, validator=_seconds)
    logger: Optional[Logger] = field(default=None, validator=_logger, repr=False)

    def __attrs_post_init__(self) -> None:
        self._check_together()

    def _check_together(self) -> None:
        """Check combinations of fields, when the options are made, and again when they are used."""
        check_artifacts(self.artifacts_dirs, self.on_artifact_upload_request)
        check_secrets(self.secrets_to_redact)

    def call_options(self) -> CallOptions:
        """The part that bounds the call, checked."""
        self._check_together()
        return CallOptions(**self._fields_of(CallOptions))

    def redacted(self, value: ValueT) -> ValueT:
        """``value`` with ``[REDACTED]`` for each of ``secrets_to_redact``: texts, lists, dicts, messages, however deep.

        >>> ExecuteCommandsOptions(secrets_to_redact=["s3cret"]).redacted(["key=s3cret"])
        ['key=[REDACTED]']
        """
        from ._common.redaction import ShownRedactor  # most calls need none

        redacted: ValueT = ShownRedactor(self.secrets_to_redact).value(value)
        return redacted

    def _fields_of(self, cls: type) -> dict[str, Any]:
        """The options that ``cls`` has a field for."""
        own: type = type(self)
        return {name: getattr(self, name) for name in _shared_fields(cls, own)}


@made_without_a_trace
@define(kw_only=True)
class QueryOptions(_RequestOptions):
    """The options of ``query()``.

    Attributes:
        system_prompt (str): the agent's instructions. Default: none.
        model (str or None): the model to use. Default: the runtime's own.
        output_format_json_schema_str (str or None): a JSON text ``{"type": "json_schema", "schema": {…}}``;
            with it ``result.data`` is a ``StructuredOutputResult``, without it a ``TextResult``.
        agent_env (dict[str, str] or None): environment variables for the agent. Not in ``repr``.
        pre_agent_downloadables (list[RuntimeEnvironmentDownloadableInterface] or None): fetched first.
        pre_agent_invocation_commands, post_agent_invocation_commands (list[CommandInterface] or None): run
            before and after the agent.
        uploads (dict or None): files and folders for the agent: the path that each gets in the sandbox, and its path
            here. For ``query``, which then is ``upload``, ``query`` and ``download`` in one, within its ``timeout``.
        downloads (dict or None): files and folders that it leaves: the path of each in the sandbox, and where it goes
            here. Once the agent has answered; if it failed, nothing is downloaded.
        source_id (str or None): your name for the run.
        secrets_to_redact (list[str]): strings that the runtime must not send back. Not in ``repr``.
        artifacts_dirs (list[str] or None): directories in the sandbox whose files are offered for upload;
            goes together with ``on_artifact_upload_request``.
        artifacts_ignore_content (str or None): gitignore lines for them.
        on_assistant_message, on_command_output, on_heartbeat: called with each message of that type.
        on_artifact_upload_request: called for each file; returns an ``ArtifactUploadResult`` or a
            ``(presigned_url, content_type)`` tuple.
        on_error_message: called with each error; return True to go on ("this one is soft").
        is_cancelled: a ``threading.Event``, or a function that returns a bool.
        timeout (float or None): seconds for the whole call. Default None: no limit.
        idle_timeout (float or None): seconds that may pass without a message. Default None: no limit.
        logger: for this call's log records. Default: the client's.

    Raises:
        TypeError, ValueError: for a value that cannot be meant, with what to write instead.

    >>> QueryOptions(system_prompt="Be brief.", timeout=300).timeout
    300
    """

    system_prompt: str = field(default="", validator=_string)
    model: Optional[str] = field(default=None, validator=_optional_string)
    output_format_json_schema_str: Optional[str] = field(default=None, validator=_optional_string)
    agent_env: Optional[dict[str, str]] = field(default=None, validator=checked_by(check_env), repr=False)
    pre_agent_downloadables: Optional[list[m.RuntimeEnvironmentDownloadableInterface]] = field(
        default=None, validator=_downloadables
    )
    pre_agent_invocation_commands: Optional[list[m.CommandInterface]] = field(default=None, validator=_commands)
    post_agent_invocation_commands: Optional[list[m.CommandInterface]] = field(default=None, validator=_commands)
    uploads: Optional[Transfers] = field(default=None, validator=checked_by(check_transfers))
    downloads: Optional[Transfers] = field(default=None, validator=checked_by(check_transfers))

    def _check_together(self) -> None:
        _RequestOptions._check_together(self)  # a class with slots is made anew: super() would cost a cell
        check_output_schema(self.output_format_json_schema_str)

    def invocation(self, prompt: str) -> m.InvocationMessage:
        """The message that these options and ``prompt`` make.

        >>> QueryOptions(system_prompt="Be brief.").invocation("Hello").user_prompt
        'Hello'
        """
        self._check_together()
        check_type("prompt", prompt, str, "a str")
        return m.InvocationMessage(user_prompt=prompt, **self._fields_of(m.InvocationMessage))


@made_without_a_trace
@define(kw_only=True)
class ExecuteCommandsOptions(_RequestOptions):
    """The options of ``execute_commands()``: those of ``QueryOptions`` that have to do with commands.

    Attributes:
        pre_execution_downloadables (list[RuntimeEnvironmentDownloadableInterface] or None): fetched first.
        source_id, secrets_to_redact, artifacts_dirs, artifacts_ignore_content, on_assistant_message,
        on_command_output, on_heartbeat, on_artifact_upload_request, on_error_message, is_cancelled, timeout,
        idle_timeout, logger: as in ``QueryOptions``.

    Raises:
        TypeError, ValueError: for a value that cannot be meant, with what to write instead.

    >>> ExecuteCommandsOptions(timeout=60).timeout
    60
    """

    pre_execution_downloadables: Optional[list[m.RuntimeEnvironmentDownloadableInterface]] = field(
        default=None, validator=_downloadables
    )

    def message(self, commands: Sequence[m.CommandInterface]) -> m.CommandExecutionMessage:
        """The message that these options and ``commands`` make.

        >>> ExecuteCommandsOptions().message([m.CommandInterface(command="ls")]).commands[0].command
        'ls'
        """
        self._check_together()
        return m.CommandExecutionMessage(commands=list(commands), **self._fields_of(m.CommandExecutionMessage))
