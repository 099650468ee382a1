"""Reading: whatever is in the file, it is a journal, or an error that names file and line."""

from __future__ import annotations

import contextlib
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtimeuse_sync import Client, RuntimeUseError
from runtimeuse_sync.journal import JournalError, Replay, ReplayError, entries, follow, load

from ..support import invocation
from .hostile import journals

REQUEST = {"message_type": "invocation_message", "system_prompt": "", "user_prompt": "hi", "secrets_to_redact": []}
RESULT = {"message_type": "result_message", "data": {"type": "text", "text": "done"}}


def line(event: str, **fields: Any) -> bytes:
    return json.dumps({"v": 1, "call": "a", "event": event, "time": 1.0, "clock": 1.0, **fields}).encode() + b"\n"


BEGAN = line("began", message=REQUEST)
RECEIVED = line("received", message=RESULT)
ENDED = line("ended", outcome="result")


def written(path: Path, *lines: bytes) -> Path:
    path.write_bytes(b"".join(lines))
    return path


@pytest.mark.parametrize("torn", [b"{", RECEIVED[:-1], RECEIVED[:20], b"\xff", b"\x00" * 100])
def test_a_last_line_that_was_cut_off_is_left_out(
    tmp_path: Path, torn: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = written(tmp_path / "j", BEGAN, RECEIVED, torn)
    [run] = load(path)
    assert len(run.messages) == 1
    assert run.outcome is None
    assert f"{path}, line 3: a line that was cut off" in caplog.text
    assert len(list(entries(path))) == 2


@pytest.mark.parametrize("cut", range(1, len(RECEIVED), 7))
def test_a_process_that_goes_on_behind_another_that_was_killed_loses_nothing(
    tmp_path: Path, cut: int, caplog: pytest.LogCaptureFixture
) -> None:
    other = json.dumps({"v": 1, "call": "b", "event": "began", "time": 1, "clock": 1, "message": REQUEST}).encode()
    head, rest = b'{"v":1,"call":', other[len(b'{"v": 1, "call":') :]
    path = written(tmp_path / "j", BEGAN, RECEIVED[:cut], head, rest, b"\n")
    with caplog.at_level(logging.WARNING):
        assert [run.id for run in load(path)] == ["a", "b"]
    assert "line 2: a line that was cut off" in caplog.text


BAD_LINES = {
    "no JSON": b"hello\n",
    "binary": b"\x80\x81\n",
    "utf-16": json.dumps({}).encode("utf-16") + b"\n",
    "no object": b"[]\n",
    "another version": BEGAN.replace(b'"v": 1', b'"v": 2'),
    "a true version": BEGAN.replace(b'"v": 1', b'"v": true'),
    "no call": BEGAN.replace(b'"a"', b"5"),
    "an unknown event": BEGAN.replace(b"began", b"begun"),
    "a time that is infinite": BEGAN.replace(b"1.0", b"1e999"),
    "a constant": BEGAN.replace(b"1.0", b"NaN"),
    "no message": line("began"),
    "a message of another type": line("began", message={"message_type": "x"}),
    "a request that is none": line("began", message={**REQUEST, "user_prompt": 5}),
    "no outcome": BEGAN + line("ended"),
    "an error that is none": BEGAN + line("ended", outcome="error", error={"type": 5}),
    "another error that is none": BEGAN + line("ended", outcome="error"),
    "an error with other fields": BEGAN
    + line("ended", outcome="error", error={"type": "ConnectionLostError", "text": "", "code": "x", "reason": ""}),
    "a result that is none": BEGAN + line("received", message={"message_type": "result_message", "data": 5}),
    "a call that has not begun": RECEIVED,
    "a call that begins twice": BEGAN + BEGAN,
    "a call that goes on behind its end": BEGAN + ENDED + RECEIVED,
    "brackets": BEGAN[:-2] + b',"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}\n",
    "digits": BEGAN[:-2] + b',"x":' + b"1" * 100_000 + b"}\n",
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_a_bad_line_is_named(tmp_path: Path, name: str) -> None:
    path = written(tmp_path / "j", BAD_LINES[name], b"\n")
    with pytest.raises(JournalError) as caught:
        load(path)
    assert caught.value.path == str(path)
    assert caught.value.line == BAD_LINES[name].count(b"\n")
    assert str(caught.value).startswith(f"{path}, line {caught.value.line}: ")
    assert isinstance(caught.value, RuntimeUseError)


def test_a_message_that_is_none_is_found_when_it_is_asked_for(tmp_path: Path) -> None:
    deep: Any = []
    for _ in range(600):
        deep = [deep]
    bad = [{"message_type": 5}, {"message_type": "assistant_message"}, {**RESULT, "metadata": {"x": deep}}]
    path = written(tmp_path / "j", BEGAN, *(line("received", message=message) for message in bad))
    for entry in list(entries(path))[1:]:
        with pytest.raises(JournalError, match=f"line {entry.number}: not a message"):
            _ = entry.message


def test_an_empty_file_and_empty_lines(tmp_path: Path) -> None:
    assert load(written(tmp_path / "j")) == []
    assert [entry.number for entry in entries(written(tmp_path / "j", b"\n", BEGAN, b"  \r\n", RECEIVED))] == [2, 4]


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none")


def use(path: Path) -> None:
    """All that can be done with a journal: ends, or raises what a user can expect."""
    with contextlib.suppress(JournalError):
        for run in load(path):
            assert len(list(run.messages)) == len(run.messages)
            assert run.usage is not None
            assert run.duration >= 0
    with contextlib.suppress(JournalError):
        for entry in follow(path):
            _ = entry.message, entry.error, entry.outcome
    # What was recorded may be any error of a call.
    with contextlib.suppress(RuntimeUseError, ReplayError):
        Client(transport=Replay(path)).invoke(invocation(), timeout=5)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(journal=journals())
def test_hostile_journals(tmp_path: Path, journal: bytes) -> None:
    use(written(tmp_path / "j", journal))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(journal=st.binary(max_size=200))
def test_binary_files(tmp_path: Path, journal: bytes) -> None:
    use(written(tmp_path / "j", journal))
