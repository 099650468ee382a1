"""The calls that ``Client`` and ``Session`` have in common: streams that are run to their end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Optional, TypeVar, Union, overload

from . import messages as m
from ._call.arguments import check_invocation, checked_commands
from ._call.callbacks import Callbacks
from ._call.stderr_tail import StderrTail
from ._common.validation import check_callable
from .exceptions import CommandFailedError
from .options import (
    CallOptions,
    ExecuteCommandsKeywords,
    ExecuteCommandsOptions,
    InvokeKeywords,
    IsCancelledCallback,
    Logger,
    OnArtifactUploadRequestCallback,
    OnAssistantMessageCallback,
    OnCommandOutputCallback,
    OnErrorMessageCallback,
    OnHeartbeatCallback,
    OnResultMessageCallback,
    QueryKeywords,
    QueryOptions,
    execute_commands_options,
    query_options,
)
from .run import Run
from .streams import Streams

ResultT = TypeVar("ResultT")
OutputT = TypeVar("OutputT")
if TYPE_CHECKING:  # Python has defaults for type variables from 3.13 on; type checkers have them for all
    from typing_extensions import TypeForm, Unpack
    from typing_extensions import TypeVar as TypeVarWithDefault

    MessageT = TypeVarWithDefault("MessageT", bound=m.ResultMessageInterface[Any], default=m.ResultMessageInterface)
    # In this order: a type checker that does not know TypeForm (PEP 747) yet still infers classes.
    JSONSchema = dict[str, Any]
else:
    MessageT = TypeVar("MessageT")
    Unpack = Union  # PEP 692 is for type checkers; until 3.10, typing has no Unpack that could be evaluated


class Calls(Streams):
    """``invoke``, ``query`` and ``execute_commands``."""

    @overload
    def invoke(
        self,
        invocation: m.InvocationMessage,
        on_result_message: Optional[OnResultMessageCallback] = ...,
        result_message_cls: type[MessageT] = ...,
        **keywords: Unpack[InvokeKeywords],
    ) -> MessageT: ...

    @overload
    def invoke(
        self,
        invocation: m.InvocationMessage,
        on_result_message: Optional[OnResultMessageCallback] = ...,
        *,
        output_type: type[OutputT],
        output_repairs: int = ...,
        **keywords: Unpack[InvokeKeywords],
    ) -> m.ResultMessageInterface[OutputT]: ...

    @overload
    def invoke(
        self,
        invocation: m.InvocationMessage,
        on_result_message: Optional[OnResultMessageCallback] = ...,
        *,
        output_type: JSONSchema,
        output_repairs: int = ...,
        **keywords: Unpack[InvokeKeywords],
    ) -> m.ResultMessageInterface[Any]: ...

    @overload
    def invoke(
        self,
        invocation: m.InvocationMessage,
        on_result_message: Optional[OnResultMessageCallback] = ...,
        *,
        output_type: TypeForm[OutputT],
        output_repairs: int = ...,
        **keywords: Unpack[InvokeKeywords],
    ) -> m.ResultMessageInterface[OutputT]: ...

    @overload
    def invoke(
        self,
        invocation: m.InvocationMessage,
        on_result_message: Optional[OnResultMessageCallback],
        result_message_cls: type[MessageT],
        *,
        output_type: Any,
        output_repairs: int = ...,
        **keywords: Unpack[InvokeKeywords],
    ) -> MessageT: ...

    @overload
    def invoke(
        self,
        invocation: m.InvocationMessage,
        on_result_message: Optional[OnResultMessageCallback] = ...,
        *,
        result_message_cls: type[MessageT],
        output_type: Any,
        output_repairs: int = ...,
        **keywords: Unpack[InvokeKeywords],
    ) -> MessageT: ...

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
        output_type: Any = None,
        output_repairs: int = 0,
    ) -> Any:
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
            output_type, output_repairs: as in ``query``. ``on_result_message`` is called with a result that fits.

        Returns:
            The result, as a ``result_message_cls``. Its ``output`` is of the ``output_type``.

        Raises:
            AgentRuntimeError: the runtime reported an error that was not excused. ``.result`` is set where it
                came after the result.
            CancelledException: ``is_cancelled``, or ``abort()`` from any thread.
            InvocationTimeoutError: ``timeout`` ran out; ``IdleTimeoutError``: ``idle_timeout``.
            ConnectionFailedError: no connection came about; nothing was sent.
            ConnectionLostError: the connection ended before the result.
            OutputValidationError: the answer does not fit ``output_type``.
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
        options = CallOptions(
            on_artifact_upload_request=on_artifact_upload_request,
            on_error_message=on_error_message,
            is_cancelled=is_cancelled,
            timeout=timeout,
            idle_timeout=idle_timeout,
            logger=logger,
        )
        check_invocation(invocation, result_message_cls, options)
        callbacks = Callbacks(on_assistant_message, on_command_output, on_heartbeat)
        check_callable("on_result_message", on_result_message)
        if output_type is None:
            callbacks.add("on_result_message", result_message_cls, on_result_message)
        result = self._ask(invocation, result_message_cls, options, callbacks, output_type, output_repairs)
        if output_type is not None and on_result_message is not None:
            on_result_message(result)
        return result

    def _ask(
        self,
        invocation: m.InvocationMessage,
        result_cls: type[MessageT],
        options: CallOptions,
        callbacks: Callbacks,
        output_type: Any,
        output_repairs: int,
    ) -> MessageT:
        run = self._run_of(invocation, result_cls, options, None, output_type, output_repairs)
        return _finish(run, callbacks)

    @overload
    def query(
        self, prompt: str, options: Optional[QueryOptions] = ..., **keywords: Unpack[QueryKeywords]
    ) -> m.QueryResult: ...

    @overload
    def query(
        self,
        prompt: str,
        options: Optional[QueryOptions] = ...,
        *,
        output_type: type[OutputT],
        output_repairs: int = ...,
        **keywords: Unpack[QueryKeywords],
    ) -> m.QueryResult[OutputT]: ...

    @overload
    def query(
        self,
        prompt: str,
        options: Optional[QueryOptions] = ...,
        *,
        output_type: JSONSchema,
        output_repairs: int = ...,
        **keywords: Unpack[QueryKeywords],
    ) -> m.QueryResult[Any]: ...

    @overload
    def query(
        self,
        prompt: str,
        options: Optional[QueryOptions] = ...,
        *,
        output_type: TypeForm[OutputT],
        output_repairs: int = ...,
        **keywords: Unpack[QueryKeywords],
    ) -> m.QueryResult[OutputT]: ...

    def query(
        self,
        prompt: str,
        options: Optional[QueryOptions] = None,
        *,
        output_type: Any = None,
        output_repairs: int = 0,
        **keywords: Unpack[QueryKeywords],
    ) -> m.QueryResult[Any]:
        """Ask the agent, and return its answer.

        Args:
            prompt (str): the task.
            options (QueryOptions or None): everything else. Default: the client's ``defaults``.
            output_type: what the answer has to be (extra ``typed``): a class, such as a dataclass or a pydantic
                model, a type such as ``list[int]``, or a dict that is a JSON schema. Default None: text, or what
                ``output_format_json_schema_str`` says.
            output_repairs (int): how often the agent is asked again, with what was wrong, while its answer does
                not fit. Default 0. ``timeout`` is for all of it.
            keywords: fields of ``QueryOptions``, which count before those of ``options``.

        Returns:
            QueryResult: ``output`` is the answer: of the ``output_type``; without one, a str, or a dict if
            ``output_format_json_schema_str`` is set.

        Raises:
            What ``invoke`` raises, ``OutputValidationError`` among it. With ``uploads`` and ``downloads``, what
            ``upload`` raises, and ``files.DownloadFailedError``, which has the answer.

        >>> client.query("hello", system_prompt="Be brief.", timeout=30).output
        'hello'
        """
        options = query_options(self._defaults(), options, keywords)
        if options.uploads or options.downloads:
            from . import files

            return files.query(self, prompt, options, output_type, output_repairs)  # type: ignore[arg-type]
        message = self._ask(
            options.invocation(prompt),
            m.ResultMessageInterface,
            options.call_options(),
            Callbacks.of(options),
            output_type,
            output_repairs,
        )
        result = m.QueryResult[Any](data=message.data, metadata=message.metadata)
        if output_type is not None:
            result.output = message.output
        return result

    def execute_commands(
        self,
        commands: Sequence[Union[m.CommandInterface, str]],
        options: Optional[ExecuteCommandsOptions] = None,
        *,
        check: bool = False,
        **keywords: Unpack[ExecuteCommandsKeywords],
    ) -> m.CommandExecutionResult:
        """Run commands in the sandbox, without the agent (since runtime 0.8).

        They run in order until one fails; those after it are left out of the results.

        Args:
            commands (sequence of CommandInterface or str): at least one; a str is the line of a command.
            options (ExecuteCommandsOptions or None): everything else. Default: what the client's ``defaults`` say.
            check (bool): raise ``CommandFailedError`` if a command fails. Default False.
            keywords: fields of ``ExecuteCommandsOptions``, which count before those of ``options``.

        Returns:
            CommandExecutionResult: one item for each command that ran. An ``exit_code`` of -1 means that the
            runtime ended the command, mostly since it printed more than 1 MiB; ``failure`` says so in words.

        Raises:
            CommandFailedError: with ``check``; carries the results, and shows the end of the output.
            AgentRuntimeError: the runtime reported an error (0.8 and 0.9 do so when a command fails).
            Otherwise what ``invoke`` raises.

        >>> client.execute_commands(["exit 3"], timeout=30).results[0].exit_code
        3
        >>> client.execute_commands([CommandInterface(command="exit 3")], check=True)
        Traceback (most recent call last):
        ...
        runtimeuse_sync.exceptions.CommandFailedError: command 1 failed with exit code 3
        """
        options = execute_commands_options(self._defaults(), options, keywords)
        message = options.message(checked_commands(commands))
        callbacks, stderr = Callbacks.of(options), StderrTail(options.on_command_output)
        if check:
            callbacks.add("on_command_output", m.CommandOutputMessageInterface, stderr)
        run = Run(self._new_lender(), message, m.CommandExecutionResultMessageInterface, options.call_options())
        results = _finish(run, callbacks).results
        if check and any(item.exit_code != 0 for item in results):
            # Runtimes before 0.9 do not redact.
            shown, end = options.redacted(results), options.redacted(stderr.of(results[-1].command))
            raise CommandFailedError(results=shown, stderr=end)
        return m.CommandExecutionResult(results=results)


def _finish(run: Run[ResultT], callbacks: Callbacks) -> ResultT:
    """Run to the end, handing each message to its callback."""
    with run:
        callbacks.call(run.deliveries())
    return run.result
