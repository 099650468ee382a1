"""The Node runtime as a child: found, started, ready, and gone; played by ``stand_in``, which speaks the protocol."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from runtimeuse_sync import Client, ConnectionFailedError
from runtimeuse_sync.local import NodeRuntime, RuntimeNotStartedError
from runtimeuse_sync.sandboxes import connected

from .test_processes import ends, lives, wait_for

STAND_IN = [sys.executable, "-m", f"{__package__}.stand_in"]
HERE = Path(__file__).parents[2]

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="has no keepers")


def node(*arguments: str, **options: Any) -> NodeRuntime:
    return NodeRuntime(*arguments, **{"command": STAND_IN, "cwd": HERE, **options})


def shell(script: str, **options: Any) -> NodeRuntime:
    return NodeRuntime(command=["sh", "-c", script], **options)


def program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_it_is_ready_in_the_block_and_gone_behind_it(tmp_path: Path) -> None:
    runtime = node("--agent", "claude", "--pid-file", f"{tmp_path}/pid")
    with runtime:
        pid = wait_for(tmp_path / "pid")
        assert Client(runtime.url).query("Hello", system_prompt="").output == "claude: Hello"
        assert runtime.output == f"RuntimeUse server listening on port {runtime.url.rpartition(':')[2]}\n"
        assert repr(runtime) == f"<NodeRuntime {runtime.url}>"
    assert not lives(pid)
    with pytest.raises(RuntimeError, match="not running"):
        _ = runtime.url
    with pytest.raises(RuntimeError, match="once"):
        runtime.start()
    runtime.close()


def test_it_is_a_sandbox_with_what_its_commands_have_left_behind(tmp_path: Path) -> None:
    with connected(node()) as client:
        client.run(f"setsid sleep 1000 >/dev/null 2>&1 & echo $! > {tmp_path}/pid", timeout=20)
        background = wait_for(tmp_path / "pid")
        assert lives(background)
    assert not lives(background)


@pytest.mark.parametrize("name", ["runtimeuse", "npx"])
def test_how_it_is_called_is_found_on_the_path(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / name, 'echo "$0" "$@"; exit 7')
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin" if name == "runtimeuse" else f"{tmp_path}:/bin")
    if name == "npx":
        monkeypatch.setattr("shutil.which", lambda asked: str(tmp_path / "npx") if asked == "npx" else None)
    with pytest.raises(RuntimeNotStartedError, match="exit code 7") as caught:
        NodeRuntime("--agent", "claude", port=8123).start()
    before = "" if name == "runtimeuse" else "-y runtimeuse "
    assert caught.value.output == f"{tmp_path}/{name} {before}--agent claude --port 8123\n"


def test_without_node_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="install Node.js"):
        NodeRuntime().start()


def test_a_runtime_that_ends_early_shows_why() -> None:
    with pytest.raises(RuntimeNotStartedError) as caught:
        shell("echo 'Error: unknown agent' >&2; exit 3").start()
    text = "the runtime ended with exit code 3 before it was ready; its output ends:\n  | Error: unknown agent"
    assert str(caught.value) == str(pickle.loads(pickle.dumps(caught.value))) == text
    assert isinstance(caught.value, ConnectionFailedError)


def test_a_runtime_that_does_not_come_up_is_ended(tmp_path: Path) -> None:
    with pytest.raises(RuntimeNotStartedError, match=r"not ready within 2 s(.|\n)*\| waiting for a key"):
        shell(f"echo waiting for a key; echo $$ > {tmp_path}/pid; sleep 1000", ready_timeout=2).start()
    assert not lives(wait_for(tmp_path / "pid"))


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(RuntimeNotStartedError, match="^the runtime could not be started: No such file or directory$"):
        NodeRuntime(command="/nowhere/runtimeuse").start()


def test_its_output_is_bounded_and_harmless_and_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "inherited-key")
    script = (
        "head -c 300000 /dev/zero | tr '\\0' x; echo;"
        'printf "\\033[2J\\033]0;title\\007bad key: %s %s %s\\r\\n" "$OPENAI_API_KEY" "$MY_TOKEN" pass-phrase; exit 1'
    )
    with pytest.raises(RuntimeNotStartedError) as caught:
        shell(script, env={"MY_TOKEN": "given-token"}, secrets_to_redact=["pass-phrase"]).start()
    assert str(caught.value).endswith("\n  | bad key: [REDACTED] [REDACTED] [REDACTED]")
    assert len(str(caught.value)) < 3000
    assert len(caught.value.output) == 64 * 1024
    assert not any(secret in caught.value.output for secret in ("inherited-key", "given-token", "pass-phrase"))


def test_a_port_that_is_taken_is_told_before_anything_is_started() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        node(port=taken.getsockname()[1]).start()


def test_an_interrupt_while_it_starts_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        wait_for(tmp_path / "pid")
        raise KeyboardInterrupt

    monkeypatch.setattr(Client, "wait_until_ready", interrupted)
    with pytest.raises(KeyboardInterrupt), shell(f"echo $$ > {tmp_path}/pid; sleep 1000"):
        raise AssertionError("the block is not entered")
    assert not lives(wait_for(tmp_path / "pid"))


def test_closing_it_on_another_thread_ends_the_waiting(tmp_path: Path) -> None:
    runtime = shell(f"echo $$ > {tmp_path}/pid; sleep 1000")
    thread = threading.Thread(target=lambda: (wait_for(tmp_path / "pid"), runtime.close()))  # type: ignore[func-returns-value]
    thread.start()
    with pytest.raises(RuntimeNotStartedError, match="^the runtime was closed before it was ready$"):
        runtime.start()
    thread.join()


def test_one_that_minds_no_sigterm_is_killed(tmp_path: Path) -> None:
    with pytest.raises(RuntimeNotStartedError, match="not ready"):
        shell(f"trap '' TERM; echo $$ > {tmp_path}/pid; while :; do sleep 1000; done", ready_timeout=1).start()
    assert not lives(wait_for(tmp_path / "pid"))


def test_without_a_thread_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(RuntimeError, match="new thread"):
        shell("sleep 1000").start()


def test_without_a_thread_for_its_output_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    original = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        if thread.name == "runtimeuse-output":
            raise RuntimeError("can't start new thread")
        original(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(RuntimeNotStartedError, match="^can't start new thread$"):
        shell("sleep 1000").start()


OWNER = """
import os, signal, sys
from runtimeuse_sync.local import NodeRuntime

