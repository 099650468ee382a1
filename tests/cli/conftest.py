"""The command in this process, where that is enough, and in processes and terminals of its own."""

from __future__ import annotations

import codecs
import fcntl
import io
import os
import pty
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, Callable, Optional

import attrs
import pytest

COMMAND = [sys.executable, "-W", "error", "-m", "runtimeuse_sync"]

# Seconds: far more than anything here takes.
PATIENCE = 20


@attrs.frozen
class Done:
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the machine says of colours, tokens and buffers."""
    rich_reads = ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS", "LINES")
    for name in ("RUNTIMEUSE_URL", "RUNTIMEUSE_TOKEN", "PYTHONUNBUFFERED", *rich_reads):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Runs the command in this process."""
    from runtimeuse_sync.cli import main

    def call(*arguments: object, stdin: str = "") -> Done:
        monkeypatch.setattr(sys, "argv", ["runtimeuse-sync", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        code = main()
        return Done(code, *capsys.readouterr())

    return call


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts the command in a process of its own, with pipes."""
    running: list[subprocess.Popen[str]] = []

    def start(*arguments: object, command: Sequence[str] = COMMAND, **options: Any) -> subprocess.Popen[str]:
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        running.append(subprocess.Popen([*command, *map(str, arguments)], text=True, **{**streams, **options}))
        return running[-1]

    yield start
    for process in running:
        with process:
            process.kill()


@pytest.fixture
def run(start: Callable[..., subprocess.Popen[str]]) -> Callable[..., Done]:
    """Runs the command in a process of its own, to its end."""

    def run(*arguments: object, **options: Any) -> Done:
        process = start(*arguments, **options)
        out, err = process.communicate(timeout=PATIENCE)
        return Done(process.returncode, out, err)

    return run


class Terminal:
    """A command on a terminal of 24 lines."""

    def __init__(self, arguments: tuple[object, ...], columns: int, environment: dict[str, str]) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.shown = ""
        self._looked_at = 0
        # What is read may end in the middle of a character.
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            self._process = subprocess.Popen(
                [*COMMAND, *map(str, arguments)],
                stdin=slave,
                stdout=slave,
                stderr=slave,
                env={**os.environ, "TERM": "xterm-256color", **environment},
                preexec_fn=_take_terminal,
            )
        finally:
            os.close(slave)

    def read_until(self, text: str) -> str:
        """Read until ``text`` is shown, behind what was looked for before; all that was shown so far."""
        give_up = time.monotonic() + PATIENCE
        while (found := self.shown.find(text, self._looked_at)) < 0:
            if time.monotonic() > give_up or not self._read():
                pytest.fail(f"{text!r} is not in {self.shown[self._looked_at :]!r}")
        self._looked_at = found + len(text)
        return self.shown

    def read_all(self) -> str:
        """Read to the end; all that was shown."""
        while self._read():
            pass
        return self.shown

    def _read(self) -> bool:
        # Linux reports the end of a terminal as an error.
        with suppress(OSError):
            chunk = os.read(self._master, 65536)
            self.shown += self._decoder.decode(chunk)
            return bool(chunk)
        return False

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def wait(self) -> int:
        self.read_all()
        return self._process.wait(PATIENCE)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._master)


def _take_terminal() -> None:
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    """Starts the command on a terminal of its own."""
    started: list[Terminal] = []

    def start(*arguments: object, columns: int = 80, **environment: str) -> Terminal:
        started.append(Terminal(arguments, columns, environment))
        return started[-1]

    yield start
    for each in started:
        each.close()


def is_gone(pid: int) -> bool:
    """Whether the process ``pid`` ends while we wait."""
    give_up = time.monotonic() + PATIENCE
    while (lives := _state(pid) not in (None, "Z")) and time.monotonic() < give_up:
        time.sleep(0.01)
    return not lives


def _state(pid: int) -> Optional[str]:
    try:
        return subprocess.run(["ps", "-o", "state=", "-p", str(pid)], capture_output=True, text=True).stdout[0]
    except IndexError:
        return None
