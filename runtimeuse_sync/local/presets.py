"""Command-line agents whose call and output are known: Claude Code and Codex."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Optional, Union

from ..messages import InvocationMessage
from ._events import Event, Events, part, schema_of
from .agents import CommandLineAgent, Reading
from .handlers import Sender


class ClaudeAgent(CommandLineAgent):
    """A handler that runs Claude Code, ``claude -p``, for each request.

    The client's system prompt, model and output schema become its options, the prompt its standard input. Its texts
    are sent as they come; its result has ``usage`` (tokens, cost, turns). Cancelling ends it, and what it has started.

    It may do what its own settings allow: nothing that would need to be asked for. ``arguments`` allow more; all of it,
    ``"--permission-mode", "bypassPermissions"``, is for a sandbox. Its key comes from the environment,
    ``ANTHROPIC_API_KEY``, or from the client's ``agent_env``.

    Args:
        arguments: further options of ``claude``.
        program (str): its name or path. Default ``"claude"``.
        cwd (str, os.PathLike or None): the directory to run it in. Default: the runtime's own.

    Raises:
        TypeError: for arguments or a directory of another type.

    >>> ClaudeAgent("--permission-mode", "acceptEdits").command
    ('claude', '-p', '--output-format=stream-json', '--verbose', '--permission-mode', 'acceptEdits')
    """

    _redacts_stdout = False

    def __init__(
        self, *arguments: str, program: str = "claude", cwd: Union[str, os.PathLike[str], None] = None
    ) -> None:
        super().__init__([program, "-p", "--output-format=stream-json", "--verbose", *arguments], cwd=cwd)

    def _reading(self, invocation: InvocationMessage, sender: Sender) -> Reading:
        return _ClaudeEvents(invocation, sender)

    @contextmanager
    def _arguments(self, invocation: InvocationMessage) -> Iterator[list[str]]:
        schema = schema_of(invocation)
        yield [
            *self.command,
            *_option("--model", invocation.model),
            *_option("--system-prompt", invocation.system_prompt),
            *_option("--json-schema", None if schema is None else json.dumps(schema)),
        ]


class CodexAgent(CommandLineAgent):
    """A handler that runs Codex, ``codex exec``, for each request.

    The client's system prompt becomes its developer instructions, model and output schema its options, the prompt its
    standard input. Its texts are sent as they come; its result has ``usage``, of tokens. Cancelling ends it, and what
    it has started.

    It may do what its own settings allow: read, in a Git repository. ``arguments`` allow more: ``"--sandbox",
    "workspace-write"``, ``"--skip-git-repo-check"``; ``"--dangerously-bypass-approvals-and-sandbox"`` is for a sandbox.
    Its key comes from the environment, ``CODEX_API_KEY``, or from the client's ``agent_env``.

    Args:
        arguments: further options of ``codex exec``.
        program (str): its name or path. Default ``"codex"``.
        cwd (str, os.PathLike or None): the directory to run it in. Default: the runtime's own.

    Raises:
        TypeError: for arguments or a directory of another type.

    >>> CodexAgent("--skip-git-repo-check").command
    ('codex', 'exec', '--json', '--skip-git-repo-check')
    """

    _redacts_stdout = False

    def __init__(self, *arguments: str, program: str = "codex", cwd: Union[str, os.PathLike[str], None] = None) -> None:
        super().__init__([program, "exec", "--json", *arguments], cwd=cwd)

    def _reading(self, invocation: InvocationMessage, sender: Sender) -> Reading:
        return _CodexEvents(invocation, sender)

    @contextmanager
    def _arguments(self, invocation: InvocationMessage) -> Iterator[list[str]]:
        instructions = invocation.system_prompt
        with tempfile.TemporaryDirectory(prefix="runtimeuse-codex-") as folder:
            yield [
                *self.command,
                *_option("--model", invocation.model),
                *_option("--config", instructions and f"developer_instructions={_toml(instructions)}"),
                *_option("--output-schema", _written(schema_of(invocation), Path(folder, "schema.json"))),
                "-",
            ]


def _option(name: str, value: Optional[str]) -> list[str]:
    # In one word: a value that begins with a dash is no option of its own.
    return [f"{name}={value}"] if value else []


def _toml(text: str) -> str:
    # What JSON may leave as it is and TOML may not.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _written(schema: Optional[dict[str, Any]], path: Path) -> Optional[str]:
    if schema is None:
        return None
    path.write_text(json.dumps(schema), encoding="utf-8")
    return str(path)


class _ClaudeEvents(Events):
    """``--output-format=stream-json``: ``assistant`` messages, and one ``result`` with what it took."""

    _TOLD = ("duration_ms", "duration_api_ms", "num_turns", "total_cost_usd", "usage", "session_id")

    def __init__(self, invocation: InvocationMessage, sender: Sender) -> None:
        super().__init__(invocation, sender)
        self._result: Event = {}

    def _take(self, event: Event) -> None:
        if event.get("type") == "result":
            self._result = event
        elif event.get("type") == "assistant":
            content = part(event, "message").get("content")
            blocks = content if isinstance(content, list) else []
            self._say(*(b.get("text") for b in blocks if isinstance(b, dict) and b.get("type") == "text"))

    def _failure(self, code: int) -> Optional[str]:
        result = self._result
        if not result:
            return f"the agent ended without a result, with exit code: {code}"
        if result.get("subtype") != "success":
            return f"Agent ended with {result.get('subtype')}"  # the words of the real runtime
        if result.get("is_error") or code != 0:
            return str(result.get("result") or f"agent command failed with exit code: {code}")
        return None

    def _output(self) -> object:
        return self._result.get("structured_output" if self._wants_object else "result", "")

    def _metadata(self) -> dict[str, Any]:
        return {name: self._result[name] for name in self._TOLD if name in self._result}


class _CodexEvents(Events):
    """``--json``: items, of which the last ``agent_message`` is the result, and ``turn.completed`` with the tokens."""

    def __init__(self, invocation: InvocationMessage, sender: Sender) -> None:
        super().__init__(invocation, sender)
        self._answer: Optional[str] = None
        self._error: Optional[str] = None
        self._has_failed = False
        self._thread: object = None
        self._usage: Event = {}

    def _take(self, event: Event) -> None:
        kind = event.get("type")
        if kind == "thread.started":
            self._thread = event.get("thread_id")
        elif kind == "item.completed":
            self._take_item(part(event, "item"))
        elif kind == "turn.completed":
            self._usage = part(event, "usage")
        elif kind == "turn.failed":
            self._has_failed, self._error = True, str(part(event, "error").get("message"))
        elif kind == "error":  # one that it may recover from
            self._error = str(event.get("message"))

    def _take_item(self, item: Event) -> None:
        if item.get("type") == "agent_message":
            self._answer = str(item.get("text"))
            self._say(self._answer)

    def _failure(self, code: int) -> Optional[str]:
        if self._has_failed or code != 0:
            return self._error or f"agent command failed with exit code: {code}"
        return "the agent ended without a result" if self._answer is None else None

    def _output(self) -> object:
        return self._answer

    def _metadata(self) -> dict[str, Any]:
        told = {"session_id": self._thread, "usage": _without_cache(self._usage)}
        return {name: value for name, value in told.items() if value}


def _without_cache(usage: Event) -> dict[str, Any]:
    """In the words of a runtime, where ``input_tokens`` are those that did not come from the cache."""
    read, cached, written, output = (
        usage.get(name) for name in ("input_tokens", "cached_input_tokens", "cache_write_input_tokens", "output_tokens")
    )
    if isinstance(read, int) and isinstance(cached, int):
        read = max(0, read - cached)
    told = {
        "input_tokens": read,
        "cache_read_input_tokens": cached,
        "cache_creation_input_tokens": written,
        "output_tokens": output,
    }
    return {name: value for name, value in told.items() if isinstance(value, int)}