runtime = NodeRuntime("--pid-file", sys.argv[1], command=[sys.executable, "-m", "tests.local.stand_in"]).start()
if sys.argv[2] != "0":
    os.kill(os.getpid(), int(sys.argv[2]))
"""


@linux_only
@pytest.mark.slow
@pytest.mark.parametrize("number", [0, signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_it_ends_with_the_interpreter_and_with_a_signal(number: int, tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", OWNER, f"{tmp_path}/pid", str(int(number))]
    done = subprocess.run(arguments, cwd=HERE, timeout=50, check=False, capture_output=True, text=True)
    assert done.returncode in (-number, 128 + number)
    assert ends(wait_for(tmp_path / "pid"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_does_not_end_its_parents(tmp_path: Path) -> None:
    with node() as runtime:
        child = os.fork()
        if child == 0:
            runtime.close()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert Client(runtime.url).query("Hello", system_prompt="").output == "openai: Hello"


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"command": ""}, ValueError, "must name a program, such as 'npx -y runtimeuse'"),
        ({"command": 5}, TypeError, "command must be a str or a list of strings"),
        ({"port": 70000}, ValueError, "port must be"),
        ({"env": {"A": 1}}, TypeError, "env must be"),
        ({"secrets_to_redact": [""]}, ValueError, "empty string"),
        ({"ready_timeout": 0}, ValueError, "ready_timeout"),
        ({"cwd": 5}, TypeError, "cwd must be a path"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_once(options: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        NodeRuntime(**options)
