"""``batch``: many prompts into a file that can be gone on with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

import pytest

from runtimeuse_sync import CancelMessage, InvocationMessage
from runtimeuse_sync.cli.batch import _clock
from runtimeuse_sync.journal import load
from runtimeuse_sync.testing import Peer, ScriptedRuntime

from ..support import port_without_listener, text_result, wait_until
from .conftest import PATIENCE, Done, Terminal

Cli = Callable[..., Done]
Start = Callable[..., subprocess.Popen[str]]
Scripted = Callable[..., ScriptedRuntime]


def answers(peer: Peer) -> None:
    """With the prompt in capitals; "fail" is an error, "hang" is not answered."""
    request = peer.receive(timeout=PATIENCE)
    assert isinstance(request, InvocationMessage)
    prompt = request.user_prompt
    if prompt == "hang":
        assert isinstance(peer.receive(timeout=PATIENCE), CancelMessage)
    elif prompt.startswith("fail"):
        peer.send({"message_type": "error_message", "error": f"no \x1b[2J{prompt}", "metadata": {"num_turns": 1}})
    else:
        peer.send({**text_result(prompt.upper()), "metadata": {"total_cost_usd": 0.5}})


@pytest.fixture
def runtime(scripted_runtime: Scripted) -> ScriptedRuntime:
    return scripted_runtime(answers)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "answers.jsonl"


@pytest.fixture
def prompts(tmp_path: Path) -> Callable[..., Path]:
    def write(*lines: Any, name: str = "prompts.jsonl") -> Path:
        text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return write


def written(out: Path) -> dict[str, Any]:
    """What the file says of each id; the last word counts."""
    return {line["id"]: line for line in map(json.loads, out.read_text(encoding="utf-8").splitlines())}


def texts(out: Path) -> dict[str, Any]:
    return {name: line["text"] for name, line in written(out).items()}


def test_lines_of_json(cli: Cli, runtime: ScriptedRuntime, prompts: Any, out: Path) -> None:
    file = prompts({"id": "a", "prompt": "one"}, {"id": 7, "prompt": "zwölf"}, "", {"prompt": "four"}, '"five"')
    done = cli("batch", runtime.url, file, "-o", out, "--at-once", 2)
    assert (done.code, done.out) == (0, "")
    assert done.err.startswith("4 answered, $2.00; 0:0")
    assert texts(out) == {"a": "ONE", "7": "ZWÖLF", "4": "FOUR", "5": "FIVE"}
    line = written(out)["a"]
    assert line.pop("duration_seconds") >= 0
    metadata = {"total_cost_usd": 0.5}
    assert line == {"id": "a", "text": "ONE", "structured_output": None, "error": None, "metadata": metadata}


def test_csv(cli: Cli, runtime: ScriptedRuntime, prompts: Any, out: Path) -> None:
    file = prompts("id,prompt,other", 'a,"one,\ntwo",x', "b,three,y", name="prompts.CSV")
    assert cli("batch", runtime.url, file, "-o", out).code == 0
    assert texts(out) == {"a": "ONE,\nTWO", "b": "THREE"}


def test_standard_input_and_the_url_of_the_environment(start: Start, runtime: ScriptedRuntime, out: Path) -> None:
    process = start("batch", "-", "-o", out, stdin=subprocess.PIPE, env={**os.environ, "RUNTIMEUSE_URL": runtime.url})
    assert process.communicate('{"prompt": "one"}\n', timeout=PATIENCE)[0] == ""
    assert (process.returncode, texts(out)) == (0, {"1": "ONE"})


def test_what_is_sent(
    cli: Cli, scripted_runtime: Scripted, prompts: Any, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_KEY", "s3cret-value")
    schema = {"type": "object", "properties": {"files": {"type": "integer"}}}
    (tmp_path / "schema.json").write_text(json.dumps(schema))

    def script(peer: Peer) -> None:
        peer.expect(InvocationMessage)
        result = {"type": "structured_output", "structured_output": {"files": 3}}
        peer.send({"message_type": "result_message", "data": result})

    runtime = scripted_runtime(script)
    options = ("-s", "Be brief.", "-m", "large", "-e", "A=b", "--secret-env", "API_KEY", "--rate", "100")
    arguments = (runtime.url, prompts('"one"'), "-o", out, "--schema", tmp_path / "schema.json", *options)
    assert cli("batch", *arguments).code == 0
    sent = runtime.wait_for(InvocationMessage)
    assert (sent.system_prompt, sent.model, sent.agent_env) == ("Be brief.", "large", {"A": "b"})
    assert sent.secrets_to_redact == ["s3cret-value"]
    assert written(out)["1"]["structured_output"] == {"files": 3}


def test_a_journal(cli: Cli, runtime: ScriptedRuntime, prompts: Any, out: Path, tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    assert cli("batch", runtime.url, prompts('"one"', '"two"'), "-o", out, "--record", journal).code == 0
    assert sorted(str(run.result.text) for run in load(journal)) == ["ONE", "TWO"]


# --- failures -------------------------------------------------------------------------------------------


def test_failures_are_told_by_the_exit_code_and_asked_again(
    cli: Cli, runtime: ScriptedRuntime, prompts: Any, out: Path
) -> None:
    done = cli("batch", runtime.url, prompts('"one"', '"fail"'), "-o", out)
    assert done.code == 1
    assert "2: no " in done.err
    assert "1 answered, 1 failed, $0.50;" in done.err
    failed = written(out)["2"]
    assert (failed["error"]["type"], failed["metadata"]) == ("AgentRuntimeError", {"num_turns": 1})
    done = cli("batch", runtime.url, prompts('"one"', '"well"'), "-o", out)
    assert done.code == 0
    assert done.err.startswith("1 answered, 1 before, $0.50;")
    assert texts(out) == {"1": "ONE", "2": "WELL"}
    assert len(runtime.connections) == 3


def test_a_runtime_that_is_not_there_ends_it_at_once(
    cli: Cli, prompts: Any, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runtimeuse_sync.jobs import _runtimes

    monkeypatch.setattr(_runtimes, "_FIRST_PAUSE", 0.01)
    with port_without_listener() as port:
        done = cli("batch", f"ws://127.0.0.1:{port}", prompts('"one"', '"two"'), "-o", out)
    assert done.code == 1
    assert "refused" in done.err
    assert out.read_text() == ""


def test_the_budget_ends_it_and_what_is_left_is_told(
    cli: Cli, runtime: ScriptedRuntime, prompts: Any, out: Path
) -> None:
    file = prompts(*['"one"'] * 5)
    done = cli("batch", runtime.url, file, "-o", out, "--at-once", 1, "--budget-usd", "1")
    assert done.code == 1
    assert done.err.startswith("2 answered, 3 left, for the budget is spent, $1.00;")
    assert cli("batch", runtime.url, file, "-o", out, "--budget-usd", "50").code == 0
    assert len(written(out)) == 5


def test_a_budget_that_cannot_be_measured_is_warned_of(
    cli: Cli, scripted_runtime: Scripted, prompts: Any, out: Path
) -> None:
    runtime = scripted_runtime(lambda peer: (peer.expect(InvocationMessage), peer.send(text_result("x"))))
    done = cli("batch", runtime.url, prompts('"one"', '"two"'), "-o", out, "--budget-usd", "1")
    assert done.code == 0
    assert done.err.count("--budget-usd is without effect") == 1


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"prompt": ', "line 2 is not JSON"),
        ('{"text": "x"}', 'line 2 has no "prompt" that is a text'),
        ('{"prompt": "x", "id": true}', 'the "id" of line 2 is neither a text nor a whole number'),
        ('{"prompt": "x", "id": "1"}', "the id '1' is there twice"),
        ("[" * 100_000, "line 2 is not JSON"),
    ],
)
def test_what_is_no_prompt_is_told_before_any_is_asked(
    cli: Cli, runtime: ScriptedRuntime, prompts: Any, out: Path, line: str, told: str
) -> None:
    done = cli("batch", runtime.url, prompts('"one"', line), "-o", out)
    assert done.code == 1
    assert told in done.err
    assert runtime.connections == []


def test_bytes_that_are_no_text(cli: Cli, tmp_path: Path, out: Path) -> None:
    (tmp_path / "prompts.jsonl").write_bytes(b'"one"\n"\xff"\n')
    done = cli("batch", "ws://127.0.0.1:1", tmp_path / "prompts.jsonl", "-o", out)
    assert done == Done(1, "", f"runtimeuse-sync: {tmp_path / 'prompts.jsonl'}, behind line 1: not utf-8\n")


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("-o", "x"),
        ("ws://127.0.0.1:1", "-o", "x"),
        ("p", "-o", "x", "--budget-usd", "0"),
        ("p", "-o", "x", "--rate", "-1"),
    ],
)
def test_wrong_usage(cli: Cli, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]) -> None:
    monkeypatch.setenv("RUNTIMEUSE_URL", "ws://127.0.0.1:1")
    done = cli("batch", *arguments)
    assert (done.code, done.out) == (2, "")
    assert "Usage: runtimeuse-sync batch" in done.err


# --- interrupted and begun again ------------------------------------------------------------------------

DONE = {"id": "1", "text": "ONE", "structured_output": None, "error": None, "metadata": None, "duration_seconds": 0.1}


@pytest.mark.parametrize("torn", ["", "{", '{"id": "2", "te', '{"id": "2", "text": "TWO", "error": null, "x'])
def test_a_torn_last_line_is_mended(cli: Cli, runtime: ScriptedRuntime, prompts: Any, out: Path, torn: str) -> None:
    out.write_text(json.dumps(DONE) + "\n" + torn)
    assert cli("batch", runtime.url, prompts('"one"', '"two"'), "-o", out).code == 0
    assert texts(out) == {"1": "ONE", "2": "TWO"}
    assert len(runtime.connections) == 1


def test_a_last_line_that_only_lacks_its_end_counts(
    cli: Cli, runtime: ScriptedRuntime, prompts: Any, out: Path
) -> None:
    out.write_text(json.dumps(DONE))
    assert cli("batch", runtime.url, prompts('"one"', '"two"'), "-o", out).code == 0
    assert texts(out) == {"1": "ONE", "2": "TWO"}


@pytest.mark.parametrize("content", ['{"prompt": "mine"}', "a,b\n", '{"id": 1, "prompt": "mine"}\n', "notes", "[]\n"])
def test_a_file_of_something_else_is_left_alone(
    cli: Cli, runtime: ScriptedRuntime, prompts: Any, out: Path, content: str
) -> None:
    out.write_text(content)
    done = cli("batch", runtime.url, prompts('"one"'), "-o", out)
    assert (done.code, out.read_text()) == (1, content)
    assert "line 1: no answer of a batch; name another file" in done.err
    assert runtime.connections == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_ctrl_c_and_again(start: Start, cli: Cli, runtime: ScriptedRuntime, prompts: Any, out: Path) -> None:
    file = prompts('"one"', '"hang"', '"three"')
    process = start("batch", runtime.url, file, "-o", out, "--at-once", 2)
    runtime.wait_for(InvocationMessage, timeout=PATIENCE, count=3)
    other = cli("batch", runtime.url, file, "-o", out)
    assert (other.code, other.err) == (1, f"runtimeuse-sync: {out}: another batch writes to it\n")
    wait_until(lambda: out.read_text().count("\n") == 2)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=PATIENCE) == ("", "runtimeuse-sync: interrupted\n")
    assert process.returncode == 130
    runtime.wait_for(CancelMessage)
    assert texts(out) == {"1": "ONE", "3": "THREE"}
    assert cli("batch", runtime.url, prompts('"one"', '"two"', '"three"'), "-o", out).code == 0
    assert texts(out) == {"1": "ONE", "2": "TWO", "3": "THREE"}


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_bar_on_a_terminal_and_no_orders_to_it(
    terminal: Callable[..., Terminal], runtime: ScriptedRuntime, prompts: Any, out: Path
) -> None:
    file = prompts('"one"', '"fail"', '"hang"', '"hang"')
    screen = terminal("batch", runtime.url, file, "-o", out, "--at-once", 4, columns=120)
    screen.read_until("##########---------- 2 of 4 · 1 failed · ")
    screen.read_until("$0.50 · ")
    screen.read_until(" left")
    screen.type("\x03")
    assert screen.wait() == 130
    assert "2: no fail" in screen.shown
    assert "\x1b[2J" not in screen.shown


def test_clock() -> None:
    assert [_clock(seconds) for seconds in (0.4, 59.6, 3599, 3600, 36_061)] == [
        "0:00",
        "1:00",
        "59:59",
        "1:00:00",
        "10:01:01",
    ]
