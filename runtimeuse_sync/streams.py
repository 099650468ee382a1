"""The streams that ``Client`` and ``Session`` have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Optional, TypeVar, Union, overload

import attrs

from . import messages as m
from ._call.arguments import check_result_class, checked_commands
from ._call.callbacks import Callbacks
from ._call.lending import Lender
from ._common.validation import check_artifacts, check_output_schema, check_secrets, check_type
from .options import (
    CallOptions,
    ExecuteCommandsKeywords,
    ExecuteCommandsOptions,
    IsCancelledCallback,
    Logger,
    OnArtifactUploadRequestCallback,
    OnErrorMessageCallback,
    QueryKeywords,
    QueryOptions,
    execute_commands_options,
    query_options,
)
from .run import Request, Run

ResultT = TypeVar("ResultT")
if TYPE_CHECKING:  # Python has defaults for type variables from 3.13 on; type checkers have them for all
    from typing_extensions import TypeVar as TypeVarWithDefault
    from typing_extensions import Unpack

    MessageT = TypeVarWithDefault("MessageT", bound=m.ResultMessageInterface, default=m.ResultMessageInterface)
else:
    MessageT = TypeVar("MessageT")
    Unpack = Union  # PEP 692 is for type checkers; until 3.10, typing has no Unpack that could be evaluated


class Streams(ABC):
    """``stream`` and ``stream_commands``, over one way to start a run."""

    @abstractmethod
    def _new_lender(self) -> Lender:
        """Where a run gets its connection."""

    @abstractmethod
    def _defaults(self) -> Optional[QueryOptions]:
        """What a call takes that is given no options."""

    @overload
    def stream(
        self,
        invocation: m.InvocationMessage,
        result_message_cls: type[MessageT] = ...,
        *,
        on_artifact_upload_request: Optional[OnArtifactUploadRequestCallback] = ...,
        on_error_message: Optional[OnErrorMessageCallback] = ...,
        is_cancelled: Optional[IsCancelledCallback] = ...,
        timeout: Optional[float] = ...,
        idle_timeout: Optional[float] = ...,
        tick: Optional[float] = ...,
        logger: Optional[Logger] = ...,
    ) -> Run[MessageT]: ...

    @overload
    def stream(
        self,
        prompt: str,
        options: Optional[QueryOptions] = ...,
        /,
        *,
        tick: Optional[float] = ...,
        **keywords: Unpack[QueryKeywords],
    ) -> Run[m.ResultMessageInterface]: ...

    def stream(self, invocation: Any, *args: Any, tick: Optional[float] = None, **keywords: Any) -> Any:
        """Run the agent, and iterate over its messages as they come.

        Either ``stream(prompt, options=None, **keywords)``, with the options and keywords of ``query``; or
        ``stream(invocation, result_message_cls=ResultMessageInterface, **keywords)``, with those keywords of
        ``invoke`` that call nothing for a message: ``on_artifact_upload_request``, ``on_error_message``,
        ``is_cancelled``, ``timeout``, ``idle_timeout`` and ``logger``.

        Args:
            invocation (str or InvocationMessage): the task, or all that is to be run.
            tick (float or None): seconds of silence after which a ``Tick`` is yielded, so that the loop comes to
                itself though nothing comes. Default None: none is yielded.

        Returns:
            Run: a context manager and iterator; nothing is sent before it is entered.

        Raises:
            TypeError, ValueError: for arguments that cannot be meant, before anything is sent.

        >>> with client.stream("hi", timeout=30) as run:
        ...     texts = [message.text_blocks for message in run if isinstance(message, AssistantMessageInterface)]
        >>> texts, run.result.text
        ([['You said: hi']], 'hi')
        """
        if isinstance(invocation, str):
            return self._stream_prompt(invocation, *args, tick=tick, **keywords)
        return self._stream_invocation(invocation, *args, tick=tick, **keywords)

    def _stream_prompt(
        self,
        prompt: str,
        options: Optional[QueryOptions] = None,
        *,
        tick: Optional[float],
        **keywords: Unpack[QueryKeywords],
    ) -> Run[m.ResultMessageInterface]:
        options = query_options(self._defaults(), options, keywords)
        return self._stream_of(options, options.invocation(prompt), m.ResultMessageInterface, tick)

    def _stream_invocation(
        self,
        invocation: m.InvocationMessage,
        result_message_cls: type[MessageT] = m.ResultMessageInterface,  # type: ignore[assignment]
        *,
        on_artifact_upload_request: Optional[OnArtifactUploadRequestCallback] = None,
        **keywords: Any,
    ) -> Run[MessageT]:
        check_type("invocation", invocation, m.InvocationMessage, "a str or an InvocationMessage")
        check_result_class(result_message_cls)
        check_artifacts(invocation.artifacts_dirs, on_artifact_upload_request)
        check_secrets(invocation.secrets_to_redact)
        check_output_schema(invocation.output_format_json_schema_str)
        options = CallOptions(on_artifact_upload_request=on_artifact_upload_request, **keywords)
        return Run(self._new_lender(), invocation, result_message_cls, options)

    def stream_commands(
        self,
        commands: Sequence[m.CommandInterface],
        options: Optional[ExecuteCommandsOptions] = None,
        *,
        tick: Optional[float] = None,
        **keywords: Unpack[ExecuteCommandsKeywords],
    ) -> Run[m.CommandExecutionResultMessageInterface]:
        """Run commands without the agent (since runtime 0.8), and iterate over their output as it comes.

        Args:
            commands, options, keywords: as in ``execute_commands``.
            tick (float or None): as in ``stream``.

        Returns:
            Run: its ``result.results`` has one item for each command that ran.

        >>> with client.stream_commands([CommandInterface(command="echo hello")]) as run:
        ...     [message.text for message in run if isinstance(message, CommandOutputMessageInterface)]
        ['hello\\n']
        >>> run.result.results[0].exit_code
        0
        """
        options = execute_commands_options(self._defaults(), options, keywords)
        message = options.message(checked_commands(commands))
        return self._stream_of(options, message, m.CommandExecutionResultMessageInterface, tick)

    def _stream_of(
        self,
        options: Union[QueryOptions, ExecuteCommandsOptions],
        request: Request,
        result_cls: type[ResultT],
        tick: Optional[float],
    ) -> Run[ResultT]:
        call_options = attrs.evolve(options.call_options(), tick=tick)
        return Run(self._new_lender(), request, result_cls, call_options, Callbacks.of(options))
