"""A runtime in a process of its own, whose memory, descriptors and descendants can be told from the attacker's."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Seconds: far more than anything here takes.
PATIENCE = 30

# Prints its URL, and serves until its input ends; says then what is left of it.
_PROGRAM = """
import sys, threading, time
from runtimeuse_sync.local import LocalRuntime
{setup}
def handler(invocation, sender):
    for _ in range(invocation.user_prompt.count("!")):
        sender.assistant("x" * 10_000)
    return invocation.user_prompt
with LocalRuntime(handler, settle_seconds=0.1, drain_timeout=2, {options}) as runtime:
    print(runtime.url, flush=True)
    sys.stdin.read()
def left():
    return sorted(t.name for t in threading.enumerate() if t.name.startswith("runtimeuse"))
give_up = time.monotonic() + 10
while left() and time.monotonic() < give_up:
    time.sleep(0.01)
print(left(), flush=True)
"""


class RuntimeProcess:
    """What one can see of it from outside. Linux only."""

    def __init__(self, process: subprocess.Popen[str], errors: Path) -> None:
        self.process = process
        assert process.stdout is not None
        self.url = process.stdout.readline().strip()
        self.port = int(self.url.rpartition(":")[2])
        self._errors = errors

    def close(self) -> str:
        """End it; the names of the threads that are left then, as it says them."""
        return self.process.communicate(timeout=PATIENCE)[0].strip()

    @property
    def errors(self) -> str:
        return self._errors.read_text()

    @property
    def peak_memory(self) -> int:
        """Bytes."""
        return 1024 * int(self._status("VmHWM:").split()[0])

    @property
    def threads(self) -> int:
        return int(self._status("Threads:"))

    @property
    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def _status(self, name: str) -> str:
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(line for line in text.splitlines() if line.startswith(name)).partition(":")[2].strip()

    def descendants(self) -> list[str]:
        """The command lines of the processes below it, zombies left out."""
        return _descendants(self.process.pid)


def _descendants(pid: int) -> list[str]:
    found = []
    for child in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (child / "stat").read_text().rpartition(")")[2].split()[:2]
            command = (child / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if int(parent) == pid and state not in "ZX":
            found += [command, *_descendants(int(child.name))]
    return found


@contextmanager
def runtime_process(options: str = "", setup: str = "", seconds: float = 600) -> Iterator[RuntimeProcess]:
    """Start one; at the end it is gone, however it went, and after so many seconds in any case."""
    with tempfile.NamedTemporaryFile() as errors:
        process = subprocess.Popen(
            [sys.executable, "-X", "dev", "-c", _PROGRAM.format(options=options, setup=setup)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        watchdog = threading.Timer(seconds, process.kill)
        watchdog.start()
        try:
            with process:
                yield RuntimeProcess(process, Path(errors.name))
                process.kill()
        finally:
            watchdog.cancel()
            watchdog.join()
