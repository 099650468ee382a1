"""``invoke``: a stream that is run to its end, each message handed to its callback."""

from __future__ import annotations

from typing import Any, Optional, overload

from . import messages as m
from ._call.arguments import check_invocation
from ._call.callbacks import Callbacks
from ._call.generics import JSONSchema, MessageT, OutputT, ResultT, TypeForm, Unpack
from ._common.validation import check_callable
from .keywords import InvokeKeywords
from .options import (
    CallOptions,
    IsCancelledCallback,
    Logger,
    OnArtifactUploadRequestCallback,
    OnAssistantMessageCallback,
    OnCommandOutputCallback,
    OnErrorMessageCallback,
    OnHeartbeatCallback,
    OnResultMessageCallback,
)
from .run import Run
from .streams import Streams


class Invoking(Streams):
    """A base class that adds ``invoke`` to the streams."""

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
        return finish(run, callbacks)


def finish(run: Run[ResultT], callbacks: Callbacks) -> ResultT:
    """Run to the end, handing each message to its callback."""
    with run:
        callbacks.call(run.deliveries())
    return run.result
