from __future__ import annotations

import contextlib
import gc
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable, Optional

import pytest

from runtimeuse_sync._common.redaction import Redactor
from runtimeuse_sync.exceptions import CancelledException
from runtimeuse_sync.local._cancel_event import CancelEvent
from runtimeuse_sync.local._processes import output as _output
from runtimeuse_sync.local._processes.commands import CommandNotStartedError, run_command
from runtimeuse_sync.local._processes.processes import Processes

from ..support import wait_until
from .test_processes import lives, wait_for


class Run:
    """A command with its output collected."""

    def __init__(self, command: Any, *, secrets: tuple[str, ...] = (), **options: Any) -> None:
        self.out: list[str] = []
        self.err: list[str] = []
        self.processes = Processes()
        self.cancelled = threading.Event()
        self.options = {
            "on_stdout": self.out.append,
            "on_stderr": self.err.append,
            "processes": self.processes,
            "cancelled": self.cancelled,
            "redactor": Redactor(secrets),
            **options,
        }
        self.command = command

    def __call__(self) -> int:
        return run_command(self.command, **self.options)


def test_output_exit_code_folder_and_environment(tmp_path: Path) -> None:
    run = Run('pwd; echo "$WHO" >&2; exit 7', cwd=str(tmp_path), env={"WHO": "me"})
    assert run() == 7
    assert ("".join(run.out), "".join(run.err)) == (f"{tmp_path}\n", "me\n")


def test_a_list_of_arguments_sees_no_shell() -> None:
    run = Run(["printf", "%s", "$HOME; exit 3"])
    assert run() == 0
    assert "".join(run.out) == "$HOME; exit 3"


def test_the_signal_that_ended_a_command_is_in_its_exit_code() -> None:
    assert Run("kill -9 $$")() == 137


def test_standard_input_is_empty_unless_given(tmp_path: Path) -> None:
    assert Run("cat")() == 0
    (tmp_path / "in").write_text("given")
    with open(tmp_path / "in", "rb") as file:
        run = Run("cat", stdin=file)
        run()
    assert run.out == ["given"]


def test_output_comes_while_the_command_runs(tmp_path: Path) -> None:
    """The command ends only when its first output has arrived here."""
    gate = tmp_path / "gate"
    run = Run(f"echo one; while [ ! -e {gate} ]; do sleep 0.01; done; echo two", on_stdout=None)
    out: list[str] = []

    def on_stdout(text: str) -> None:
        out.append(text)
        gate.touch()

    run.options["on_stdout"] = on_stdout
    assert run() == 0
    assert out == ["one\n", "two\n"]


def test_a_secret_cut_in_two_by_the_pipe_does_not_get_out(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    script = f"printf 'key=s3c'; while [ ! -e {gate} ]; do sleep 0.01; done; printf 'ret.'"
    run = Run(script, secrets=("s3cret",))
    out: list[str] = []

    def on_stdout(text: str) -> None:
        out.append(text)
        gate.touch()

    run.options["on_stdout"] = on_stdout
    run()
    assert out == ["key=", "[REDACTED]."]


def test_what_was_held_back_comes_at_the_end() -> None:
    run = Run("printf 'ends in s3c'", secrets=("s3cret",))
    run()
    assert "".join(run.out) == "ends in s3c"


@pytest.mark.parametrize(
    ("command", "options", "reason"),
    [
        ("true", {"cwd": "/nowhere"}, "No such file or directory"),
        (["/nowhere/agent"], {}, "No such file or directory"),
        ("a\0b", {}, "no process can take"),
        ("true", {"env": {"A=B": "x"}}, "no process can take"),
        ("true", {"env": {"A": "\0"}}, "no process can take"),
    ],
)
def test_a_command_that_cannot_start_says_why(command: Any, options: Any, reason: str) -> None:
    with pytest.raises(CommandNotStartedError, match=reason):
        Run(command, **options)()


def test_cancelling_ends_the_tree_and_the_wait(tmp_path: Path) -> None:
    run = Run(f"sleep 1000 & echo $! > {tmp_path}/pid; wait")
    timer = threading.Thread(target=lambda: (wait_for(tmp_path / "pid"), run.cancelled.set()))
    timer.start()
    with pytest.raises(CancelledException):
        run()
    timer.join()
    assert not lives(wait_for(tmp_path / "pid"))


def test_a_background_child_that_holds_the_pipe_holds_nothing_up(tmp_path: Path) -> None:
    """It lives on, may print without being killed by SIGPIPE, and what it prints is thrown away."""
    go = tmp_path / "go"
    run = Run(
        f"(while [ ! -e {go} ]; do sleep 0.01; done; echo late && echo $$ > {tmp_path}/pid; sleep 1000) & echo early"
    )
    assert run() == 0
    go.touch()
    wait_for(tmp_path / "pid")
    assert run.out == ["early\n"]
    run.processes.kill()


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("noise", "seconds"),
    [
        pytest.param("while :; do echo noise; sleep 0.05; done", 0.5, id="a line at times: ended by the time"),
        pytest.param("yes", 1000, id="without a pause: ended by the size"),
    ],
)
def test_a_background_child_that_goes_on_printing_holds_nothing_up(
    monkeypatch: pytest.MonkeyPatch, noise: str, seconds: float
) -> None:
    monkeypatch.setattr(_output, "_OTHERS_TIME", seconds)
    run = Run(f"({noise}) & echo early; seq 20000; exit 3")
    assert run() == 3
    printed = "".join(run.out)
    assert "early\n" in printed
    assert "20000\n" in printed
    run.processes.kill()


