"""Scripts that behave on the wire as the releases of the runtime do."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Callable, Optional, Union

import attrs

from .. import messages as m
from ..exceptions import ProtocolError
from ._peer import NothingCame, Peer, Script

# The releases (0.x) in which behaviour changed, each named after what it brought.
_OLDEST, _DATA, _COMMANDS, _EXIT_CODES, _SESSIONS, _STDOUT, _CONFIRMATION, _NEWEST = 4, 5, 8, 10, 11, 12, 13, 15

# Seconds that the answers to upload requests are waited for.
_ANSWER_PATIENCE = 5.0


@attrs.frozen(kw_only=True)
class Reply:
    """The answer of a runtime made by ``generation`` to one request.

    Attributes:
        messages (sequence): what it sends before the result: message objects, or dicts that are sent as they are.
        result (dict or str): structured output, or a text (since 0.5). Default: ``{"success": True}``.
        metadata (dict or None): the result's, or the error's, metadata.
        error (str or None): the request fails with it, in place of a result.
        command_results (sequence of CommandResultItem): how the commands of a ``CommandExecutionMessage`` end.
            Default: each with exit code 0.
        artifacts (sequence of str): paths of files that it asks to upload before the result.
        late_artifacts (sequence of str): paths of files that it notices after the result.
        post_agent_error (str or None): what a failing post-agent command says: after the result until 0.10,
            in its place since 0.11.
        hangs (bool): after the messages it works on until it is cancelled. Default False.

    >>> Reply(result="done", late_artifacts=["/out/report.csv"]).result
    'done'
    """

    messages: Sequence[Any] = ()
    result: Union[dict[str, Any], str] = attrs.field(factory=lambda: {"success": True})
    metadata: Optional[dict[str, Any]] = None
    error: Optional[str] = None
    command_results: Sequence[m.CommandResultItem] = ()
    artifacts: Sequence[str] = ()
    late_artifacts: Sequence[str] = ()
    post_agent_error: Optional[str] = None
    hangs: bool = False


def generation(release: str, *replies: Reply, linger: float = 0.05) -> Script:
    """A script that behaves on the wire as a runtime of that release does.

    How many requests a connection takes, what follows a result, an error, a ``CancelMessage``, an
    ``EndSessionMessage`` or a bad message, and the shape of a result: all this changed over the releases.

    Args:
        release: ``"0.4"`` to ``"0.15"``.
        replies: what it says to the requests, in the order in which they come, on whatever connection; the last
            repeats. Default: one ``Reply()``.
        linger: seconds from the end of a request until runtimes before 0.11 close (the real ones take 3).

    Raises:
        ValueError: no such release, or a reply that this release cannot give.

    >>> from runtimeuse_sync.testing import Reply, ScriptedRuntime, generation
    >>> with ScriptedRuntime(generation("0.15", Reply(error="rate limited"), Reply(result="done"))) as runtime:
    ...     options = QueryOptions(system_prompt="Be brief.")
    ...     try:
    ...         Client(runtime.url).query("Hello", options)
    ...     except AgentRuntimeError as error:
    ...         print(error)
    ...     Client(runtime.url).query("Hello", options).data.text
    rate limited
    'done'
    """
    minor = _minor(release)
    if minor < _DATA and any(isinstance(reply.result, str) for reply in replies):
        raise ValueError(f"a runtime {release} has no results in text: use a dict")
    source = _Replies(replies or (Reply(),))
    return lambda peer: _Generation(peer, minor, source, linger).live()


def _minor(release: str) -> int:
    known = {f"0.{minor}": minor for minor in range(_OLDEST, _NEWEST + 1)}
    if release not in known:
        raise ValueError(f"no such release: {release!r}, but {', '.join(known)}")
    return known[release]


class _Replies:
    """One reply a request, over all connections; the last repeats."""

    def __init__(self, replies: Sequence[Reply]) -> None:
        self._lock = threading.Lock()
        self._waiting = deque(replies)  # guarded by _lock

    def next(self) -> Reply:
        with self._lock:
            return self._waiting.popleft() if len(self._waiting) > 1 else self._waiting[0]


class _Cancelled(Exception):  # noqa: N818 - unwinds the request in flight
    pass


class _Generation:
    """One connection of a runtime of release 0.``minor``."""

    def __init__(self, peer: Peer, minor: int, replies: _Replies, linger: float) -> None:
        self._peer = peer
        self._minor = minor
        self._replies = replies
        self._linger = linger
        self._served = False
        self._in_flight = False
        self._ending = False
        self._late: list[str] = []
        self._unanswered: set[str] = set()
        self._reactions: dict[type, Callable[[Any], None]] = {
            m.InvocationMessage: self._on_request,
            m.CommandExecutionMessage: self._on_request,
            m.ArtifactUploadResponseMessageInterface: self._on_upload_response,
            m.CancelMessage: self._on_cancel,
            m.EndSessionMessage: self._on_end_session,
        }

    def live(self) -> None:
        while True:
            self._hear(None)

    def _hear(self, timeout: Optional[float]) -> bool:
        """Receive the next message and react to it; return False if none came in time."""
        try:
            message = self._peer.receive(timeout)
        except NothingCame:
            return False
        except ProtocolError:
            self._on_nonsense()
            return True
        reaction = self._reactions.get(type(message))
        if reaction:
            reaction(message)
        else:
            self._on_nonsense()
        return True

    def _hear_for(self, seconds: float, enough: Callable[[], bool] = lambda: False) -> None:
        deadline = time.monotonic() + seconds
        while not enough() and self._hear(max(0.0, deadline - time.monotonic())):
            pass

    def _on_nonsense(self) -> None:
        if self._minor < _SESSIONS and not self._served:
            self._say_error("Invalid message")

    def _on_request(self, request: Union[m.InvocationMessage, m.CommandExecutionMessage]) -> None:
        if self._in_flight or (self._served and self._minor < _SESSIONS):
            self._say_error("A request was received already")
        elif isinstance(request, m.CommandExecutionMessage) and self._minor < _COMMANDS:
            self._say_error("Unknown message type: command_execution_message")
        else:
            self._served = True
            self._run(request)
            self._after_request()

    def _run(self, request: Union[m.InvocationMessage, m.CommandExecutionMessage]) -> None:
        self._in_flight = True
        try:
            self._answer(request, self._replies.next())
        except _Cancelled:
            self._say_error("Request cancelled")
        finally:
            self._in_flight = False

    def _after_request(self) -> None:
        if self._minor < _SESSIONS:
            self._hear_for(self._linger)
            self._peer.close_empty()
        elif self._ending:
            self._drain()

    def _answer(self, request: Union[m.InvocationMessage, m.CommandExecutionMessage], reply: Reply) -> None:
        for message in reply.messages:
            self._hear_for(0)
            self._peer.send(message)
        self._ask_for(reply.artifacts)
        while reply.hangs:
            self._hear(None)
        self._conclude(self._outcome(request, reply), reply)

    def _outcome(self, request: object, reply: Reply) -> dict[str, Any]:
        error = reply.error
        if self._minor >= _SESSIONS:
            error = error or reply.post_agent_error
        if error:
            return _error_message(error, reply.metadata)
        if isinstance(request, m.CommandExecutionMessage):
            return self._command_outcome(request, reply)
        return self._result(reply)

    def _result(self, reply: Reply) -> dict[str, Any]:
        kind = "text" if isinstance(reply.result, str) else "structured_output"
        shape = {"type": kind, kind: reply.result}
        body = {"structured_output": reply.result} if self._minor < _DATA else {"data": shape}
        return _without_none({"message_type": "result_message", "metadata": reply.metadata, **body})

    def _command_outcome(self, request: m.CommandExecutionMessage, reply: Reply) -> dict[str, Any]:
        ended = reply.command_results or [
            m.CommandResultItem(command=command.command, exit_code=0) for command in request.commands
        ]
        failed = next((number for number, item in enumerate(ended) if item.exit_code), None)
        if failed is not None and self._minor < _EXIT_CODES:
            return _error_message(f"command failed with exit code: {ended[failed].exit_code}", reply.metadata)
        ran = ended if failed is None else ended[: failed + 1]
        return {"message_type": "command_execution_result_message", "results": [self._command_item(i) for i in ran]}

    def _command_item(self, item: m.CommandResultItem) -> dict[str, Any]:
        stdout = item.stdout if self._minor >= _STDOUT else None
        return _without_none({"command": item.command, "exit_code": item.exit_code, "stdout": stdout})

    def _conclude(self, outcome: dict[str, Any], reply: Reply) -> None:
        self._hear_for(0)
        self._peer.send(outcome)
        self._late += reply.late_artifacts
        if self._minor < _SESSIONS:
            self._upload_late()
            if reply.post_agent_error and not reply.error:
                self._say_error(reply.post_agent_error)

    def _upload_late(self) -> None:
        late, self._late = self._late, []
        self._ask_for(late)
        self._hear_for(_ANSWER_PATIENCE, lambda: not self._unanswered)

    def _ask_for(self, paths: Iterable[str]) -> None:
        for path in paths:
            self._unanswered.add(path)
            name = path.rpartition("/")[2]
            self._peer.send(m.ArtifactUploadRequestMessageInterface(filename=name, filepath=path))

    def _on_upload_response(self, response: m.ArtifactUploadResponseMessageInterface) -> None:
        self._unanswered.discard(response.filepath)

    def _on_cancel(self, _: m.CancelMessage) -> None:
        if self._minor < _SESSIONS:
            self._peer.close_empty()
        elif self._in_flight:
            raise _Cancelled

    def _on_end_session(self, _: m.EndSessionMessage) -> None:
        if self._minor < _SESSIONS:
            self._on_nonsense()
            return
        self._ending = True
        if not self._in_flight:
            self._drain()

    def _drain(self) -> None:
        self._upload_late()
        if self._minor >= _CONFIRMATION:
            self._peer.send(m.EndSessionConfirmMessage())
        self._peer.close_empty()

    def _say_error(self, error: str) -> None:
        self._peer.send(_error_message(error, None))


def _error_message(error: str, metadata: Optional[dict[str, Any]]) -> dict[str, Any]:
    return _without_none({"message_type": "error_message", "error": error, "metadata": metadata})


def _without_none(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
