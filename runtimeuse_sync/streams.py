"""The streams that ``Client`` and ``Session`` have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Optional, Union, overload

import attrs

from . import messages as m
from ._call.arguments import check_invocation, checked_commands
from ._call.callbacks import Callbacks
from ._call.generics import JSONSchema, MessageT, OutputT, TypeForm, Unpack
from ._call.lending import Lender
from ._common.tracebacks import hides_arguments
from .keywords import ExecuteCommandsKeywords, QueryKeywords, StreamKeywords, execute_commands_options, query_options
from .options import CallOptions, ExecuteCommandsOptions, QueryOptions
from .run import Run
from .typed_run import TypedRun


class Streams(ABC):
    """A base class with ``stream`` and ``stream_commands``. A subclass says where a run gets its connection."""

    @abstractmethod
    def _new_lender(self) -> Lender:
        """A new lender, from which one run gets its connection."""

    @abstractmethod
    def _defaults(self) -> Optional[QueryOptions]:
        """The options of a call that is given none."""

    @overload
    def stream(
        self,
        invocation: m.InvocationMessage,
        result_message_cls: type[MessageT] = ...,
        *,
        tick: Optional[float] = ...,
        **keywords: Unpack[StreamKeywords],
    ) -> Run[MessageT]: ...

    @overload
    def stream(
        self,
        invocation: m.InvocationMessage,
        *,
        output_type: type[OutputT],
        output_repairs: int = ...,
        tick: Optional[float] = ...,
        **keywords: Unpack[StreamKeywords],
    ) -> Run[m.ResultMessageInterface[OutputT]]: ...

    @overload
    def stream(
        self,
        invocation: m.InvocationMessage,
        *,
        output_type: JSONSchema,
        output_repairs: int = ...,
        tick: Optional[float] = ...,
        **keywords: Unpack[StreamKeywords],
    ) -> Run[m.ResultMessageInterface[Any]]: ...

    @overload
    def stream(
        self,
        invocation: m.InvocationMessage,
        *,
        output_type: TypeForm[OutputT],
        output_repairs: int = ...,
        tick: Optional[float] = ...,
        **keywords: Unpack[StreamKeywords],
    ) -> Run[m.ResultMessageInterface[OutputT]]: ...

    @overload
    def stream(
        self,
        invocation: m.InvocationMessage,
        result_message_cls: type[MessageT],
        *,
        output_type: Any,
        output_repairs: int = ...,
        tick: Optional[float] = ...,
        **keywords: Unpack[StreamKeywords],
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

    @overload
    def stream(
        self,
        prompt: str,
        options: Optional[QueryOptions] = ...,
        /,
        *,
        output_type: type[OutputT],
        output_repairs: int = ...,
        tick: Optional[float] = ...,
        **keywords: Unpack[QueryKeywords],
    ) -> Run[m.ResultMessageInterface[OutputT]]: ...

    @overload
    def stream(
        self,
        prompt: str,
        options: Optional[QueryOptions] = ...,
        /,
        *,
        output_type: JSONSchema,
        output_repairs: int = ...,
        tick: Optional[float] = ...,
        **keywords: Unpack[QueryKeywords],
    ) -> Run[m.ResultMessageInterface[Any]]: ...

    @overload
    def stream(
        self,
        prompt: str,
        options: Optional[QueryOptions] = ...,
        /,
        *,
        output_type: TypeForm[OutputT],
        output_repairs: int = ...,
        tick: Optional[float] = ...,
        **keywords: Unpack[QueryKeywords],
    ) -> Run[m.ResultMessageInterface[OutputT]]: ...

    @hides_arguments
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
            output_type, output_repairs: as in ``query``; ``run.result.output`` is of that type. When the agent is
                asked again, the messages go on. An answer that does not fit is not yielded: the last one raises
                ``OutputValidationError`` in the place of the result.

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
        output_type: Any = None,
        output_repairs: int = 0,
        **keywords: Unpack[QueryKeywords],
    ) -> Run[m.ResultMessageInterface]:
        options = query_options(self._defaults(), options, keywords)
        if options.uploads or options.downloads:
            raise ValueError(
                "uploads and downloads are for query(): call upload() before a stream, download() after it"
            )
        invocation, callbacks = options.invocation(prompt), Callbacks.of(options)
        call_options = attrs.evolve(options.call_options(), tick=tick)
        return self._run_of(invocation, m.ResultMessageInterface, call_options, callbacks, output_type, output_repairs)

    def _stream_invocation(
        self,
        invocation: m.InvocationMessage,
        result_message_cls: type[MessageT] = m.ResultMessageInterface,  # type: ignore[assignment]
        *,
        output_type: Any = None,
        output_repairs: int = 0,
        **keywords: Any,
    ) -> Run[MessageT]:
        options = CallOptions(**keywords)
        check_invocation(invocation, result_message_cls, options)
        return self._run_of(invocation, result_message_cls, options, None, output_type, output_repairs)

    def _run_of(
        self,
        invocation: m.InvocationMessage,
        result_cls: type[MessageT],
        options: CallOptions,
        callbacks: Optional[Callbacks],
        output_type: Any,
        output_repairs: int,
    ) -> Run[MessageT]:
        """A run; a ``TypedRun`` if there is an ``output_type``."""
        lender = self._new_lender()
        if output_type is None and output_repairs == 0:
            return Run(lender, invocation, result_cls, options, callbacks)
        from .outputs import Asking

        return TypedRun(lender, Asking(invocation, output_type, output_repairs), result_cls, options, callbacks)

    def stream_commands(
        self,
        commands: Sequence[Union[m.CommandInterface, str]],
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
        call_options = attrs.evolve(options.call_options(), tick=tick)
        result_cls = m.CommandExecutionResultMessageInterface
        return Run(self._new_lender(), message, result_cls, call_options, Callbacks.of(options))
