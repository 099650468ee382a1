"""Keepers: how commands end is known, what they start is found, whatever the program around does or inherits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("keepers are for Linux", allow_module_level=True)

from runtimeuse_sync.local._processes import keeper as _keeper
from runtimeuse_sync.local._processes.keeper import UnknownStatusError
from runtimeuse_sync.local._processes.keeper_program import table
from runtimeuse_sync.local._processes.keeper_program.table import descendants, send, status_of
from runtimeuse_sync.local._processes.processes import Process, Processes

from .conftest import PATIENCE
from .test_processes import ends, lives, wait_for


def output_of(process: Process) -> str:
    assert process.stdout is not None
    with process:
        text = process.stdout.read().decode()
        process.wait(PATIENCE)
    return text


# --- what is inherited -------------------------------------------------------------------------------

# What a supervisor may leave to a program: ignored and blocked signals, a umask, open descriptors.
INHERITED = """
import os, signal, sys
for name in ("SIGCHLD", "SIGINT", "SIGHUP", "SIGTERM", "SIGUSR1"):
    signal.signal(getattr(signal, name), signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGCHLD))
os.set_inheritable(os.open(os.devnull, os.O_RDONLY), True)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def run_under_a_bad_supervisor(code: str) -> list[str]:
    command = [sys.executable, "-c", INHERITED, "-X", "dev", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, close_fds=False)
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_exit_codes_are_known_where_sigchld_is_ignored() -> None:
    code = """if True:
        import logging
        from runtimeuse_sync import AgentRuntimeError, Client, CommandInterface, QueryOptions
        from runtimeuse_sync.local import CommandLineAgent, LocalRuntime
        logging.disable()
        with LocalRuntime(CommandLineAgent(["sh", "-c", "echo partial; exit 1"])) as runtime:
            client = Client(runtime.url)
            for command in ("exit 3", "exit 4", "false", "true", "kill -TERM $$"):
                print(client.execute_commands([CommandInterface(command=command)]).results[0].exit_code)
            try:
                print(client.query("", QueryOptions(system_prompt="")))
            except AgentRuntimeError as error:
                print(error)
    """
    helper = (
        "from runtimeuse_sync import CommandInterface\ndef command_of(text): return CommandInterface(command=text)\n"
    )
    heard = run_under_a_bad_supervisor(helper + code)
    assert heard == ["3", "4", "1", "0", "143", "agent command failed with exit code: 1"]


def test_commands_inherit_no_signals_and_no_descriptors() -> None:
    command = "grep -E '^Sig(Blk|Ign)' /proc/self/status; echo $(ls /proc/$$/fd)"
    code = f"""if True:
        import subprocess
        from runtimeuse_sync.local._processes.processes import Processes
        processes = Processes()
        with processes.start({command!r}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
            print(process.stdout.read().decode())
            process.wait()
    """
    blocked, ignored, descriptors, *_ = run_under_a_bad_supervisor(code)
    # Two belong to the C library, which lets nobody change them.
    assert (int(blocked.split()[1], 16), int(ignored.split()[1], 16) & ~0x180000000) == (0, 0)
    # The fourth is the shell's own, for the output of the inner command.
    assert descriptors.split()[:3] == ["0", "1", "2"]
    assert len(descriptors.split()) <= 4


def test_what_is_this_process_s_now_is_the_command_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The keeper was started earlier: in another directory, with another environment."""
    processes = Processes()
    processes.start("true").wait(PATIENCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NEW", "1")
    (tmp_path / "sub").mkdir()
    command = 'pwd; echo "$NEW"'
    assert output_of(processes.start(command, stdout=subprocess.PIPE)) == f"{tmp_path}\n1\n"
    assert output_of(processes.start(command, cwd="sub", stdout=subprocess.PIPE)) == f"{tmp_path}/sub\n1\n"


def test_a_command_cannot_read_of_its_parent_what_was_kept_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S3CRET_NAME", "s3cret")
    command = ["sh", "-c", "cat /proc/$PPID/environ /proc/$PPID/cmdline"]
    assert "s3cret" not in output_of(Processes().start(command, stdout=subprocess.PIPE)).lower()


def test_a_program_is_looked_for_in_the_path_that_it_gets(tmp_path: Path) -> None:
    (tmp_path / "agent").write_text("#!/bin/sh\necho found")
    (tmp_path / "agent").chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    assert output_of(Processes().start(["agent"], env=env, stdout=subprocess.PIPE)) == "found\n"


def test_arguments_and_an_environment_of_any_size_and_bytes() -> None:
    code = "import os, sys; os.write(1, b''.join(map(os.fsencode, sys.argv[1:])))"
    arguments = [sys.executable, "-c", code, "x" * 100_000, "\udcff"]
    process = Processes().start(arguments, env={f"V{n}": "y" * 10_000 for n in range(50)}, stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process:
        assert process.stdout.read() == b"x" * 100_000 + b"\xff"
    with pytest.raises(OSError, match="Argument list too long"):
        Processes().start(["true", "x" * 1_000_000])


# --- keepers that are ended --------------------------------------------------------------------------


def test_a_command_that_ends_its_keeper_has_no_exit_code(tmp_path: Path) -> None:
    runtime = Processes()
    request = Processes(runtime)
    process = request.start(
        f"read go; kill -KILL $PPID; echo $$ > {tmp_path}/pid; exec sleep 1000", stdin=subprocess.PIPE
    )
    assert process.stdin is not None
    process.stdin.close()
    with pytest.raises(UnknownStatusError, match="exit code cannot be known"):
        process.wait(PATIENCE)
    with pytest.raises(UnknownStatusError):
        process.poll()
    orphan = wait_for(tmp_path / "pid")
    request.release(process)
    assert output_of(Processes(runtime).start("echo next", stdout=subprocess.PIPE)) == "next\n"
    runtime.end()
    assert not lives(orphan)


def keeper_of(processes: Processes) -> int:
    return int(output_of(processes.start("echo $PPID", stdout=subprocess.PIPE)))


def test_a_runtime_whose_keeper_was_ended_gets_another(tmp_path: Path) -> None:
    runtime = Processes()
    first = keeper_of(runtime)
    os.kill(first, signal.SIGKILL)
    assert ends(first)
    assert output_of(Processes(runtime).start("echo served", stdout=subprocess.PIPE)) == "served\n"
    runtime.end()


def test_a_keeper_that_is_stopped_holds_nothing_up_for_long(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    processes = Processes()
    keeper = keeper_of(processes)
    monkeypatch.setattr(_keeper, "_KILL_TIMEOUT", 0.2)
    monkeypatch.setattr(_keeper, "_START_TIMEOUT", 0.2)
    os.kill(keeper, signal.SIGSTOP)
    try:
        with pytest.raises(OSError, match="timed out"):
            processes.start("true")
        processes.kill()
        processes.end()
    finally:
        assert ends(keeper)
    assert [record.getMessage() for record in caplog.records] == [
        "processes may be left: what was to end them does not answer"
    ] * 2


def test_a_request_s_keeper_that_is_stopped_ends_with_the_runtime(tmp_path: Path) -> None:
    runtime = Processes()
    request = Processes(runtime)
    request.start(f"echo $$ > {tmp_path}/pid; exec sleep 1000")
    sleeper = wait_for(tmp_path / "pid")
    keeper = status_of(sleeper)[1]
    os.kill(keeper, signal.SIGSTOP)
    runtime.end()
    assert not lives(sleeper)
    assert ends(keeper)


def test_a_keeper_that_cannot_be_started_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(OSError, match="no Python interpreter"):
        Processes().start("true")
    monkeypatch.setattr(sys, "executable", "/bin/true")
    with pytest.raises(OSError, match="is gone|Broken pipe"):
        Processes().start("true")


def test_keepers_end_with_what_they_are_for() -> None:
    runtime = Processes()
    root = keeper_of(runtime)
    request = Processes(runtime)
    process = request.start("echo $PPID; exec sleep 1000", stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process:
        keeper = int(process.stdout.readline())
        assert keeper != root
        request.kill()
        assert process.wait(0) == -signal.SIGTERM
        request.release(process)
    assert ends(keeper)
    assert lives(root)
    runtime.end()
    assert not lives(root)


def test_a_keeper_stays_as_long_as_its_background_and_no_longer(tmp_path: Path) -> None:
    runtime = Processes()
    request = Processes(runtime)
    go = tmp_path / "go"
    loop = f"while [ ! -e {go} ]; do sleep 0.01; done"
    process = request.start(f"(echo $PPID > {tmp_path}/keeper; {loop}) & sleep 0.01", stdout=subprocess.DEVNULL)
    keeper = keeper_of(request)
    assert process.wait(PATIENCE) == 0
    request.release(process)
    request.leave()
    time.sleep(0.1)
    assert lives(keeper)
    go.touch()
    assert ends(keeper)
    runtime.end()


def test_processes_that_are_forgotten_are_ended() -> None:
    process = Processes().start("echo $$; exec sleep 1000", stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        pid = int(process.stdout.readline())
        assert lives(pid)
        del process
        assert ends(pid)


# --- the table of processes --------------------------------------------------------------------------


def test_a_number_that_belongs_to_a_later_process_is_never_signalled() -> None:
    with subprocess.Popen(["sleep", "1000"]) as sleeper:
        started = status_of(sleeper.pid)[2]
        send((sleeper.pid, started - 1), signal.SIGKILL)
        time.sleep(0.05)
        assert sleeper.poll() is None
        send((sleeper.pid, started), signal.SIGTERM)
        assert sleeper.wait(PATIENCE) == -signal.SIGTERM
    send((sleeper.pid, started), signal.SIGTERM)


def test_signals_without_process_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a kernel, or with an interpreter, that has none."""
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    test_a_number_that_belongs_to_a_later_process_is_never_signalled()


