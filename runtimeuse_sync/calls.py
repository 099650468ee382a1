"""The calls that ``Client`` and ``Session`` have in common: streams that are run to their end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional, Union, overload

from . import messages as m
from ._call.arguments import checked_commands
from ._call.callbacks import Callbacks
from ._call.generics import JSONSchema, OutputT, TypeForm, Unpack
from ._call.stderr_tail import StderrTail
from .exceptions import CommandFailedError
from .invoking import Invoking, finish
from .keywords import ExecuteCommandsKeywords, QueryKeywords, execute_commands_options, query_options
from .options import ExecuteCommandsOptions, QueryOptions
from .run import Run


class Calls(Invoking):
    """A base class that adds ``query`` and ``execute_commands`` to ``invoke`` and the streams."""

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
        results = finish(run, callbacks).results
        if check and any(item.exit_code != 0 for item in results):
            # Redacted here, since runtimes before 0.9 do not do so.
            shown, end = options.redacted(results), options.redacted(stderr.of(results[-1].command))
            raise CommandFailedError(results=shown, stderr=end)
        return m.CommandExecutionResult(results=results)
