"""``serve``: an agent hosted, and nothing left when it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Callable

import pytest

from runtimeuse_sync import AgentRuntimeError, Client, CommandInterface, QueryOptions, TextResult

from .conftest import Done, is_gone

Cli = Callable[..., Done]
Start = Callable[..., subprocess.Popen[str]]

OPTIONS = QueryOptions(system_prompt="Be brief.", model="large", timeout=20)


def url_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


def hint_of(process: subprocess.Popen[str]) -> str:
    """What it says behind the URL: a signal that comes before is faster."""
    assert process.stderr is not None
    return process.stderr.readline()


def test_an_agent_command_answers(start: Start, cli: Cli) -> None:
    process = start("serve", "--agent-command", "cat")
    url = url_of(process)
    assert hint_of(process) == "Every user of this machine can run commands through it. Ctrl-C ends it.\n"
    assert cli("invoke", url, "hello") == Done(0, "hello\n", "hello\n")
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=20) == ("", "")
    assert process.returncode == 0


def test_placeholders_and_the_whole_output(start: Start) -> None:
    program = f"{sys.executable} -c 'import sys; print(*sys.argv[1:], sep=chr(10))'"
    process = start("serve", "--whole-output", "--agent-command", program + " {prompt} {system_prompt} {model}")
    result = Client(url_of(process)).query("a  b", OPTIONS)
    assert result.data == TextResult(text="a  b\nBe brief.\nlarge\n")


def test_sigterm_ends_it_and_what_it_runs(start: Start) -> None:
    process = start("serve", "--agent-command", "cat")
    pids: list[int] = []
    with Client(url_of(process)).session() as session:
        result = session.execute_commands([CommandInterface(command="sleep 1000 >/dev/null 2>&1 & echo $!")])
        pids += [int(item.stdout or "") for item in result.results]
        process.terminate()
        assert process.wait(20) == 0
    assert is_gone(pids[0])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_without_end_leave_nothing_behind(start: Start, number: int) -> None:
    process = start("serve", "--agent-command", "cat")
    # Its end takes a while: the first process does not hear SIGTERM.
    line = "(trap '' TERM HUP INT; exec sleep 1000) >/dev/null 2>&1 & echo $!; sleep 1000 >/dev/null 2>&1 & echo $!"
    with Client(url_of(process)).session() as session:
        result = session.execute_commands([CommandInterface(command=line)])
        pids = [int(pid) for pid in (result.results[0].stdout or "").split()]
        while process.returncode is None:
            process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.005)
    assert len(pids) == 2
    assert all(map(is_gone, pids))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_each_of_these_signals_ends_it_well(start: Start, number: int) -> None:
    process = start("serve", "--agent-command", "cat")
    url_of(process)
    hint_of(process)
    process.send_signal(number)
    assert process.communicate(timeout=20) == ("", "")
    assert process.returncode == 0


def test_a_handler_of_the_current_directory(start: Start, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "class Agent:\n"
        "    @staticmethod\n"
        "    def run(invocation, sender):\n"
        "        return invocation.user_prompt.upper()\n"
    )
    # As the console script does, which has another sys.path than `python -m`.
    script = "from runtimeuse_sync.cli import main; import sys; sys.path.pop(0); sys.exit(main())"
    process = start("serve", "--handler", "mine:Agent.run", command=[sys.executable, "-c", script], cwd=tmp_path)
    assert Client(url_of(process)).query("hi", OPTIONS).data == TextResult(text="HI")


def test_a_token_is_asked_for_and_kept_from_what_runs(start: Start) -> None:
    environment = {**os.environ, "RUNTIMEUSE_TOKEN": "s3cret"}
    process = start("serve", "--agent-command", "cat", "--host", "0.0.0.0", env=environment)
    client = Client(url_of(process), headers={"Authorization": "Bearer s3cret"})
    assert hint_of(process) == "Whoever has the token can run commands through it. Ctrl-C ends it.\n"
    result = client.execute_commands([CommandInterface(command='echo "${RUNTIMEUSE_TOKEN-unset}"')])
    assert result.results[0].stdout == "unset\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "say what to host"),
        (("--handler", "os:sep", "--agent-command", "cat"), "say what to host"),
        (("--agent-command", "cat", "--host", "0.0.0.0"), "--token"),
        (("--agent-command", "cat", "--token", ""), "the token is empty"),
        (("--agent-command", ""), "it is empty"),
        (("--agent-command", "it's"), "cannot be split as a shell would: No closing quotation"),
        (("--handler", "os:getcwd", "--whole-output"), "goes with --agent-command"),
        (("--handler", "os"), "write MODULE:FUNCTION"),
        (("--handler", "nowhere.to.be:found"), "no module 'nowhere'"),
        (("--handler", "os:nothing"), "os has no 'nothing'"),
        (("--handler", "os:sep"), "got a str"),
    ],
)
def test_wrong_usage(cli: Cli, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], told: str) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    done = cli("serve", *arguments)
    assert (done.code, done.out) == (2, "")
    assert told in done.err


def test_an_agent_command_that_fails_is_a_line(start: Start) -> None:
    process = start("serve", "--agent-command", "false")
    url = url_of(process)
    hint_of(process)
    with pytest.raises(AgentRuntimeError, match="exit code: 1"):
        Client(url).query("x", OPTIONS)
    process.terminate()
    assert process.communicate(timeout=20) == ("", "runtimeuse-sync: the handler raised AgentRuntimeError\n")


def test_a_handler_whose_own_imports_fail_shows_where(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.py").write_text("import nowhere_to_be_found\n")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="nowhere_to_be_found"):
        cli("serve", "--handler", "broken:agent")


def test_a_port_that_is_taken(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = cli("serve", "--agent-command", "cat", "--port", port)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"runtimeuse-sync: cannot listen on 127.0.0.1, port {port}: ")