def test_all_output_arrives_however_slowly_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pipe is not taken for silent while its reader is busy with what came before."""
    monkeypatch.setattr(_output, "_QUIET", 0)
    run = Run(f"{sys.executable} -c \"print('x' * 200_000)\"")
    total = 0

    def slowly(text: str) -> None:
        nonlocal total
        time.sleep(0.05)
        total += len(text)

    run.options["on_stdout"] = slowly
    assert run() == 0
    assert total == 200_001


def test_what_was_printed_arrives_however_late_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a busy machine, where a thread may stand still for longer than the silence that counts."""
    read = _output.Pump._read

    def read_late(pump: Any) -> bytes:
        time.sleep(0.1)
        chunk = read(pump)
        time.sleep(0.1)
        return chunk

    monkeypatch.setattr(_output, "_QUIET", 0)
    monkeypatch.setattr(_output.Pump, "_read", read_late)
    run = Run("echo one; sleep 0.3; echo two >&2")
    assert run() == 0
    assert (run.out, run.err) == (["one\n"], ["two\n"])


def test_a_receiver_that_is_cancelled_does_not_stop_the_reading() -> None:
    def refuse(_: str) -> None:
        raise CancelledException

    assert Run("echo a; echo b", on_stdout=refuse)() == 0


@pytest.mark.parametrize("stream", ["out", "err"])
def test_output_over_the_capture_limit_ends_the_command(stream: str) -> None:
    run = Run(
        f"head -c 3000000 /dev/zero | tr '\\0' x {'>&2' if stream == 'err' else ''}; sleep 1000", limits_capture=True
    )
    assert run() == -1
    # What comes of the piece that is over the limit depends on how the program writes.
    assert 1_048_576 < len("".join(getattr(run, stream))) <= 1_064_960


def test_output_up_to_the_capture_limit_is_fine() -> None:
    run = Run("head -c 1048576 /dev/zero | tr '\\0' x; head -c 1048576 /dev/zero | tr '\\0' x >&2", limits_capture=True)
    assert run() == 0
    assert len("".join(run.out)) == len("".join(run.err)) == 1_048_576


def test_the_capture_limit_ends_its_command_alone(tmp_path: Path) -> None:
    """What an earlier command of the same request left in the background lives on."""
    first = Run(f"sleep 1000 >&- 2>&- & echo $! > {tmp_path}/pid")
    first()
    second = Run("cat /dev/zero", processes=first.processes, limits_capture=True)
    assert second() == -1
    assert lives(wait_for(tmp_path / "pid"))
    first.processes.kill()


def test_a_command_that_is_too_long_says_so() -> None:
    is_too_long = False
    try:
        Run(["true", "x" * 200_000])()
    except CommandNotStartedError as error:
        is_too_long = error.is_too_long and str(error) == "could not be started: Argument list too long"
    assert is_too_long


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_thread_that_cannot_be_started_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch, which: int) -> None:
    start, started = threading.Thread.start, 0

    def start_some(thread: threading.Thread) -> None:
        nonlocal started
        started += 1
        if started > which:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_some)
    duration = f"1000.{os.getpid()}{which}"
    with pytest.raises(RuntimeError, match="can't start"):
        Run(f"sleep {duration}; true")()
    # The traceback holds what ends processes at its own end.
    gc.collect()
    wait_until(lambda: not any(duration in command for command in commands_alive()))


def commands_alive() -> Iterator[str]:
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            yield (process / "cmdline").read_text(errors="replace")


def test_a_cancel_is_heard_while_nobody_takes_the_output() -> None:
    """The thread that hands output on is held up; the one that waits for the command is not."""
    is_held, is_released = threading.Event(), threading.Event()

    def hold(_: str) -> None:
        is_held.set()
        is_released.wait(60)

    run = Run("while :; do echo x; done", on_stdout=hold)
    thread = threading.Thread(target=lambda: (is_held.wait(60), run.cancelled.set()))
    thread.start()
    with pytest.raises(CancelledException):
        run()
    thread.join()
    assert not is_released.is_set()
    is_released.set()


@pytest.mark.parametrize("make_event", [threading.Event, CancelEvent])
def test_waiting_for_a_command_asks_nobody_again_and_again(
    make_event: Callable[[], threading.Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a runtime's own event, every wait is one that somebody ends; a plain event has to be looked at."""
    waits: list[Optional[float]] = []
    wait = threading.Condition.wait

    def counted(condition: threading.Condition, timeout: Optional[float] = None) -> bool:
        waits.append(timeout)
        return wait(condition, timeout)

    monkeypatch.setattr(threading.Condition, "wait", counted)
    assert Run("sleep 0.5", cancelled=make_event())() == 0
    timed = [timeout for timeout in waits if timeout is not None]
    assert len(timed) <= 3 if make_event is CancelEvent else len(timed) >= 1
