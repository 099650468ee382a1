"""The calls that ``Client`` and ``Session`` have in common."""

from __future__ import annotations

import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Callable, Optional, TypeVar, Union, overload

import attrs

from . import messages as m
from ._call.callbacks import Callbacks
from ._call.lending import Lender
from ._common.validation import check_artifacts, check_secrets, check_type, kind
from ._protocol import codec
from .exceptions import CommandFailedError
from .options import (
    CallOptions,
    ExecuteCommandsKeywords,
    ExecuteCommandsOptions,
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
from .run import Request, Run

ResultT = TypeVar("ResultT")
if TYPE_CHECKING:  # Python has defaults for type variables from 3.13 on; type checkers have them for all
    from typing_extensions import TypeVar as TypeVarWithDefault
    from typing_extensions import Unpack

    from .commands import CompletedCommand

    MessageT = TypeVarWithDefault("MessageT", bound=m.ResultMessageInterface, default=m.ResultMessageInterface)
else:
    MessageT = TypeVar("MessageT")
    Unpack = Union  # PEP 692 is for type checkers; until 3.10, typing has no Unpack that could be evaluated


class Calls(ABC):
    """``invoke``, ``query``, ``execute_commands`` and the streams, over one way to start a run."""

    @abstractmethod
    def _new_lender(self) -> Lender:
        """Where a run gets its connection."""

    @abstractmethod
    def _defaults(self) -> Optional[QueryOptions]:
        """What a call takes that is given no options."""

    # --- streams ------------------------------------------------------------------------------------

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
        message = options.message(_checked_commands(commands))
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

    # --- calls --------------------------------------------------------------------------------------

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
        callbacks = Callbacks(on_assistant_message, on_command_output, on_heartbeat)
        callbacks.add("on_result_message", result_message_cls, on_result_message)
        return _finish(run, callbacks)

    def query(
        self, prompt: str, options: Optional[QueryOptions] = None, **keywords: Unpack[QueryKeywords]
    ) -> m.QueryResult:
        """Ask the agent, and return its answer.

        Args:
            prompt (str): the task.
            options (QueryOptions or None): everything else. Default: the client's ``defaults``.
            keywords: fields of ``QueryOptions``, which count before those of ``options``.

        Returns:
            QueryResult: ``data`` is a ``TextResult``, or a ``StructuredOutputResult`` if
            ``output_format_json_schema_str`` is set.

        Raises:
            What ``invoke`` raises.

        >>> client.query("hello", system_prompt="Be brief.", timeout=30).data.text
        'hello'
        """
        options = query_options(self._defaults(), options, keywords)
        run = Run(self._new_lender(), options.invocation(prompt), m.ResultMessageInterface, options.call_options())
        result = _finish(run, Callbacks.of(options))
        return m.QueryResult(data=result.data, metadata=result.metadata)

    def execute_commands(
        self,
        commands: Sequence[m.CommandInterface],
        options: Optional[ExecuteCommandsOptions] = None,
        *,
        check: bool = False,
        **keywords: Unpack[ExecuteCommandsKeywords],
    ) -> m.CommandExecutionResult:
        """Run commands in the sandbox, without the agent (since runtime 0.8).

        They run in order until one fails; those after it are left out of the results.

        Args:
            commands (sequence of CommandInterface): at least one.
            options (ExecuteCommandsOptions or None): everything else. Default: what the client's ``defaults`` say.
            check (bool): raise ``CommandFailedError`` if a command fails. Default False.
            keywords: fields of ``ExecuteCommandsOptions``, which count before those of ``options``.

        Returns:
            CommandExecutionResult: one item for each command that ran.

        Raises:
            CommandFailedError: with ``check``; carries the results.
            AgentRuntimeError: the runtime reported an error (0.8 and 0.9 do so when a command fails).
            Otherwise what ``invoke`` raises.

        >>> client.execute_commands([CommandInterface(command="exit 3")], timeout=30).results[0].exit_code
        3
        >>> client.execute_commands([CommandInterface(command="exit 3")], check=True)
        Traceback (most recent call last):
        ...
        runtimeuse_sync.exceptions.CommandFailedError: command 1 failed with exit code 3
        """
        options = execute_commands_options(self._defaults(), options, keywords)
        message = options.message(_checked_commands(commands))
        run = Run(self._new_lender(), message, m.CommandExecutionResultMessageInterface, options.call_options())
        results = _finish(run, Callbacks.of(options)).results
        if check and any(item.exit_code != 0 for item in results):
            raise CommandFailedError(results=results)
        return m.CommandExecutionResult(results=results)

    # --- above the core -----------------------------------------------------------------------------

    def run(
        self,
        command: Union[str, Sequence[str]],
        *,
        cwd: Optional[str] = None,
        env: Optional[dict[str, str]] = None,
        input: Optional[bytes] = None,  # noqa: A002 - subprocess's name
        check: bool = False,
        on_output: Optional[OnCommandOutputCallback] = None,
        **keywords: Unpack[ExecuteCommandsKeywords],
    ) -> CompletedCommand:
        """Run one command in the sandbox, as ``subprocess.run`` does here (since runtime 0.8).

        Its output comes whole, however long it is, with its two streams apart. The sandbox needs a POSIX shell and
        its usual programs.

        Args:
            command (str or list of str): a line for the shell, or a program and its arguments.
            cwd (str or None): where to run it. Default: the runtime's own directory.
            env (dict[str, str] or None): environment variables to add.
            input (bytes or None): what it reads from its standard input. Default None: nothing.
            check (bool): raise ``CommandFailedError`` if it fails. Default False.
            on_output: called with pieces of output, as ``CommandOutputMessageInterface``: the first 900,000 bytes of
                each stream as they come, the rest at the end. Before runtime 0.14 what comes early is all told to
                be ``stdout``. A process that the command leaves in the background then has to close its streams.
            keywords: fields of ``ExecuteCommandsOptions``. ``timeout`` covers all that the call does.

        Returns:
            CompletedCommand: its ``exit_code``, ``stdout``, ``stderr`` and ``duration``.

        Raises:
            CommandFailedError: with ``check``.
            SandboxError: the sandbox lacks a program, or sent what is not acceptable.
            Otherwise what ``execute_commands`` raises.

        >>> done = client.run("tr a-z A-Z; echo oh >&2; exit 3", input=b"hello", timeout=30)
        >>> done.exit_code, done.stdout, done.stderr
        (3, 'HELLO', 'oh\\n')
        """
        from . import commands

        options = execute_commands_options(self._defaults(), None, keywords)
        return commands.run(
            self,  # type: ignore[arg-type]
            command,
            options,
            cwd=cwd,
            env=env,
            input=input,
            check=check,
            on_output=on_output,
        )

    def upload(
        self,
        source: Union[str, os.PathLike[str]],
        target: str,
        *,
        ignore: str = "",
        on_progress: Optional[Callable[[int, int], Any]] = None,
        **keywords: Unpack[ExecuteCommandsKeywords],
    ) -> None:
        """Send a file or folder to the sandbox, over the connection of a call (since runtime 0.8).

        Modes and empty folders are kept. It goes in several messages, so that its size has no limit and memory
        stays bounded, and gets its name when a checksum has proved that it arrived as it was. Into a folder that is
        there already, what the source has is added file by file. The sandbox needs ``tar`` and ``sha256sum``.

        Args:
            source (str or path): a file or folder here. A link in a folder is refused, unless ``ignore`` names it.
            target (str): its absolute path in the sandbox. A file goes into the folder that ends in a slash.
            ignore (str): gitignore lines of what is left out.
            on_progress: called with the bytes that have gone and those of all, of the archive that it travels in.
            keywords: fields of ``ExecuteCommandsOptions``. ``timeout`` covers all that the call does.

        Raises:
            SandboxError: the sandbox lacks a program, or could not take it.
            OSError, ValueError: the source cannot be read, or holds what is neither file nor folder.
            Otherwise what ``execute_commands`` raises.

        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     _ = Path(folder, "a.txt").write_text("hello")
        ...     client.upload(Path(folder, "a.txt"), f"{folder}/there/b.txt", timeout=30)
        ...     client.run(["cat", f"{folder}/there/b.txt"]).stdout
        'hello'
        """
        from . import files

        options = execute_commands_options(self._defaults(), None, keywords)
        files.upload(self, source, target, options, ignore=ignore, on_progress=on_progress)  # type: ignore[arg-type]

    def download(
        self,
        source: str,
        target: Union[str, os.PathLike[str]],
        *,
        max_size: int = 10 * 2**30,
        max_files: int = 100_000,
        on_progress: Optional[Callable[[int, int], Any]] = None,
        **keywords: Unpack[ExecuteCommandsKeywords],
    ) -> None:
        """Fetch a file or folder from the sandbox, over the connection of a call (since runtime 0.8).

        As ``upload``, the other way round. The sandbox is not trusted: paths that lead out, links, devices, and more
        than was allowed are refused, and nothing half-written gets the final name.

        Args:
            source (str): its absolute path in the sandbox.
            target (str or path): its path here. A file goes into the folder that ends in a slash.
            max_size (int): bytes that it may have, as an archive. Default 10 GiB.
            max_files (int): files and folders that it may hold. Default 100,000.
            on_progress, keywords: as in ``upload``.

        Raises:
            SandboxError: the sandbox lacks a program, or sent what is not acceptable.
            OSError: it cannot be written here.
            Otherwise what ``execute_commands`` raises.

        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     _ = client.run(["sh", "-c", "echo hello >report.txt"], cwd=folder)
        ...     client.download(f"{folder}/report.txt", f"{folder}/here/", timeout=30)
        ...     Path(folder, "here", "report.txt").read_text()
        'hello\\n'
        """
        from . import files

        options = execute_commands_options(self._defaults(), None, keywords)
        files.download(
            self,  # type: ignore[arg-type]
            source,
            target,
            options,
            max_size=max_size,
            max_files=max_files,
            on_progress=on_progress,
        )


def _finish(run: Run[ResultT], callbacks: Callbacks) -> ResultT:
    """Run to the end, handing each message to its callback."""
    with run:
        callbacks.call(run.deliveries())
    return run.result


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
        codec.check_result_class(cls)


def _annotated(cls: type) -> list[str]:
    # Until 3.9 the attribute falls back to a base's; from 3.14 on the dictionary has it no more.
    own = cls.__annotations__ if sys.version_info >= (3, 10) else cls.__dict__.get("__annotations__", {})  # noqa: RUF063
    return [name for name, kind in own.items() if "ClassVar" not in str(kind)]


def _checked_commands(commands: Any) -> list[m.CommandInterface]:
    wanted = 'commands must be a list of CommandInterface, as in [CommandInterface(command="ls")]'
    if isinstance(commands, (str, m.CommandInterface)) or not isinstance(commands, Iterable):
        raise TypeError(f"{wanted}; got {kind(commands)}")
    found = list(commands)
    for command in found:
        if not isinstance(command, m.CommandInterface):
            raise TypeError(f"{wanted}; got {kind(command)} in it")
    if not found:
        raise ValueError(f"{wanted}; got an empty one")
    return found
