"""Runtimes of several generations that run the real commands, as far as what they say on the wire goes."""

from __future__ import annotations

import base64
import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest

from runtimeuse_sync import Client, CommandExecutionMessage, CommandInterface
from runtimeuse_sync.local import LocalRuntime
from runtimeuse_sync.testing import Peer, ScriptedRuntime

RELEASES = ("0.9", "0.10", "0.12", "0.14", "local")

# Characters of one message of output: small, so that marks are cut in two.
_CHUNK = 700


def playing(release: str) -> Callable[[Peer], None]:
    """A script that runs commands and says of them what a runtime of that release does."""
    minor = int(release.partition(".")[2])

    def script(peer: Peer) -> None:
        while True:
            request = peer.receive(None)
            if isinstance(request, CommandExecutionMessage):
                _serve(peer, request, minor)
            if minor < 11:
                return

    return script


def _serve(peer: Peer, request: CommandExecutionMessage, minor: int) -> None:
    for item in request.pre_execution_downloadables or ():
        head, _, data = item.download_url.partition(",")
        assert head == "data:application/octet-stream;base64"
        os.makedirs(item.working_dir, exist_ok=True)
        name = data.rpartition("/")[2]
        Path(item.working_dir, name).write_bytes(base64.b64decode(data, validate=True))
    results = []
    for command in request.commands:
        code, out = _run(peer, command, minor)
        if code and minor < 10:
            peer.send({"message_type": "error_message", "error": f"command failed with exit code: {code}"})
            return
        results.append({"command": command.command, "exit_code": code, **({"stdout": out} if minor >= 12 else {})})
        if code:
            break
    peer.send({"message_type": "command_execution_result_message", "results": results})


def _run(peer: Peer, command: CommandInterface, minor: int) -> tuple[int, str]:
    environment = {**os.environ, **(command.env or {})}
    done = subprocess.run(command.command, shell=True, cwd=command.cwd, env=environment, capture_output=True)
    texts = {"stdout": done.stdout.decode(errors="replace"), "stderr": done.stderr.decode(errors="replace")}
    assert max(map(len, texts.values())) <= 2**20, "the runtime would have ended the command"
    for stream, text in texts.items():
        for start in range(0, len(text), _CHUNK if len(text) < 100_000 else len(text)):
            piece = text[start : start + _CHUNK] if len(text) < 100_000 else text
            peer.send(
                {"message_type": "command_output_message", "stream": stream, "text": piece, "command": command.command}
                if minor >= 14
                else {"message_type": "assistant_message", "text_blocks": [piece]}
            )
    return done.returncode, texts["stdout"]


@pytest.fixture
def local() -> Iterator[Client]:
    """A client of the real commands."""
    with LocalRuntime(lambda invocation, sender: "") as runtime:
        yield Client(runtime.url)


@pytest.fixture(params=RELEASES)
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    """A client of each generation."""
    if request.param == "local":
        yield request.getfixturevalue("local")
        return
    with ScriptedRuntime(playing(request.param)) as runtime:
        yield Client(runtime.url)


@pytest.fixture(autouse=True)
def made_in_the_sandbox(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[str]]:
    """Whatever a call made for itself in the sandbox is gone at its end."""
    made: list[str] = []
    make = uuid.uuid4

    def recorded() -> uuid.UUID:
        made.append(f".runtimeuse-{(new := make()).hex}")
        return new

    monkeypatch.setattr(uuid, "uuid4", recorded)
    yield made
    assert [name for name in made if Path("/tmp", name).exists()] == []
    assert list(tmp_path.rglob(".runtimeuse-*")) == []
