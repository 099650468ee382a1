"""``--record``, ``replay`` and ``show``: a run kept, seen again and summed up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable

import pytest

from runtimeuse_sync import AssistantMessageInterface, CommandOutputMessageInterface, HeartbeatMessageInterface
from runtimeuse_sync.journal import load
from runtimeuse_sync.local import LocalRuntime
from runtimeuse_sync.testing import Reply, ScriptedRuntime, generation

from .conftest import Done, Terminal

Cli = Callable[..., Done]
Local = Callable[..., LocalRuntime]
Scripted = Callable[..., ScriptedRuntime]

EVIL = "\x1b]0;title\x07\x1b[2Jred\u202e"

USAGE = {"usage": {"input_tokens": 4310, "output_tokens": 20}, "total_cost_usd": 0.25}

MESSAGES = [
    AssistantMessageInterface(text_blocks=[f"Reading. {EVIL}"]),
    HeartbeatMessageInterface(phase=f"agent {EVIL}", elapsed_ms=15000),
    CommandOutputMessageInterface(stream="stdout", text=f"printed {EVIL}\n", command="ls"),
]


@pytest.fixture
def journal(cli: Cli, scripted_runtime: Scripted, tmp_path: Path) -> Path:
    """Of three runs: one with a result, one that failed, and a command."""
    file = tmp_path / "run.jsonl"
    replies = [Reply(messages=MESSAGES, result=f"42 files {EVIL}", metadata=USAGE), Reply(error=f"no {EVIL}"), Reply()]
    url = scripted_runtime([generation("0.15", reply) for reply in replies]).url
    assert cli("invoke", url, f"Count {EVIL}", "--record", file).code == 0
    assert cli("invoke", url, "Fail", "--record", file).code == 1
    assert cli("exec", url, "--record", file, "--", "make", "test").code == 0
    return file


def test_what_is_recorded_reads_as_runs(journal: Path) -> None:
    assert [(run.outcome, len(run.messages)) for run in load(journal)] == [("result", 4), ("error", 1), ("result", 1)]


def test_the_command_does_what_it_does_without_recording(cli: Cli, local_runtime: Local, tmp_path: Path) -> None:
    url = local_runtime(lambda *_: "done").url
    said = cli("exec", url, "--record", tmp_path / "run.jsonl", "--", "echo out; echo err >&2; exit 3")
    assert said == Done(3, "out\n", "err\n")
    (run,) = load(tmp_path / "run.jsonl")
    assert run.result.results[0].exit_code == 3


def test_secrets_are_not_recorded(
    cli: Cli, local_runtime: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"TOKEN": "the-token-itself", "KEY": "the-key-itself", "RUNTIMEUSE_TOKEN": "the-bearer"}.items():
        monkeypatch.setenv(name, value)
    url = local_runtime(lambda *_: "done", token="the-bearer").url
    options = ("--record", tmp_path / "run.jsonl", "--secret-env", "TOKEN", "-e", "KEY")
    assert cli("exec", url, *options, "--", "echo $KEY the-token-itself the-bearer").code == 0
    text = (tmp_path / "run.jsonl").read_text(encoding="utf-8")
    assert "[REDACTED]" in text
    for secret in ("the-token-itself", "the-key-itself", "the-bearer"):
        assert secret not in text


@pytest.mark.parametrize("command", ["invoke", "exec"])
def test_a_file_that_cannot_be_written_is_said_before_anything_runs(
    cli: Cli, scripted_runtime: Scripted, tmp_path: Path, command: str
) -> None:
    runtime = scripted_runtime(generation("0.15"))
    done = cli(command, runtime.url, "--record", tmp_path / "none" / "x.jsonl", "--", "x")
    assert (done.code, done.out) == ({"invoke": 1, "exec": 125}[command], "")
    assert "x.jsonl: No such file or directory" in done.err
    assert runtime.connections == []


# --- replay ---------------------------------------------------------------------------------------------


def test_a_run_is_shown_again_as_it_was(cli: Cli, journal: Path) -> None:
    done = cli("replay", journal, "--speed", "inf")
    assert (done.code, done.out) == (0, f"42 files {EVIL}\n")  # a pipe gets it as it came
    assert done.err.splitlines() == [
        "invoke: Count red",
        f"Reading. {EVIL}",
        f"printed {EVIL}",
        "invoke: Fail",
        "runtimeuse-sync: no red",
        "exec: make test",
    ]


def test_a_run_is_shown_again_as_json(cli: Cli, journal: Path) -> None:
    events = [json.loads(line) for line in cli("replay", journal, "--speed", "inf", "--json").out.splitlines()]
    assert [event["event"] for event in events] == ["assistant", "heartbeat", "output", "result", "error", "exit"]
    assert events[3] == {
        "event": "result",
        "text": f"42 files {EVIL}",
        "structured_output": None,
        "metadata": USAGE,
    }
    assert events[5]["exit_code"] == 0


def test_time_passes_as_it_did(cli: Cli, journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The clock of the recording, and of the replay: what it would sleep.
    lines = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]
    for number, line in enumerate(lines):
        line["clock"] = 1000.0 + 10 * number
    journal.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines), encoding="utf-8")
    slept: list[float] = []
    now = 5000.0

    def sleep(seconds: float) -> None:
        nonlocal now
        slept.append(seconds)
        now += seconds

    monkeypatch.setattr("runtimeuse_sync.cli.replay.time.sleep", sleep)
    monkeypatch.setattr("runtimeuse_sync.cli.replay.time.monotonic", lambda: now)
    cli("replay", journal, "--speed", "4")
    between = len(lines) - 3  # of the first to the last of each of the three, and nothing between them
    assert slept == [2.5] * between


@pytest.mark.parametrize("speed", ["0", "-1", "fast", "nan"])
def test_a_speed_that_cannot_be_meant(cli: Cli, journal: Path, speed: str) -> None:
    done = cli("replay", journal, f"--speed={speed}")
    assert done.code == 2
    assert "write a positive number" in done.err


# --- show -----------------------------------------------------------------------------------------------


def test_it_is_summed_up(cli: Cli, journal: Path) -> None:
    done = cli("show", journal)
    assert done.code == 0
    table = [line.split() for line in done.out.splitlines()[:5]]
    seconds = [row[2] for row in table[1:4]]
    assert table == [
        ["#", "outcome", "seconds", "messages", "tokens", "in", "tokens", "out", "cost", "call"],
        ["1", "result", seconds[0], "4", "4,310", "20", "$0.2500", "invoke:", "Count", "red"],
        ["2", "error", seconds[1], "1", "invoke:", "Fail"],
        ["3", "result", seconds[2], "1", "exec:", "make", "test"],
        ["total", table[4][1], "6", "4,310", "20", "$0.2500"],
    ]
    parts = [line.split("  ")[1].strip() for line in done.out.splitlines()[6:] if line.startswith("   ")]
    assert parts == [
        *("connect", "run", "agent red", "messages"),
        *("AgentRuntimeError: no red", "connect", "run", "messages"),
        *("connect", "run", "messages"),
    ]


def test_a_picture_has_a_bar_for_each_part(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "78")  # of which a bar has 40
    told: list[tuple[float, str, dict[str, Any]]] = [
        (0, "began", {"url": "ws://x", "session": None, "message": {"message_type": "invocation_message"}}),
        (2, "connected", {}),
        (4, "received", {"message": {"message_type": "heartbeat_message", "phase": "downloads", "elapsed_ms": 1}}),
        (6, "received", {"message": {"message_type": "heartbeat_message", "phase": "agent", "elapsed_ms": 2}}),
        (7, "received", {"message": {"message_type": "assistant_message", "text_blocks": ["a"]}}),
        (9, "sent", {"message": {"message_type": "end_session_message"}}),
        (10, "ended", {"outcome": "left"}),
    ]
    told[0][2]["message"] |= {"system_prompt": "", "user_prompt": "x", "secrets_to_redact": []}
    lines = [{"v": 1, "call": "c", "event": e, "time": t, "clock": 100.0 + t, **rest} for t, e, rest in told]
    file = tmp_path / "run.jsonl"
    file.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines), encoding="utf-8")
    assert cli("show", file).out.splitlines()[4:] == [
        f"   connect                    2.00 s  {'━' * 8}",
        f"   run                        2.00 s  {' ' * 8}{'━' * 8}",
        f"   downloads                  2.00 s  {' ' * 16}{'━' * 8}",
        f"   agent                      3.00 s  {' ' * 24}{'━' * 12}",
        f"   drain                      1.00 s  {' ' * 36}{'━' * 4}",
        f"   messages                      3    {' ' * 16}█{' ' * 7}█{' ' * 3}█",
    ]


def test_a_terminal_obeys_nothing_of_it(terminal: Callable[..., Terminal], journal: Path) -> None:
    for command in (["show"], ["replay", "--speed", "inf"]):
        shown = terminal(*command, journal, columns=100).read_all()
        assert "red" in shown
        for harm in ("\x1b]", "\x1b[2J", "\u202e", "title"):
            assert harm not in shown


def test_a_locale_without_bars_gets_plain_ones(run: Callable[..., Done], journal: Path) -> None:
    done = run("show", journal, env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    assert "=" in done.out
    assert "?" not in done.out


@pytest.mark.parametrize("command", ["show", "replay"])
def test_what_is_no_journal_is_named_with_its_line(cli: Cli, tmp_path: Path, command: str) -> None:
    assert cli(command, tmp_path / "none.jsonl").err.endswith("none.jsonl: No such file or directory\n")
    (tmp_path / "bad.jsonl").write_text("{}\n", encoding="utf-8")
    done = cli(command, tmp_path / "bad.jsonl")
    assert (done.code, done.out) == (1, "")
    assert "bad.jsonl, line 1" in done.err


def test_an_empty_journal(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "run.jsonl").touch()
    assert cli("show", tmp_path / "run.jsonl") == Done(0, "no calls\n", "")
    assert cli("replay", tmp_path / "run.jsonl") == Done(0, "", "")
