"""The demo itself: one invocation with everything in it, shown and checked."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from .. import messages as m
from ..client import Client
from . import _demo_world as w
from ._endings import Failure
from ._reports import TextReport
from ._screen import Screen

# Programs that every system has, Windows included.
PRE_COMMAND = f"sort {w.LIST_NAME}"
POST_COMMAND = "echo all tidied up"

# Seconds that the run may take; it takes three.
_TIMEOUT = 60.0


def run_demo(screen: Screen) -> None:
    """Run it, and show it on ``screen``.

    Raises:
        Failure: if a step did not happen as it should.
    """
    with w.world() as world:
        show = _Show(screen, world)
        show.step("A runtime starts", world.runtime.url)
        screen.show_progress()
        result = _run(world, show)
        show.outcome(result)
        failed = list(_failed(show, world, result))
    if failed:
        raise Failure(f"not as it should be: {', '.join(failed)}")


def _run(world: w.World, show: _Show) -> m.ResultMessageInterface:
    folder = str(world.workspace)
    invocation = m.InvocationMessage(
        system_prompt="You plan the shopping.",
        user_prompt=f"Read {w.LIST_NAME} and report.",
        agent_env={w.KEY_VARIABLE: w.KEY},
        secrets_to_redact=[w.KEY],
        output_format_json_schema_str=json.dumps({"type": "json_schema", "schema": w.SCHEMA}),
        pre_agent_downloadables=[
            m.RuntimeEnvironmentDownloadableInterface(download_url=world.list_url, working_dir=folder)
        ],
        pre_agent_invocation_commands=[m.CommandInterface(command=PRE_COMMAND, cwd=folder)],
        post_agent_invocation_commands=[m.CommandInterface(command=POST_COMMAND, cwd=folder)],
        artifacts_dirs=[str(world.out)],
    )
    return Client(world.runtime.url, cancel_poll_interval=0.1).invoke(
        invocation,
        on_assistant_message=show.assistant,
        on_command_output=show.output,
        on_heartbeat=show.heartbeat,
        on_artifact_upload_request=world.receiver,
        is_cancelled=show.screen.tick,
        timeout=_TIMEOUT,
    )


class _Show(TextReport):
    """Numbers the steps, and remembers what it has seen."""

    def __init__(self, screen: Screen, world: w.World) -> None:
        super().__init__(screen)
        self._world = world
        self._steps = 0
        self.said: list[str] = []
        self.printed: defaultdict[str, str] = defaultdict(str)

    def step(self, title: str, detail: str = "") -> None:
        """Begin the next step."""
        self._finish_line()
        self._steps += 1
        self.screen.say(f"{self._steps}. {title}", "cyan")
        if detail:
            self._say(detail)

    def _say(self, text: str, style: str = "") -> None:
        for line in text.split("\n"):
            super()._say(f"   {line}", style)

    def output(self, message: m.CommandOutputMessageInterface) -> None:
        """See ``Report``."""
        if message.command not in self.printed:
            if message.command == PRE_COMMAND:
                self.step("It downloads a file into the workspace", _described(self._world.workspace / w.LIST_NAME))
            when = "before" if message.command == PRE_COMMAND else "after"
            self.step(f"It runs a command {when} the agent", f"$ {message.command}")
        self.printed[message.command] += message.text
        super().output(message)

    def assistant(self, message: m.AssistantMessageInterface) -> None:
        """See ``Report``."""
        if not self.said:
            self.step("The agent works, and says what it does; a secret stays secret")
        self.said += message.text_blocks
        super().assistant(message)

    def outcome(self, result: m.ResultMessageInterface) -> None:
        """Show the result and the artifacts."""
        self.step("The structured result is here", json.dumps(result.structured_output))
        for path in self._world.receiver.saved.values():
            self.step("An artifact is here", _described(path))


def _described(path: Path) -> str:
    return f"{path.name}, {path.stat().st_size} bytes"


def _failed(show: _Show, world: w.World, result: m.ResultMessageInterface) -> Iterator[str]:
    """Name the steps that did not happen as they should."""
    artifacts = {path.name: path.read_text(encoding="utf-8") for path in world.receiver.saved.values()}
    if (world.workspace / w.LIST_NAME).read_text(encoding="utf-8") != w.LIST:
        yield "the download"
    if show.printed[PRE_COMMAND].splitlines() != w.SORTED:
        yield "the command before the agent"
    if show.said != w.MESSAGES:
        yield "the agent's messages"
    if show.printed[POST_COMMAND].splitlines() != ["all tidied up"]:
        yield "the command after the agent"
    if result.structured_output != w.ANSWER:
        yield "the structured result"
    if artifacts != {w.REPORT_NAME: json.dumps(w.ANSWER)}:
        yield "the artifact"
