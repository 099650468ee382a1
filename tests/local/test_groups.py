"""Process groups: what ends commands where there are no keepers. Linux has groups too."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from runtimeuse_sync.local._processes import groups as _groups
from runtimeuse_sync.local._processes.groups import KILL_GRACE, GroupProcesses

from .conftest import PATIENCE
from .test_processes import ends, lives, wait_for

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX process groups")


def test_a_group_ends_together(tmp_path: Path) -> None:
    processes = GroupProcesses()
    shell = processes.start(f"sh -c 'sleep 1000 & echo $! > {tmp_path}/pid; wait' & wait")
    grandchild = wait_for(tmp_path / "pid")
    processes.kill()
    assert shell.wait(timeout=PATIENCE) == -signal.SIGTERM
    assert ends(grandchild)


@pytest.mark.alone
def test_sigterm_is_tried_first_and_sigkill_after_a_second(tmp_path: Path) -> None:
    processes = GroupProcesses()
    script = f"trap 'echo told > {tmp_path}/told' TERM; echo $$ > {tmp_path}/pid; while :; do read line; done"
    with processes.start(script, stdin=subprocess.PIPE) as stubborn:
        wait_for(tmp_path / "pid")
        began = time.monotonic()
        processes.kill()
        assert stubborn.wait(timeout=0) == -signal.SIGKILL
        assert KILL_GRACE <= time.monotonic() - began < KILL_GRACE + 2
    assert (tmp_path / "told").read_text() == "told\n"


def test_a_look_that_takes_long_is_not_all_that_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    def lives_slowly(group: int) -> bool:
        time.sleep(0.1)
        return group_lives(group)

    group_lives = _groups._group_lives
    monkeypatch.setattr(_groups, "_group_lives", lives_slowly)
    monkeypatch.setattr(_groups, "KILL_GRACE", 0.1)
    processes = GroupProcesses()
    sleeper = processes.start("exec sleep 1000")
    processes.kill()
    assert sleeper.wait(timeout=PATIENCE) == -signal.SIGTERM


def test_one_request_s_are_ended_alone_and_the_parent_ends_all() -> None:
    runtime = GroupProcesses()
    first, second = GroupProcesses(runtime), GroupProcesses(runtime)
    one, two = first.start("exec sleep 1000"), second.start("exec sleep 1000")
    first.kill()
    assert (one.poll(), two.poll()) == (-signal.SIGTERM, None)
    runtime.end()
    assert two.poll() == -signal.SIGTERM
    with pytest.raises(OSError, match="the runtime is closing"):
        runtime.start("true")


def test_the_parent_ends_what_a_finished_request_left_in_the_background(tmp_path: Path) -> None:
    runtime = GroupProcesses()
    request = GroupProcesses(runtime)
    shell = request.start(f"sleep 1000 & echo $! > {tmp_path}/pid")
    shell.wait(timeout=PATIENCE)
    request.release(shell)
    request.leave()
    background = wait_for(tmp_path / "pid")
    assert lives(background)
    runtime.end()
    assert ends(background)


def test_an_exit_code_that_could_not_be_known_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a 0, which is what ``subprocess`` makes of it."""
    ignored: Any = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with pytest.raises(OSError, match="ignores SIGCHLD"):
            GroupProcesses().start("exit 3")
    finally:
        signal.signal(signal.SIGCHLD, ignored)
