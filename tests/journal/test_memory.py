"""A run of a million messages: recorded, loaded, followed and replayed in bounded memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import gc, sys
from pathlib import Path
from runtimeuse_sync import AssistantMessageInterface, Client, InvocationMessage, ResultMessageInterface, TextResult
from runtimeuse_sync.journal import Replay, follow, load, record

COUNT = 1_000_000

class Endless:
    was_opened = True
    def connection(self):
        return self
    def open(self, timeout):
        self.left = COUNT
    def send(self, message):
        pass
    def receive(self, timeout):
        if not self.left:
            return [ResultMessageInterface(data=TextResult(text="done"))]
        self.left -= 1000
        return [AssistantMessageInterface(text_blocks=["a line of text"]) for _ in range(1000)]
    def wake(self):
        pass
    def close(self, timeout):
        pass

def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024

def run(client):
    seen = 0
    def see(message):
        nonlocal seen
        seen += 1
    client.invoke(InvocationMessage(system_prompt="", user_prompt="go"), on_assistant_message=see)
    return seen

path = sys.argv[1]
before = peak()
with record(Client(transport=Endless()), path) as client:
    assert run(client) == COUNT
[recorded] = load(path)
assert len(recorded.messages) == COUNT + 1
assert sum(1 for entry in follow(path)) == COUNT + 4
assert run(Client(transport=Replay(path))) == COUNT
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells the peak")
def test_a_million_messages_in_bounded_memory(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "j")], capture_output=True, text=True, timeout=590, check=False
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 64
