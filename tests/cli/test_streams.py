"""Standard streams that lose nothing: non-blocking pipes, readers that stall, encodings that lack a character."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Callable

import pytest

from runtimeuse_sync import CommandOutputMessageInterface
from runtimeuse_sync.cli import _streams
from runtimeuse_sync.testing import Reply, ScriptedRuntime, generation

from .conftest import PATIENCE

Start = Callable[..., "subprocess.Popen[str]"]
Scripted = Callable[..., ScriptedRuntime]

# More than a pipe holds.
SIZE = 1_000_001


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe whose writing end is non-blocking."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    yield reader, writer
    for descriptor in (reader, writer):
        with suppress(OSError):
            os.close(descriptor)


def read_all(reader: int) -> bytes:
    return b"".join(iter(lambda: os.read(reader, 65536), b""))


def printing(count: int, size: int, stream: str = "stdout") -> Reply:
    piece = CommandOutputMessageInterface(stream=stream, text="x" * size, command="c")  # type: ignore[arg-type]
    return Reply(messages=[piece] * count, result="x" * SIZE)


@pytest.mark.parametrize(
    ("arguments", "reply", "stream", "size"),
    [
        (("invoke", "x"), Reply(result="x" * SIZE), "stdout", SIZE + len("\n")),
        (("exec", "--", "c"), printing(1, SIZE), "stdout", SIZE),
        (("exec", "--", "c"), printing(2000, 500), "stdout", 1_000_000),
        (("exec", "--", "c"), printing(1, SIZE, "stderr"), "stderr", SIZE),
        (("invoke", "x"), printing(2000, 499), "stderr", 998_000 + len("\n") * 16),
    ],
    ids=["invoke", "exec", "exec-many", "exec-stderr", "invoke-notes"],
)
def test_all_of_it_arrives_in_a_pipe_that_does_not_block(
    start: Start,
    scripted_runtime: Scripted,
    pipe: tuple[int, int],
    arguments: tuple[str, ...],
    reply: Reply,
    stream: str,
    size: int,
) -> None:
    reader, writer = pipe
    runtime = scripted_runtime(generation("0.15", reply))
    other = {"stdout": "stderr", "stderr": "stdout"}[stream]
    command, *rest = arguments
    process = start(command, runtime.url, *rest, **{stream: writer, other: subprocess.DEVNULL})
    os.close(writer)
    received = read_all(reader)
    assert (process.wait(PATIENCE), len(received)) == (0, size)
    assert received.strip(b"x\n") == b""


def test_json_arrives_whole_in_a_pipe_that_does_not_block(
    start: Start, scripted_runtime: Scripted, pipe: tuple[int, int]
) -> None:
    reader, writer = pipe
    runtime = scripted_runtime(generation("0.15", printing(100, 10_000)))
    process = start("invoke", runtime.url, "x", "--json", stdout=writer)
    os.close(writer)
    events = [json.loads(line) for line in read_all(reader).splitlines()]
    assert process.wait(PATIENCE) == 0
    assert "".join(event["text"] for event in events) == "x" * (1_000_000 + SIZE)


@pytest.mark.parametrize("blocking", [True, False])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("options", [(), pytest.param(("--json",), marks=pytest.mark.slow)])
def test_a_signal_ends_it_though_nobody_reads(
    start: Start,
    scripted_runtime: Scripted,
    pipe: tuple[int, int],
    blocking: bool,
    number: int,
    options: tuple[str, ...],
) -> None:
    reader, writer = pipe
    os.set_blocking(writer, blocking)
    runtime = scripted_runtime(generation("0.15", printing(1, SIZE)))
    process = start("exec", runtime.url, *options, "--", "c", stdout=writer)
    os.read(reader, 1)  # It has begun to write, and cannot go on when the pipe is full.
    process.send_signal(number)
    _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (128 + number, "" if options else "runtimeuse-sync: interrupted\n")


@pytest.mark.parametrize("blocking", [True, False])
def test_what_a_stalled_reader_has_not_taken_by_the_deadline_is_thrown_away(
    pipe: tuple[int, int], blocking: bool
) -> None:
    reader, writer = pipe
    stream = _streams._PatientWriter(writer)
    stream.write(b"1" * 60_000)
    os.set_blocking(writer, blocking)
    stream.deadline = time.monotonic() + 0.05
    stream.write(b"2" * SIZE)
    stream.close()
    os.close(writer)
    assert time.monotonic() >= stream.deadline
    assert 60_000 <= len(read_all(reader)) < 100_000


def test_a_reader_that_goes_on_in_time_gets_the_last_words(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    received: list[bytes] = []
    thread = threading.Thread(target=lambda: received.append(read_all(reader)))
    stream = _streams._PatientWriter(writer)
    stream.deadline = time.monotonic() + PATIENCE
    thread.start()
    stream.write(b"x" * SIZE)
    stream.close()
    os.close(writer)
    thread.join(PATIENCE)
    assert received == [b"x" * SIZE]


def test_nothing_is_written_twice_by_a_write_that_a_signal_cuts_short(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    script = """if True:
        import signal, sys
        from runtimeuse_sync.cli import _streams

        def interrupt(*_):
            global is_writing
            if is_writing:  # and only once: not between two numbers
                is_writing = False
                raise KeyboardInterrupt

        _streams.mend_streams()
        is_writing = False
        signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        for number in range(3000):
            try:
                is_writing = True
                sys.stdout.write(f"{number:05}\\n")
                sys.stdout.flush()
                is_writing = False
            except KeyboardInterrupt:
                pass
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
    """
    process = subprocess.Popen([sys.executable, "-c", script], stdout=writer, stderr=subprocess.DEVNULL)
    os.close(writer)
    lines = read_all(reader).splitlines()
    assert process.wait(PATIENCE) == 0
    assert len(lines) == len(set(lines)) > 1000


def test_what_is_no_descriptors_stream_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr(sys, "stdout", ours)
    _streams.mend_streams()
    assert sys.stdout is ours
    assert ours.errors == "replace"
