"""One request from its first download to its result, on a thread of its own."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from typing import Any, Optional, Union

from ...exceptions import AgentRuntimeError, CancelledException
from ...messages import (
    AgentRuntimeMessageInterface,
    AssistantMessageInterface,
    CommandExecutionMessage,
    CommandExecutionResultMessageInterface,
    CommandInterface,
    CommandOutputMessageInterface,
    CommandResultItem,
    ErrorMessageInterface,
    HeartbeatMessageInterface,
    InvocationMessage,
    ResultMessageInterface,
    RuntimeEnvironmentDownloadableInterface,
    StructuredOutputResult,
    TextResult,
)
from .._cancel_event import CancelEvent
from .._processes.commands import CommandNotStartedError, run_command
from .._processes.output import Collected
from .._processes.processes import Processes
from .._transfers.downloads import DownloadError, fetch
from ..handlers import HandlerResult
from .outbox import Outbox
from .schema import check_schema
from .settings import Settings

logger = logging.getLogger(__name__)

_CANCELLED = "Request cancelled"

RequestMessage = Union[InvocationMessage, CommandExecutionMessage]


class _FailedError(Exception):
    """Raised to end the request with this error message."""

    def __init__(self, error: str, metadata: Optional[Mapping[str, Any]] = None) -> None:
        super().__init__(error)
        self.metadata = None if metadata is None else dict(metadata)


class Request:
    """A request in flight. Whatever happens, exactly one message ends it, and nothing of it follows.

    It is the ``Sender`` of its handler too.
    """

    def __init__(self, message: RequestMessage, outbox: Outbox, settings: Settings, parent: Processes) -> None:
        self.cancelled: threading.Event = CancelEvent()
        self.processes = Processes(parent)
        self._message = message
        self._outbox = outbox
        self._settings = settings
        self._phase = "starting"
        self._began = time.monotonic()
        # Whether the last message is queued. Written with the queue locked, so that nothing comes behind it.
        self._over = False
        # Set when the last message is queued, a moment later.
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="runtimeuse-request", daemon=True)

    @property
    def in_flight(self) -> bool:
        """Whether its last message is still to come."""
        return not self._over

    def start(self) -> None:
        """Begin it; raises ``RuntimeError`` if there is no thread for it."""
        self._thread.start()

    def cancel(self) -> None:
        """Cancel it: ends its processes at once, and its handler at the next message that it sends. Never waits."""
        if not self.cancelled.is_set():
            self.cancelled.set()
            self._outbox.nudge()

    def abandon(self) -> None:
        """End it for the client, although its handler still runs. Never waits."""
        self._outbox.reply(ErrorMessageInterface(error=_CANCELLED), self._claim_end)
        self._ended.set()

    def wait(self) -> None:
        """Wait until its last message is queued, or it is abandoned."""
        self._ended.wait()

    def join(self, timeout: Optional[float]) -> None:
        """Wait until its thread has ended, ``timeout`` seconds at most; None for as long as it takes."""
        self._thread.join(timeout)

    def beat(self) -> None:
        """Send a heartbeat, unless the client is behind. Never waits."""
        elapsed = round((time.monotonic() - self._began) * 1000)
        self._outbox.offer(HeartbeatMessageInterface(phase=self._phase, elapsed_ms=elapsed), self._is_wanted)

    # --- the Sender ----------------------------------------------------------------------------------

    def assistant(self, *text_blocks: str) -> None:
        """Send text of the agent; see ``Sender``."""
        if not all(isinstance(block, str) for block in text_blocks):
            raise TypeError("assistant() takes strings")
        self._send_unless_cancelled(AssistantMessageInterface(text_blocks=list(text_blocks)))

    def error(self, error: str, metadata: Optional[dict[str, Any]] = None) -> None:
        """Report an error and work on; see ``Sender``."""
        self._send_unless_cancelled(ErrorMessageInterface(error=str(error), metadata=metadata))

    def _send_unless_cancelled(self, message: AgentRuntimeMessageInterface) -> None:
        if self.cancelled.is_set():
            raise CancelledException
        self._send(message)

    def _send(self, message: AgentRuntimeMessageInterface) -> None:
        self._outbox.send(message, self._is_wanted)

    def _is_wanted(self) -> bool:
        return not (self._over or self.cancelled.is_set())

    def _claim_end(self) -> bool:
        """Whether the message for which this is asked is the last one; nothing is sent after it."""
        is_first, self._over = not self._over, True
        return is_first

    # --- the end -------------------------------------------------------------------------------------

    def _run(self) -> None:
        last = self._outcome()
        if not self._is_last(last):
            self.processes.kill()
            self._outbox.reply(ErrorMessageInterface(error=_CANCELLED), self._claim_end)
        self.processes.leave()
        self._ended.set()
        # Wakes the connection's thread, which may wait for the end of a cancelled request.
        self._outbox.nudge()

    def _is_last(self, message: AgentRuntimeMessageInterface) -> bool:
        """Send ``message`` as the last one; False if the request was cancelled before it could be."""
        try:
            return self._outbox.send(message, self._is_wanted, self._claim_end)
        except Exception as error:  # noqa: BLE001 - a handler may return anything
            fault = f"the result cannot be said in JSON: {type(error).__name__}"
            return self._outbox.send(ErrorMessageInterface(error=fault), self._is_wanted, self._claim_end)

    # --- the steps -----------------------------------------------------------------------------------

    def _outcome(self) -> AgentRuntimeMessageInterface:
        try:
            if isinstance(self._message, InvocationMessage):
                return self._invocation(self._message)
            return self._command_execution(self._message)
        except CancelledException:
            return ErrorMessageInterface(error=_CANCELLED)
        except _FailedError as error:
            return ErrorMessageInterface(error=str(error), metadata=error.metadata)
        except Exception as error:  # noqa: BLE001 - a safety net: no client may wait for ever
            _log_origin("serving a request", error)
            return ErrorMessageInterface(error=f"internal error: {type(error).__name__}")

    def _invocation(self, message: InvocationMessage) -> AgentRuntimeMessageInterface:
        if message.output_format_json_schema_str is not None:
            _check_schema(message.output_format_json_schema_str)
        self._fetch(message.pre_agent_downloadables)
        self._run_around("pre-agent", message.pre_agent_invocation_commands)
        self._phase = "agent"
        result = self._handle(message)
        self._run_around("post-agent", message.post_agent_invocation_commands)
        return result

    def _fetch(self, items: Optional[Sequence[RuntimeEnvironmentDownloadableInterface]]) -> None:
        self._phase = "downloads"
        for item in items or ():
            try:
                fetch(item, limit=self._settings.max_download_size, cancelled=self.cancelled)
            except DownloadError as error:
                raise _FailedError(str(error)) from None

    def _run_around(self, when: str, commands: Optional[Sequence[CommandInterface]]) -> None:
        self._phase = f"{when} commands"
        for command in commands or ():
            item = self._execute(command, f"{when} command")
            if item.exit_code != 0:
                raise _FailedError(f"{when} command failed with exit code: {item.exit_code}")

    def _command_execution(self, message: CommandExecutionMessage) -> AgentRuntimeMessageInterface:
        self._fetch(message.pre_execution_downloadables)
        self._phase = "commands"
        results: list[CommandResultItem] = []
        for command in message.commands:
            results.append(self._execute(command, "command"))
            if results[-1].exit_code != 0:
                break
        return CommandExecutionResultMessageInterface(results=results)

    def _execute(self, command: CommandInterface, what: str) -> CommandResultItem:
        if self.cancelled.is_set():
            raise CancelledException
        stdout = Collected()

        def on_stdout(text: str) -> None:
            stdout.add(text)
            self._send(CommandOutputMessageInterface(stream="stdout", text=text, command=command.command))

        def on_stderr(text: str) -> None:
            self._send(CommandOutputMessageInterface(stream="stderr", text=text, command=command.command))

        try:
            code = run_command(
                command.command,
                processes=self.processes,
                redactor=self._outbox.redactor,
                cancelled=self.cancelled,
                on_stdout=on_stdout,
                on_stderr=on_stderr,
                cwd=command.cwd,
                env=command.env,
                limits_capture=True,
            )
        except CommandNotStartedError as error:
            raise _FailedError(f"{what} {error}") from None
        except ChildProcessError as error:  # its exit code cannot be known, and that is never a 0
            raise _FailedError(str(error)) from None
        return CommandResultItem(command=command.command, exit_code=code, stdout=stdout.text)

    def _handle(self, message: InvocationMessage) -> AgentRuntimeMessageInterface:
        try:
            return _result(self._settings.handler(message, self))
        except BaseException as error:  # noqa: BLE001 - sys.exit() in a handler must not leave the client waiting
            if self.cancelled.is_set():
                raise CancelledException from None
            _log_origin("the handler", error)
            if isinstance(error, AgentRuntimeError):
                raise _FailedError(error.error or type(error).__name__, error.metadata) from None
            raise _FailedError(str(error) or type(error).__name__) from None


def _check_schema(text: str) -> None:
    try:
        check_schema(text)
    except ValueError as error:
        raise _FailedError(str(error)) from None


def _log_origin(where: str, error: BaseException) -> None:
    """Log the lines that led to ``error``, unless it is one on purpose; never its text: no log should hold that."""
    lines = [] if isinstance(error, AgentRuntimeError) else ["\n", *traceback.format_tb(error.__traceback__)]
    logger.warning("%s raised %s%s", where, type(error).__name__, "".join(lines))


def _result(answer: object) -> ResultMessageInterface:
    """The answer of a handler as a message; raises ``TypeError`` for what is none."""
    result = answer if isinstance(answer, HandlerResult) else HandlerResult(_output(answer))
    output = result.output
    data = TextResult(text=output) if isinstance(output, str) else StructuredOutputResult(structured_output=output)
    return ResultMessageInterface(data=data, metadata=result.metadata)


def _output(answer: object) -> Union[str, dict[str, Any]]:
    if isinstance(answer, (str, dict)):
        return answer
    raise TypeError(f"a handler returns str, dict or HandlerResult; this one returned {type(answer).__name__}")
