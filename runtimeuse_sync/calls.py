"""The calls that ``Client`` and ``Session`` have in common."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Callable, Optional, TypeVar, Union

import attrs

from . import messages as m
from ._call.stderr_tail import StderrTail
from ._common.validation import check_artifacts, check_callable, check_output_schema, check_secrets, check_type, kind
from ._protocol import codec
from .exceptions import CommandFailedError
from .options import (
    CallOptions,
    ExecuteCommandsOptions,
    IsCancelledCallback,
    Logger,
    OnArtifactUploadRequestCallback,
    OnAssistantMessageCallback,
    OnCommandOutputCallback,
    OnErrorMessageCallback,
    OnHeartbeatCallback,
    OnResultMessageCallback,
    QueryOptions,
)
from .run import Run

ResultT = TypeVar("ResultT")
if TYPE_CHECKING:  # Python has defaults for type variables from 3.13 on; type checkers have them for all
    from typing_extensions import TypeVar as TypeVarWithDefault

    MessageT = TypeVarWithDefault("MessageT", bound=m.ResultMessageInterface, default=m.ResultMessageInterface)
else:
    MessageT = TypeVar("MessageT")


class Calls(ABC):
    """``invoke``, ``query``, ``execute_commands`` and ``stream``, over one way to start a run."""

    @abstractmethod
    def _new_run(self, request: m.ClientMessage, result_cls: type[ResultT], options: CallOptions) -> Run[ResultT]: ...

    def stream(
        self,
        invocation: m.InvocationMessage,
        result_message_cls: type[MessageT] = m.ResultMessageInterface,  # type: ignore[assignment]
        *,
        on_artifact_upload_request: Optional[OnArtifactUploadRequestCallback] = None,
        on_error_message: Optional[OnErrorMessageCallback] = None,
        is_cancelled: Optional[IsCancelledCallback] = None,
        timeout: Optional[float] = None,
        idle_timeout: Optional[float] = None,
        logger: Optional[Logger] = None,
    ) -> Run[MessageT]:
        """Run the agent, and iterate over its messages as they come.

        Args:
            invocation (InvocationMessage): what to run.
            result_message_cls: ``ResultMessageInterface``, or a subclass with fields of your own.
            on_artifact_upload_request, on_error_message, is_cancelled, timeout, idle_timeout, logger: as in
                ``invoke``.

        Returns:
            Run: a context manager and iterator; nothing is sent before it is entered.

        Raises:
            TypeError, ValueError: for arguments that cannot be meant, before anything is sent.

        >>> with client.stream(InvocationMessage(system_prompt="", user_prompt="hi")) as run:
        ...     texts = [message.text_blocks for message in run if isinstance(message, AssistantMessageInterface)]
        >>> texts, run.result.text
        ([['You said: hi']], 'hi')
        """
        check_type("invocation", invocation, m.InvocationMessage, "an InvocationMessage")
        check_result_class(result_message_cls)
        check_artifacts(invocation.artifacts_dirs, on_artifact_upload_request)
        check_secrets(invocation.secrets_to_redact)
        check_output_schema(invocation.output_format_json_schema_str)
        options = CallOptions(
            on_artifact_upload_request=on_artifact_upload_request,
            on_error_message=on_error_message,
            is_cancelled=is_cancelled,
            timeout=timeout,
            idle_timeout=idle_timeout,
            logger=logger,
        )
        return self._new_run(invocation, result_message_cls, options)

    def invoke(
        self,
        invocation: m.InvocationMessage,
        on_result_message: Optional[OnResultMessageCallback] = None,
        result_message_cls: type[MessageT] = m.ResultMessageInterface,  # type: ignore[assignment]
        *,
        on_assistant_message: Optional[OnAssistantMessageCallback] = None,
        on_command_output: Optional[OnCommandOutputCallback] = None,
        on_artifact_upload_request: Optional[OnArtifactUploadRequestCallback] = None,
        on_error_message: Optional[OnErrorMessageCallback] = None,
        on_heartbeat: Optional[OnHeartbeatCallback] = None,
        is_cancelled: Optional[IsCancelledCallback] = None,
        timeout: Optional[float] = None,
        idle_timeout: Optional[float] = None,
        logger: Optional[Logger] = None,
    ) -> MessageT:
        """Run the agent, and return its result.

        The callbacks are plain functions; they run on this thread, one at a time, in the order of the wire.
        An exception that one raises cancels the remote run and arrives here unchanged.

        Args:
            invocation (InvocationMessage): what to run.
            on_result_message: called with the result, which is returned as well.
            result_message_cls: ``ResultMessageInterface``, or a subclass with fields of your own.
            on_assistant_message, on_command_output, on_heartbeat: called with each message of that type.
            on_artifact_upload_request: called for each file in ``invocation.artifacts_dirs``; returns an
                ``ArtifactUploadResult`` or a ``(presigned_url, content_type)`` tuple.
            on_error_message: called with each error; return True to go on ("this one is soft").
            is_cancelled: a ``threading.Event``, looked at every 50 ms, or a function that returns a bool,
                asked once in ``cancel_poll_interval`` seconds.
            timeout (float or None): seconds for connecting, running and draining together. Default: no limit.
            idle_timeout (float or None): seconds that may pass without a message. Default: no limit.
            logger: for this call's log records. Default: the client's.

        Returns:
            The result, as a ``result_message_cls``.

        Raises:
            AgentRuntimeError: the runtime reported an error that was not excused. ``.result`` is set where it
                came after the result.
            CancelledException: ``is_cancelled``, or ``abort()`` from any thread.
            InvocationTimeoutError: ``timeout`` ran out; ``IdleTimeoutError``: ``idle_timeout``.
            ConnectionFailedError: no connection came about; nothing was sent.
            ConnectionLostError: the connection ended before the result.
            ProtocolError: the runtime sent what it must not send.
            TypeError, ValueError: for arguments that cannot be meant, before anything is sent.

        >>> client.invoke(
        ...     InvocationMessage(system_prompt="Be brief.", user_prompt="hello"),
        ...     on_assistant_message=lambda message: print(*message.text_blocks),
        ...     timeout=30,
        ... ).text
        You said: hello
        'hello'
        """
        run = self.stream(
            invocation,
            result_message_cls,
            on_artifact_upload_request=on_artifact_upload_request,
            on_error_message=on_error_message,
            is_cancelled=is_cancelled,
            timeout=timeout,
            idle_timeout=idle_timeout,
            logger=logger,
        )
        callbacks = _by_class(on_assistant_message, on_command_output, on_heartbeat)
        check_callable("on_result_message", on_result_message)
        if on_result_message is not None:
            callbacks[result_message_cls] = on_result_message
        return _dispatch(run, callbacks)

    def query(self, prompt: str, options: QueryOptions) -> m.QueryResult:
        """Ask the agent, and return its answer.

        Args:
            prompt (str): the task.
            options (QueryOptions): everything else.

        Returns:
            QueryResult: ``data`` is a ``TextResult``, or a ``StructuredOutputResult`` if
            ``options.output_format_json_schema_str`` is set.

        Raises:
            What ``invoke`` raises.

        >>> client.query("hello", QueryOptions(system_prompt="Be brief.")).data.text
        'hello'
        """
        check_type("options", options, QueryOptions, "QueryOptions(system_prompt=...)")
        run = self._new_run(options.invocation(prompt), m.ResultMessageInterface, options.call_options())
        result = _dispatch(run, _callbacks_of(options))
        return m.QueryResult(data=result.data, metadata=result.metadata)

    def execute_commands(
        self,
        commands: Sequence[Union[m.CommandInterface, str]],
        options: Optional[ExecuteCommandsOptions] = None,
        *,
        check: bool = False,
    ) -> m.CommandExecutionResult:
        """Run commands in the sandbox, without the agent (since runtime 0.8).

        They run in order until one fails; those after it are left out of the results.

        Args:
            commands (sequence of CommandInterface or str): at least one; a str is the line of a command.
            options (ExecuteCommandsOptions or None): everything else.
            check (bool): raise ``CommandFailedError`` if a command fails. Default False.

        Returns:
            CommandExecutionResult: one item for each command that ran. An ``exit_code`` of -1 means that the
            runtime ended the command, mostly since it printed more than 1 MiB; ``failure`` says so in words.

        Raises:
            CommandFailedError: with ``check``; carries the results, and shows the end of the output.
            AgentRuntimeError: the runtime reported an error (0.8 and 0.9 do so when a command fails).
            Otherwise what ``invoke`` raises.

        >>> client.execute_commands(["exit 3"]).results[0].exit_code
        3
        >>> client.execute_commands([CommandInterface(command="exit 3")], check=True)
        Traceback (most recent call last):
        ...
        runtimeuse_sync.exceptions.CommandFailedError: command 1 failed with exit code 3
        """
        options = ExecuteCommandsOptions() if options is None else options
        check_type("options", options, ExecuteCommandsOptions, "ExecuteCommandsOptions(...)")
        message = options.message(_checked_commands(commands))
        run = self._new_run(message, m.CommandExecutionResultMessageInterface, options.call_options())
        callbacks, stderr = _callbacks_of(options), StderrTail(options.on_command_output)
        if check:
            callbacks[m.CommandOutputMessageInterface] = stderr
        results = _dispatch(run, callbacks).results
        if check and any(item.exit_code != 0 for item in results):
            raise CommandFailedError(results=results, stderr=stderr.of(results[-1].command))
        return m.CommandExecutionResult(results=results)


Callbacks = dict[type, Optional[Callable[[Any], Any]]]
_UNKNOWN: Any = object()


def _by_class(
    on_assistant_message: Optional[OnAssistantMessageCallback],
    on_command_output: Optional[OnCommandOutputCallback],
    on_heartbeat: Optional[OnHeartbeatCallback],
) -> Callbacks:
    callbacks = (
        ("on_assistant_message", m.AssistantMessageInterface, on_assistant_message),
        ("on_command_output", m.CommandOutputMessageInterface, on_command_output),
        ("on_heartbeat", m.HeartbeatMessageInterface, on_heartbeat),
    )
    for name, _, callback in callbacks:
        check_callable(name, callback)
    return {cls: callback for _, cls, callback in callbacks if callback is not None}


def _callbacks_of(options: Any) -> Callbacks:
    return _by_class(options.on_assistant_message, options.on_command_output, options.on_heartbeat)


def _dispatch(run: Run[ResultT], callbacks: Callbacks) -> ResultT:
    """Run to the end, handing each message to its callback."""
    find = callbacks.get
    with run:
        for message in run.deliveries():
            callback = find(type(message), _UNKNOWN)
            if callback is _UNKNOWN:
                callback = callbacks[type(message)] = _callback_for(type(message), callbacks)
            if callback is not None:
                callback(message)
    return run.result


def _callback_for(cls: type, callbacks: Callbacks) -> Optional[Callable[[Any], Any]]:
    """That of its nearest base: a custom transport may bring subclasses."""
    return next((callbacks[base] for base in cls.__mro__ if base in callbacks), None)


def check_result_class(cls: Any) -> None:
    """Refuse a result class whose fields attrs does not know of: they would stay empty in silence."""
    if not (isinstance(cls, type) and issubclass(cls, m.ResultMessageInterface)):
        raise TypeError("result_message_cls must be ResultMessageInterface or a subclass of it")
    known = attrs.fields_dict(cls)
    for base in cls.__mro__[: cls.__mro__.index(m.ResultMessageInterface)]:
        unknown = [name for name in _annotated(base) if name not in known]
        if unknown:
            raise TypeError(f"{base.__name__} annotates {unknown[0]} but is no attrs class: put @attrs.define above it")
    if cls is not m.ResultMessageInterface:
        codec.check_readable(cls)


def _annotated(cls: type) -> list[str]:
    # Until 3.9 the attribute falls back to a base's; from 3.14 on the dictionary has it no more.
    own = cls.__annotations__ if sys.version_info >= (3, 10) else cls.__dict__.get("__annotations__", {})  # noqa: RUF063
    return [name for name, kind in own.items() if "ClassVar" not in str(kind)]


def _checked_commands(commands: Any) -> list[m.CommandInterface]:
    wanted = 'commands must be a list of CommandInterface, as in [CommandInterface(command="ls")]'
    if isinstance(commands, (str, m.CommandInterface)) or not isinstance(commands, Iterable):
        raise TypeError(f"{wanted}; got {kind(commands)}")
    found = [m.CommandInterface(command) if isinstance(command, str) else command for command in commands]
    for command in found:
        if not isinstance(command, m.CommandInterface):
            raise TypeError(f"{wanted}; got {kind(command)} in it")
    if not found:
        raise ValueError(f"{wanted}; got an empty one")
    return found
