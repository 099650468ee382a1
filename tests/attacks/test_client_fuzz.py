"""A server that says anything at any time, for as long as ``RUNTIMEUSE_FUZZ_SECONDS`` says (default: five seconds)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

import pytest

from runtimeuse_sync import InvocationMessage
from runtimeuse_sync.local import LocalRuntime, Sender

from .hostile_runtime import HostileRuntime
from .test_local_fuzz import SECONDS, SEED
from .test_local_server import MOST_MEMORY

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="/proc"),
    pytest.mark.slow,
    pytest.mark.timeout(0),
]

# Seconds that a call may go on after the last word of the server, and the interpreter takes to start.
GRACE = 60.0


def test_a_server_that_says_anything(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    record_property("seed", SEED)
    make_files(tmp_path)
    with LocalRuntime(agent, settle_seconds=0.1, drain_timeout=1, heartbeat_interval=0.05) as real:
        hostile = HostileRuntime(int(real.url.rpartition(":")[2]), SEED, SECONDS)
        try:
            report, errors = outcome_of_client(hostile.port, tmp_path)
        finally:
            hostile.close()
    told = f"seed {SEED}, {hostile.connections} connections, {report['memory'] >> 20} MiB, {report['outcomes']}"
    print(told, errors, sep="\n")
    assert errors == "", told
    assert not [name for name in report["outcomes"] if "FOREIGN" in name], told
    assert report["left"] == [], told
    assert report["memory"] < MOST_MEMORY, told


def agent(invocation: InvocationMessage, sender: Sender) -> str:
    for _ in invocation.user_prompt:
        sender.assistant("x" * 1000)
    return "s3cret"


def make_files(folder: Path) -> None:
    (folder / "out").mkdir()
    (folder / "source").mkdir()
    for n in range(3):
        (folder / "out" / f"{n}").write_bytes(b"x" * 1000)
        (folder / "source" / f"{n}").write_bytes(b"y" * 300_000)


def outcome_of_client(port: int, folder: Path) -> tuple[Any, str]:
    command = [sys.executable, "-m", f"{__package__}.fuzzed_client"]
    arguments = [f"ws://127.0.0.1:{port}", str(SEED), str(SECONDS), str(folder)]
    # By default, glibc keeps what was freed for each of many threads apart: 200 MiB where 60 are in use.
    env = {**os.environ, "MALLOC_ARENA_MAX": "2"}
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=SECONDS + GRACE, env=env)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr
