"""Child processes that a test can talk to, and that cannot hang it."""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from typing import Any

import attrs

# Warnings are errors in a child too, except for the one that says what several of these tests are about.
PYTHON = [sys.executable, "-W", "error", "-W", "ignore:This process:DeprecationWarning"]


def run(source: str, *args: str, timeout: float = 30) -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""
    command = [*PYTHON, "-c", textwrap.dedent(source), *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)


def result_of(source: str, *args: str, timeout: float = 30) -> Any:
    """What a program prints, as JSON; it must end well and say nothing else."""
    done = run(source, *args, timeout=timeout)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


@attrs.define
class Child:
    """A running program that prints lines."""

    process: subprocess.Popen[str]
    _lines: queue.Queue[str] = attrs.field(factory=queue.Queue)

    def read(self, timeout: float = 10) -> Any:
        """The next line, as JSON; fails after ``timeout`` seconds, or at the end of the program."""
        try:
            line = self._lines.get(timeout=timeout)
        except queue.Empty:
            raise AssertionError(f"the child printed nothing for {timeout:g} s") from None
        assert line, "the child has ended"
        return json.loads(line)

    def write(self, value: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(value) + "\n")
        self.process.stdin.flush()

    def pump(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put("")


@contextlib.contextmanager
def child(source: str, *args: str) -> Iterator[Child]:
    """A program that is still running; it is killed at the end of the block if it is not over by then."""
    command = [*PYTHON, "-c", textwrap.dedent(source), *args]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        running = Child(process)
        reader = threading.Thread(target=running.pump, name="reader", daemon=True)
        reader.start()
        try:
            yield running
        finally:
            process.kill()
            reader.join(5)
