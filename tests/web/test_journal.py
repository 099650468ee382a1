"""A journal as server-sent events: live, afterwards, and from where a browser was."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

from runtimeuse_sync import AgentRuntimeError, Client
from runtimeuse_sync.journal import record
from runtimeuse_sync.testing import Reply, ScriptedRuntime, generation
from runtimeuse_sync.web import sse_journal

Start = Callable[..., ScriptedRuntime]


def events(chunks: Iterator[str]) -> list[tuple[str, str]]:
    """Ids and types, without comments."""
    found = [dict(line.split(": ", 1) for line in chunk.splitlines() if line) for chunk in chunks if "event: " in chunk]
    assert all(json.loads(event["data"])["message_type"] == event["event"] for event in found)
    return [(event["id"], event["event"]) for event in found]


@pytest.fixture
def journal(scripted_runtime: Start, tmp_path: Path) -> Path:
    """Of a call that has ended well: the lines are began, connected, and what came in two."""
    with record(Client(scripted_runtime(generation("0.15", Reply(result="ok"))).url), tmp_path / "run.jsonl") as client:
        client.query("hi", system_prompt="")
    return tmp_path / "run.jsonl"


def test_ids_are_those_of_the_lines(journal: Path) -> None:
    lines = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]
    came = [str(number) for number, line in enumerate(lines, 1) if line["event"] == "received"]
    told = events(sse_journal(journal))
    assert [number for number, _ in told] == [*came, str(len(lines))]
    assert [kind for _, kind in told][-2:] == ["result_message", "end"]


def test_a_browser_goes_on_behind_the_last_that_it_has_got(journal: Path) -> None:
    everything = events(sse_journal(journal))
    for place, (number, _) in enumerate(everything[:-1]):
        assert events(sse_journal(journal, number)) == everything[place + 1 :]


@pytest.mark.parametrize("number", ["5", "999999"])
def test_whoever_has_got_everything_is_told_the_end(journal: Path, number: str) -> None:
    assert [kind for _, kind in events(sse_journal(journal, number))] == ["end"]


@pytest.mark.parametrize("header", [None, "", "x", "-1", "1.5", "9" * 40, "٣"])
def test_what_is_no_number_is_none(journal: Path, header: Any) -> None:
    assert events(sse_journal(journal, header)) == events(sse_journal(journal))


def test_a_failure_is_told(scripted_runtime: Start, tmp_path: Path) -> None:
    path, runtime = tmp_path / "run.jsonl", scripted_runtime(generation("0.15", Reply(error="rate limited")))
    with record(Client(runtime.url), path) as client, pytest.raises(AgentRuntimeError):
        client.query("hi", system_prompt="")
    *_, error, end = sse_journal(path)
    assert '"error":"AgentRuntimeError","message":"rate limited"' in error
    assert "event: end" in end


def test_a_run_whose_process_is_gone_is_told_as_interrupted(journal: Path) -> None:
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(True)[:-1]) + b'{"v":1,"ca')
    *_, error, end = sse_journal(journal)
    assert '"error":"Interrupted"' in error
    assert "event: end" in end


def test_what_is_no_journal_ends_with_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text("no\n", encoding="utf-8")
    assert [kind for _, kind in events(sse_journal(tmp_path / "x.jsonl"))] == ["error", "end"]
    with pytest.raises(FileNotFoundError):
        sse_journal(tmp_path / "none.jsonl")


def test_a_run_under_way_is_followed_and_its_silence_has_comments(local_runtime: Any, tmp_path: Path) -> None:
    goes_on = threading.Event()

    def agent(invocation: Any, sender: Any) -> str:
        sender.assistant("first")
        goes_on.wait(20)
        return "done"

    path = tmp_path / "run.jsonl"
    with record(Client(local_runtime(agent).url), path) as client:
        thread = threading.Thread(target=lambda: client.query("hi", system_prompt=""))
        thread.start()
        chunks = sse_journal(path, tick=0.05)
        for chunk in chunks:
            if "first" in chunk:
                break
        assert next(chunks) == ": alive\n\n"
        goes_on.set()
        assert [kind for _, kind in events(chunks)] == ["result_message", "end"]
        thread.join()
