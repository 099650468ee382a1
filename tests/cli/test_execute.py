"""``exec``: as if the command ran here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any, Callable

import pytest

from runtimeuse_sync import AssistantMessageInterface, CommandExecutionMessage, CommandResultItem
from runtimeuse_sync.local import LocalRuntime
from runtimeuse_sync.testing import Peer, Reply, ScriptedRuntime, generation

from .conftest import COMMAND, Done, is_gone

Cli = Callable[..., Done]
Start = Callable[..., subprocess.Popen[str]]
Local = Callable[..., LocalRuntime]
Scripted = Callable[..., ScriptedRuntime]


@pytest.fixture
def url(local_runtime: Local) -> str:
    return local_runtime(lambda invocation, sender: "").url


def test_streams_and_exit_code_are_those_of_the_remote_command(run: Cli, url: str) -> None:
    assert run("exec", url, "--", "echo out; echo err >&2; exit 7") == Done(7, "out\n", "err\n")


def test_output_comes_as_it_is_printed(start: Start, url: str, tmp_path: Path) -> None:
    line = f"echo first; until [ -e {tmp_path}/go ]; do sleep 0.02; done; echo second"
    process = start("exec", url, "--", line)
    assert process.stdout is not None
    assert process.stdout.readline() == "first\n"
    (tmp_path / "go").touch()
    assert process.communicate(timeout=20) == ("second\n", "")


@pytest.mark.parametrize("code", [0, 1, 2, 125, 255])
def test_exit_codes(cli: Cli, url: str, code: int) -> None:
    assert cli("exec", url, "--", f"exit {code}").code == code


@pytest.mark.parametrize("code", [256, -9, 3221225786])
def test_an_exit_code_that_does_not_fit_is_no_success(cli: Cli, scripted_runtime: Scripted, code: int) -> None:
    reply = Reply(command_results=[CommandResultItem(command="x", exit_code=code)])
    done = cli("exec", scripted_runtime(generation("0.15", reply)).url, "--", "x")
    assert (done.code, done.out, done.err) == (255, "", f"runtimeuse-sync: exit code {code}\n")


def test_what_the_runtime_ended_is_explained(cli: Cli, scripted_runtime: Scripted) -> None:
    reply = Reply(command_results=[CommandResultItem(command="x", exit_code=-1)])
    done = cli("exec", scripted_runtime(generation("0.15", reply)).url, "--", "x")
    assert (done.code, done.out) == (255, "")
    assert "prints more than 1 MiB" in done.err
    done = cli("exec", "--json", scripted_runtime(generation("0.15", reply)).url, "--", "x")
    last = json.loads(done.out.splitlines()[-1])
    assert (last["exit_code"], "prints more than 1 MiB" in last["failure"]) == (255, True)


def test_no_word_on_how_it_ended_is_a_failure(cli: Cli, scripted_runtime: Scripted) -> None:
    def script(peer: Peer) -> None:
        peer.expect(CommandExecutionMessage)
        peer.send({"message_type": "command_execution_result_message", "results": []})

    assert cli("exec", scripted_runtime(script).url, "--", "x").code == 125


def test_one_word_is_a_line_for_the_shell(cli: Cli, url: str) -> None:
    assert cli("exec", url, "--", "echo a   b | tr a-z A-Z").out == "A B\n"


def test_several_words_arrive_as_they_are(cli: Cli, url: str) -> None:
    words = ["a  b", "$HOME", "it's", "*", "-n", ""]
    assert cli("exec", url, "--", "printf", "%s|", *words).out == "a  b|$HOME|it's|*|-n||"


def test_directory_and_environment(cli: Cli, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_HERE", "1 here")
    options = ("--cwd", tmp_path, "-e", "FROM_HERE", "--env", "GIVEN=2=two", "-e", "EMPTY=")
    done = cli("exec", url, *options, "--", 'pwd; echo "$FROM_HERE, $GIVEN, ${EMPTY-unset}"')
    assert done.out == f"{tmp_path}\n1 here, 2=two, \n"


def test_a_secret_does_not_come_back(cli: Cli, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", "s3cret-value")
    done = cli("exec", url, "-e", "API_KEY", "--secret-env", "API_KEY", "--", "echo $API_KEY")
    assert done == Done(0, "[REDACTED]\n", "")


def test_characters_and_pieces_without_a_line_end(cli: Cli, url: str) -> None:
    assert cli("exec", url, "--", r"printf '\303\244\342\202\254'").out == "ä€"


# --- older runtimes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("release", ["0.9", "0.12"])
def test_output_as_assistant_messages_goes_to_standard_output(
    cli: Cli, scripted_runtime: Scripted, release: str
) -> None:
    pieces = [AssistantMessageInterface(text_blocks=["one\ntw"]), AssistantMessageInterface(text_blocks=["o", "\n"])]
    runtime = scripted_runtime(generation(release, Reply(messages=pieces)))
    assert cli("exec", runtime.url, "--", "x") == Done(0, "one\ntwo\n", "")


@pytest.mark.parametrize("release", ["0.4", "0.9"])
def test_what_they_report_as_an_error_is_our_failure(cli: Cli, scripted_runtime: Scripted, release: str) -> None:
    reply = Reply(command_results=[CommandResultItem(command="x", exit_code=3)])
    done = cli("exec", scripted_runtime(generation(release, reply)).url, "--", "x")
    assert (done.code, done.out) == (125, "")
    assert {"0.4": "command_execution_message", "0.9": "command failed with exit code: 3"}[release] in done.err


# --- failures of ours ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("{url}",),
        ("{url}", "--nonsense", "--", "x"),
        ("no-url", "--", "x"),
        ("{url}", "-e", "NOT_SET_ANYWHERE", "--", "x"),
        ("{url}", "--timeout", "0", "--", "x"),
        ("{url}", "--timeout", "nan", "--", "x"),
        ("{url}", "--timeout", "soon", "--", "x"),
        ("{url}", "--artifacts-dir", "/out", "--", "x"),
        ("{url}", "--token", "", "--", "x"),
        ("{url}", "--token", "two\nlines", "--", "x"),
        ("{url}", "--header-env", "X-Token", "--", "x"),
    ],
)
def test_wrong_usage(cli: Cli, url: str, arguments: tuple[str, ...]) -> None:
    done = cli("exec", *(argument.format(url=url) for argument in arguments))
    assert (done.code, done.out) == (125, "")
    assert "Usage: runtimeuse-sync exec" in done.err


@pytest.mark.parametrize("words", [("ls", "-d", "/tmp"), ("grep", "-e", "NOT_SET_ANYWHERE"), ("sort", "--timeout=x")])
def test_options_of_the_command_need_the_dashes(cli: Cli, words: tuple[str, ...]) -> None:
    done = cli("exec", "ws://127.0.0.1:1", *words)
    assert (done.code, done.out) == (125, "")
    assert "Usage: runtimeuse-sync exec [OPTIONS] [URL] -- COMMAND...\n" in done.err
    assert done.err.endswith("An option of the command's own goes behind --, as in: exec URL -- ls -l\n")


@pytest.mark.parametrize("arguments", [(), ("{url}",), ("{url}", "--nonsense", "--", "x")])
def test_who_knows_the_dashes_is_not_told_of_them(cli: Cli, arguments: tuple[str, ...]) -> None:
    assert "goes behind" not in cli("exec", *(argument.format(url="ws://127.0.0.1:1") for argument in arguments)).err


def test_a_command_in_the_place_of_the_url_is_told_where_it_goes(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIMEUSE_URL", "ws://127.0.0.1:1")
    done = cli("exec", "ls")
    assert (done.code, done.out) == (125, "")
    assert done.err.endswith("Without a URL, the command goes behind --, as in: exec -- ls -l\n")


def test_no_connection(cli: Cli) -> None:
    done = cli("exec", "ws://127.0.0.1:1/?key=s3cret", "--", "x")
    assert (done.code, done.out) == (125, "")
    assert done.err.startswith("runtimeuse-sync: cannot connect to ws://127.0.0.1:1: ")


def test_timeout(cli: Cli, url: str) -> None:
    done = cli("exec", url, "--timeout", "0.2", "--", "sleep 1000")
    assert done == Done(125, "", "runtimeuse-sync: no result within the timeout of 0.2 s\n")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_output_that_cannot_be_written(run: Cli, url: str) -> None:
    with open("/dev/full", "w") as full:
        done = run("exec", url, "--", "echo text; sleep 1000", stdout=full)
    assert (done.code, done.err) == (125, "runtimeuse-sync: No space left on device\n")


# --- signals and closed pipes -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "code", "before"),
    [
        (signal.SIGINT, 130, ()),
        (signal.SIGTERM, 143, ()),
        (signal.SIGHUP, 129, ()),
        # What a shell does to the commands that it puts into the background.
        (signal.SIGINT, 130, ("sh", "-c", 'trap "" INT; exec "$@"', "sh")),
    ],
    ids=["SIGINT", "SIGTERM", "SIGHUP", "SIGINT-ignored"],
)
def test_a_signal_ends_the_remote_command(
    start: Start, url: str, number: int, code: int, before: tuple[str, ...]
) -> None:
    process = start("exec", url, "--", "echo $$; exec sleep 1000", command=[*before, *COMMAND])
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    process.send_signal(number)
    assert is_gone(pid)
    assert process.communicate(timeout=20) == ("", "runtimeuse-sync: interrupted\n")
    assert process.returncode == code


def test_who_handled_signals_before_does_so_again(cli: Cli, url: str) -> None:
    def mine(*_: object) -> None:
        pass

    before = signal.signal(signal.SIGTERM, mine)
    try:
        cli("exec", url, "--", "true")
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_reader_that_goes_ends_the_remote_command(start: Start, url: str) -> None:
    process = start("exec", url, "--", "while echo $$; do sleep 0.02; done")
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    process.stdout.close()
    assert process.wait(20) == 141
    assert is_gone(pid)
    assert process.stderr is not None
    assert process.stderr.read() == ""


def test_closed_streams(run: Cli, url: str) -> None:
    before = ("sh", "-c", 'exec "$@" >&- 2>&-', "sh")
    assert run("exec", url, "--", "echo out; echo err >&2; exit 7", command=[*before, *COMMAND]) == Done(7, "", "")


# --- the URL of the environment ---


def test_the_url_of_the_environment(cli: Cli, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIMEUSE_URL", url)
    assert cli("exec", "--", "echo", "a  b").out == "a  b\n"
    assert cli("exec", "--", "echo '$0' --; exit 3") == Done(3, "$0 --\n", "")
    assert cli("exec", "-e", "A=b", "--", "echo $A").out == "b\n"


@pytest.mark.parametrize("words", [("{url}", "--", "echo", "a"), ("--", "{url}", "echo", "a"), ("{url}", "echo", "a")])
def test_a_url_that_is_given_goes_first(
    cli: Cli, url: str, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.setenv("RUNTIMEUSE_URL", "ws://127.0.0.1:1")
    assert cli("exec", *(word.format(url=url) for word in words)).out == "a\n"


@pytest.mark.parametrize("words", [("localhost:8080", "ls"), ("localhost:8080", "--", "ls"), ("make", "test")])
def test_a_word_before_the_dashes_is_no_command(
    cli: Cli, url: str, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.setenv("RUNTIMEUSE_URL", url)
    done = cli("exec", *words)
    assert (done.code, done.out) == (125, "")
    assert "Error: URL must begin with ws://" in done.err


# --- JSON and artifacts -------------------------------------------------------------------------------


def events(done: Done) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.out.splitlines()]


def test_json(cli: Cli, url: str) -> None:
    line = "echo out; exit 7"
    done = cli("exec", url, "--json", "--", line)
    assert (done.code, done.err) == (7, "")
    assert events(done) == [
        {"event": "output", "stream": "stdout", "text": "out\n", "command": line},
        {"event": "exit", "exit_code": 7, "failure": None},
    ]


def test_json_of_a_failure(cli: Cli, url: str) -> None:
    done = cli("exec", url, "--json", "--timeout", "0.2", "--", "sleep 1000")
    assert (done.code, done.err) == (125, "")
    message = "no result within the timeout of 0.2 s"
    assert events(done) == [{"event": "error", "type": "InvocationTimeoutError", "message": message, "metadata": None}]


def test_artifacts(cli: Cli, local_runtime: Local, tmp_path: Path) -> None:
    runtime = local_runtime(lambda invocation, sender: "", settle_seconds=0.1)
    out, saved = tmp_path / "out", tmp_path / "saved"
    options = ("--artifacts-dir", out, "--save-to", saved, "--json")
    done = cli("exec", runtime.url, *options, "--", f"mkdir -p {out}/sub && echo data > {out}/sub/a.txt; exit 3")
    assert done.code == 3
    assert (saved / "sub" / "a.txt").read_text() == "data\n"
    assert events(done)[-2:] == [
        {"event": "artifact", "path": f"{out}/sub/a.txt", "saved_to": str(saved / "sub" / "a.txt")},
        {"event": "exit", "exit_code": 3, "failure": None},
    ]