@pytest.mark.parametrize("has_lists", [True, False])
def test_parents_come_before_their_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_lists: bool) -> None:
    if has_lists and not table._HAS_LISTS:
        pytest.skip("this kernel does not list the children of a thread")
    monkeypatch.setattr(table, "_HAS_LISTS", has_lists)
    with subprocess.Popen(["sh", "-c", "sh -c 'sleep 1000 & echo $! > pid; wait' & wait"], cwd=tmp_path) as outer:
        inner = wait_for(tmp_path / "pid")
        found = [pid for pid, _ in descendants(os.getpid(), set())]
        assert found.index(outer.pid) < found.index(inner)
        assert outer.pid not in [pid for pid, _ in descendants(os.getpid(), {outer.pid})]
        for pid in found:
            os.kill(pid, signal.SIGKILL)


def test_a_process_whose_first_thread_has_ended_is_alive(tmp_path: Path) -> None:
    """The table calls it a zombie."""
    code = (
        "import ctypes, os, threading, time\n"
        "threading.Thread(target=time.sleep, args=(1000,)).start()\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(f'{{os.getpid()}}\\n')\n"
        "ctypes.CDLL(None).pthread_exit(None)\n"
    )
    processes = Processes()
    process = processes.start([sys.executable, "-c", code])
    pid = wait_for(tmp_path / "pid")
    wait_until_zombie(pid)
    processes.kill()
    assert process.wait(0) in (-signal.SIGTERM, -signal.SIGKILL)


def wait_until_zombie(pid: int) -> None:
    give_up = time.monotonic() + PATIENCE
    while lives(pid):
        assert time.monotonic() < give_up
        time.sleep(0.01)


def test_many_commands_at_once() -> None:
    runtime = Processes()
    outputs: list[str] = []

    def run(n: int) -> None:
        request = Processes(runtime)
        process = request.start(f"echo {n}", stdout=subprocess.PIPE)
        outputs.append(output_of(process))
        request.release(process)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    runtime.end()
    assert sorted(map(int, outputs)) == list(range(50))
