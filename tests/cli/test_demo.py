"""``demo``: it shows every step, and says so if one did not happen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable

import pytest

from runtimeuse_sync import InvocationMessage
from runtimeuse_sync.cli import _demo_world
from runtimeuse_sync.local import ArtifactReceiver

from .conftest import Done

Cli = Callable[..., Done]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_demo_world, "_PACE", 0)


def test_every_step(cli: Cli) -> None:
    done = cli("demo")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert [line for line in lines if line[:1].isdigit()] == [
        "1. A runtime starts",
        "2. It downloads a file into the workspace",
        "3. It runs a command before the agent",
        "4. The agent works, and says what it does; a secret stays secret",
        "5. It runs a command after the agent",
        "6. The structured result is here",
        "7. An artifact is here",
    ]
    assert "   The key of the shop is [REDACTED]." in lines
    assert lines[-1].startswith("Every step has really happened, in ")


def no_upload(receiver: ArtifactReceiver, *_: Any) -> Any:
    return "http://127.0.0.1:1/", "text/plain"


def wrong_answer(agent: Any, invocation: InvocationMessage, sender: Any) -> dict[str, Any]:
    (Path(agent.out) / _demo_world.REPORT_NAME).write_text("{}")
    sender.assistant("I have done nothing.")
    return {"items": 0}


def wrong_file(handler: Any) -> None:
    handler.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nbeer")


SABOTAGE: Sequence[tuple[Any, str, Any, str]] = [
    (ArtifactReceiver, "__call__", no_upload, "artifact upload failed"),
    (_demo_world._Agent, "__call__", wrong_answer, "the agent's messages, the structured result, the artifact"),
    (_demo_world._ListHandler, "do_GET", wrong_file, "the download, the command before the agent, the agent's"),
]


@pytest.mark.parametrize(("where", "name", "value", "told"), SABOTAGE)
def test_a_step_that_did_not_happen_is_a_failure(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, where: Any, name: str, value: Any, told: str
) -> None:
    monkeypatch.setattr(where, name, value)
    done = cli("demo")
    assert done.code == 1
    assert "really happened" not in done.out
    assert told in done.out
