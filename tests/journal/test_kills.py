"""A process that is killed while it records."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from runtimeuse_sync.journal import load
from runtimeuse_sync.testing import Disconnected, Peer, ScriptedRuntime

from .support import said

KILLS = int(os.environ.get("RUNTIMEUSE_KILLS", "20"))
# Says how many messages its callback has had, and for whom: two threads at once.
CHILD = """
import os, sys, threading
from runtimeuse_sync import Client
from runtimeuse_sync.journal import record

def run(client, name):
    had = 0
    def on_message(message):
        nonlocal had
        had += 1
        os.write(1, f"{name} {had}\\n".encode())
    client.query(name, on_assistant_message=on_message)

with record(Client(sys.argv[1]), sys.argv[2]) as client:
    threads = [threading.Thread(target=run, args=(client, name)) for name in "ab"]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
"""


def for_ever(peer: Peer) -> None:
    """Numbered messages of all sizes, small and large, until the client is gone."""
    peer.receive()
    sizes, number = random.Random(0), 0
    try:
        while True:
            batch = [said(f"{number + place} " + "x" * sizes.choice([1, 100, 5000, 200_000])) for place in range(20)]
            peer.send(*batch)
            number += len(batch)
    except Disconnected:
        return


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
@pytest.mark.timeout(60 + 10 * KILLS)
def test_nothing_is_lost_but_the_line_that_is_being_written(tmp_path: Path) -> None:
    chance = random.Random()
    with ScriptedRuntime(for_ever) as runtime:
        for turn in range(KILLS):
            path = tmp_path / f"{turn % 4}"  # some of them go on behind what another was killed at
            known = {run.id for run in load(path)} if path.exists() else set()
            command = [sys.executable, "-c", CHILD, runtime.url, str(path)]
            with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
                had = killed_after(child, chance.randrange(1, 400))
            check(path, known, had)
            if turn % 4 == 3 and turn % 16 != 15:
                path.unlink()


def killed_after(child: subprocess.Popen[bytes], lines: int) -> dict[str, int]:
    """How many messages each call had had when the child was killed, after it had said so many ``lines``."""
    assert child.stdout is not None
    said: list[bytes] = [child.stdout.readline() for _ in range(lines)]
    child.kill()
    said += child.stdout.readlines()
    whole = [line.split() for line in said if line.endswith(b"\n")]
    return {name.decode(): int(had) for name, had in whole}


def check(path: Path, known: set[str], had: dict[str, int]) -> None:
    """That the journal has what the callbacks have had, whole and in order."""
    runs = {run.request.user_prompt: run for run in load(path) if run.id not in known}
    for name, count in had.items():
        numbers = [int(message.text_blocks[0].split()[0]) for message in runs[name].messages]
        assert numbers == list(range(len(numbers)))
        assert len(numbers) >= count
