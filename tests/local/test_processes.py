from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from runtimeuse_sync.local._processes.processes import KILL_GRACE, Processes

from .conftest import PATIENCE

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX process groups")
linux_only = pytest.mark.skipif(
    sys.platform != "linux", reason="processes that left their group are found on Linux only"
)


def wait_for(path: Path) -> int:
    """The process id that a command wrote to ``path``."""
    deadline = time.monotonic() + PATIENCE
    while not (path.exists() and path.read_text().endswith("\n")):
        assert time.monotonic() < deadline, "the command did not write its process id"
        time.sleep(0.005)
    return int(path.read_text())


def ends(pid: int) -> bool:
    """Whether the process ends by itself, or is ended by another, while we wait."""
    deadline = time.monotonic() + PATIENCE
    while lives(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not lives(pid)


def lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def test_a_child_and_its_children_end_together(tmp_path: Path) -> None:
    processes = Processes()
    shell = processes.start(f"sh -c 'sleep 1000 & echo $! > {tmp_path}/pid; wait' & wait")
    grandchild = wait_for(tmp_path / "pid")

    processes.kill()

    assert shell.wait(timeout=0) == -signal.SIGTERM
    assert not lives(grandchild)


@linux_only
@pytest.mark.parametrize(
    "command",
    [
        # It writes its number itself: while a process is being replaced by another program, it shows no environment.
        "setsid sh -c 'echo $$ > pid; sleep 1000; :' & wait",
        # A daemon: its parent is gone, its session and group are its own.
        f"{sys.executable} -c 'import os, time; os.fork() and os._exit(0); os.setsid(); os.fork() and os._exit(0);"
        ' f = open("pid", "w"); f.write(f"{os.getpid()}\\n"); f.close(); time.sleep(1000)\'; sleep 1000',
        # One that took its mark off, but stayed in the group.
        "env -i sleep 1000 & echo $! > pid; wait",
    ],
    ids=["own session", "daemon", "no environment"],
)
def test_who_tries_to_get_away_is_found(tmp_path: Path, command: str) -> None:
    processes = Processes()
    shell = processes.start(command, cwd=tmp_path)
    runaway = wait_for(tmp_path / "pid")

    processes.kill()
    shell.wait(timeout=0)

    assert not lives(runaway)


@pytest.mark.alone
def test_sigterm_is_tried_first_and_sigkill_after_a_second(tmp_path: Path) -> None:
    processes = Processes()
    # The shell itself waits: were it for a command's end, the trap could come after the second.
    script = f"trap 'echo told > {tmp_path}/told' TERM; echo $$ > {tmp_path}/pid; while :; do read line; done"
    with processes.start(script, stdin=subprocess.PIPE) as stubborn:
        wait_for(tmp_path / "pid")
        began = time.monotonic()

        processes.kill()

        assert stubborn.wait(timeout=0) == -signal.SIGKILL
        assert KILL_GRACE <= time.monotonic() - began < KILL_GRACE + 2
    assert (tmp_path / "told").read_text() == "told\n"


def test_a_shell_does_not_get_to_its_next_command(tmp_path: Path) -> None:
    """Were the command ended before its shell, the shell would go on."""
    for n in range(20):
        processes = Processes()
        shell = processes.start(f"echo $$ > {tmp_path}/{n}; sleep 1000; touch {tmp_path}/next")
        wait_for(tmp_path / str(n))
        processes.kill()
        assert shell.wait(timeout=0) == -signal.SIGTERM
    assert not (tmp_path / "next").exists()


def test_sigterm_is_sent_once(tmp_path: Path) -> None:
    processes = Processes()
    script = (
        f"trap 'echo x >> {tmp_path}/told; n=1' TERM; echo $$ > {tmp_path}/pid;"
        ' while [ -z "$n" ]; do read line; done; sleep 0.3'
    )
    with processes.start(script, stdin=subprocess.PIPE) as process:
        wait_for(tmp_path / "pid")
        processes.kill()
        process.wait(timeout=0)
    assert (tmp_path / "told").read_text() == "x\n"


def test_killing_one_request_s_processes_leaves_the_others_and_the_parent_s_takes_all(tmp_path: Path) -> None:
    runtime = Processes()
    first, second = Processes(runtime), Processes(runtime)
    one, two = first.start("exec sleep 1000"), second.start("exec sleep 1000")

    first.kill()
    assert (one.poll(), two.poll()) == (-signal.SIGTERM, None)

    runtime.kill()
    assert two.wait(10) == -signal.SIGTERM


def test_the_parent_ends_what_a_finished_request_left_in_the_background(tmp_path: Path) -> None:
    runtime = Processes()
    request = Processes(runtime)
    shell = request.start(f"sleep 1000 & echo $! > {tmp_path}/pid")
    shell.wait(timeout=10)
    request.release(shell)
    background = wait_for(tmp_path / "pid")
    assert lives(background)

    runtime.kill()

    assert not lives(background)


@linux_only
def test_what_a_runtime_inside_a_command_runs_belongs_to_the_command(tmp_path: Path) -> None:
    code = (
        "from runtimeuse_sync.local._processes.processes import Processes\n"
        f"process = Processes().start('echo $$ > {tmp_path}/pid; exec sleep 1000')\n"
        "process.wait()\n"
    )
    outer = Processes()
    command = outer.start([sys.executable, "-c", code])
    nested = wait_for(tmp_path / "pid")

    outer.kill()

    assert command.wait(timeout=0) == -signal.SIGTERM
    assert not lives(nested)


@linux_only
def test_a_daemon_without_environment_is_ended_by_its_request_and_no_other(tmp_path: Path) -> None:
    """Its parent, its session and all that it inherited are gone."""
    runtime = Processes()
    requests = [Processes(runtime), Processes(runtime)]
    for n, request in enumerate(requests):
        shell = request.start(f"setsid env -i sh -c 'echo $$ > {tmp_path}/{n}; exec sleep 1000' &")
        assert shell.wait(timeout=PATIENCE) == 0
    daemons = [wait_for(tmp_path / str(n)) for n in range(2)]

    requests[0].kill()
    assert list(map(lives, daemons)) == [False, True]

    runtime.end()
    assert list(map(lives, daemons)) == [False, False]


def test_after_the_end_nothing_is_started() -> None:
    runtime = Processes()
    request = Processes(runtime)
    runtime.end()
    for processes in (runtime, request):
        with pytest.raises(OSError, match="the runtime is closing"):
            processes.start("true")


def test_without_any_process_there_is_nothing_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        pytest.fail("started what nobody needs")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    processes = Processes()
    processes.kill()
    processes.end()
