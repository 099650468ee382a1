"""The asyncio client 0.4, as published, gets from our runtime what it can read of release 0.15's language.

That is all but the result, which has had another shape since 0.5: a real 0.15 runtime fails it there too.
Needs the network once, to install that client beside the new one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from runtimeuse_sync.local import ArtifactReceiver, LocalRuntime
from runtimeuse_sync.messages import ArtifactUploadRequestMessageInterface

pytest.importorskip("runtimeuse_client")

pytestmark = pytest.mark.timeout(240)  # the network may be slow

PATIENCE = 20


@pytest.fixture(scope="session")
def old_client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("client-0.4")
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--target",
        str(folder),
        "runtimeuse-client==0.4.0",
    ]
    subprocess.run(install, check=True, capture_output=True, timeout=200)
    return folder


def call(old_client: Path, runtime: LocalRuntime, folder: Path, **fields: Any) -> dict[str, Any]:
    """What the client got, and how its call ended."""
    invocation = {
        "source_id": "run-1",
        "system_prompt": "",
        "user_prompt": "",
        "output_format_json_schema_str": "{}",
        "secrets_to_redact": [],
        "agent_env": {},
        "preferred_model": "m",
        "artifacts_dir": str(folder),
        **fields,
    }
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("client_0_4.py")), runtime.url],
        input=json.dumps(invocation),
        env={**os.environ, "PYTHONPATH": str(old_client)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    outcome: dict[str, Any] = json.loads(done.stdout)
    return outcome


def test_messages_and_errors_with_its_own_spelling_of_the_fields(old_client: Path, tmp_path: Path) -> None:
    def handler(invocation: Any, sender: Any) -> str:
        sender.assistant(f"{invocation.model} {invocation.agent_env} {invocation.artifacts_dirs}")
        raise ValueError("out of s3cret")

    with LocalRuntime(handler) as runtime:
        outcome = call(old_client, runtime, tmp_path, secrets_to_redact=["s3cret"], agent_env={"A": "b"})
    said, error = outcome["got"]
    assert said["text_blocks"] == [f"m {{'A': 'b'}} ['{tmp_path}']"]
    assert error["error"] == "out of [REDACTED]"


def test_messages_that_it_does_not_know_do_it_no_harm(old_client: Path, tmp_path: Path) -> None:
    def handler(invocation: Any, sender: Any) -> str:
        sender.cancelled.wait(0.3)
        sender.assistant("after heartbeats and command output")
        raise ValueError("end")

    with LocalRuntime(handler, heartbeat_interval=0.05) as runtime:
        before = [{"command": "echo output", "cwd": str(tmp_path), "env": {}}]
        outcome = call(old_client, runtime, tmp_path, pre_agent_invocation_commands=before)
    assert [m["message_type"] for m in outcome["got"]] == ["assistant_message", "error_message"]


def test_an_artifact(old_client: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with ArtifactReceiver(tmp_path / "saved") as receiver:

        def handler(invocation: Any, sender: Any) -> str:
            # Whole from the first moment on: half a file that stays so for a while is taken for finished.
            (tmp_path / "draft").write_text("content")
            (tmp_path / "draft").replace(out / "a.txt")
            while not receiver.saved and not sender.cancelled.wait(0.01):
                pass
            sender.assistant("arrived")
            raise ValueError("end")

        place = ArtifactUploadRequestMessageInterface(filename="a.txt", filepath=f"{out}/a.txt")
        with LocalRuntime(handler, settle_seconds=0.2) as runtime:
            outcome = call(old_client, runtime, out, upload_to=receiver(place).presigned_url)
        assert [path.read_text() for path in receiver.saved.values()] == ["content"]
    assert [m["message_type"] for m in outcome["got"]] == [
        "artifact_upload_request_message",
        "assistant_message",
        "error_message",
    ]


def test_cancellation(old_client: Path, tmp_path: Path) -> None:
    ended = threading.Event()

    def handler(invocation: Any, sender: Any) -> str:
        sender.assistant("begun")
        while not sender.cancelled.wait(0.05):
            sender.assistant("working")
        ended.set()
        return ""

    with LocalRuntime(handler) as runtime:
        outcome = call(old_client, runtime, tmp_path, cancel_after=2)
        assert ended.wait(PATIENCE)
    assert outcome["end"] == "CancelledException"


def test_it_writes_null_for_what_is_not_set(old_client: Path, tmp_path: Path) -> None:
    def handler(invocation: Any, sender: Any) -> str:
        raise ValueError(f"directories: {invocation.artifacts_dirs}")

    with LocalRuntime(handler) as runtime:
        outcome = call(old_client, runtime, tmp_path, artifacts_dir=None)
    assert [m["error"] for m in outcome["got"]] == ["directories: None"]
