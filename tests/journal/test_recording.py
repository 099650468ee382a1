"""``record``: which lines a call leaves, whoever writes beside it, and however its process ends."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from runtimeuse_sync import AgentRuntimeError, Client, ConnectionFailedError, encode_message
from runtimeuse_sync.journal import entries, load, record
from runtimeuse_sync.testing import Peer, Reply, generation

from ..support import invocation, port_without_listener, text_result
from .support import Start, said


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_the_lines_of_a_call(scripted_runtime: Start, tmp_path: Path) -> None:
    runtime, path = scripted_runtime(generation("0.15", Reply(messages=[said("hi")], result="done"))), tmp_path / "j"
    request = invocation()
    with record(Client(runtime.url), path) as client:
        client.invoke(request)
    began, connected, first, second, ended = lines_of(path)
    assert [began["event"], connected["event"], first["event"], second["event"], ended["event"]] == [
        "began",
        "connected",
        "received",
        "received",
        "ended",
    ]
    assert began["message"] == json.loads(encode_message(request))
    assert began["url"] == runtime.url
    assert first["message"] == said("hi")
    assert second["message"]["data"]["text"] == "done"
    assert ended["outcome"] == "result"
    assert {line["v"] for line in lines_of(path)} == {1}
    assert began["clock"] <= connected["clock"] <= first["clock"] <= ended["clock"]


def test_fields_of_a_handlers_own_are_kept(scripted_runtime: Start, tmp_path: Path) -> None:
    def script(peer: Peer) -> None:
        peer.receive()
        peer.send({**text_result("done"), "custom_score": 0.5})

    with record(Client(scripted_runtime(script).url), tmp_path / "j") as client:
        client.invoke(invocation())
    assert lines_of(tmp_path / "j")[2]["message"]["custom_score"] == 0.5


def test_it_is_appended_to_and_for_its_owner_alone(scripted_runtime: Start, tmp_path: Path) -> None:
    runtime, path = scripted_runtime(generation("0.15")), tmp_path / "j"
    for _ in range(2):
        with record(Client(runtime.url), path, fsync=True) as client:
            client.invoke(invocation())
    assert len(load(path)) == 2
    assert os.name == "nt" or path.stat().st_mode & 0o777 == 0o600


def test_how_calls_end(scripted_runtime: Start, tmp_path: Path) -> None:
    runtime = scripted_runtime(generation("0.15", Reply(error="rate limited", metadata={"num_turns": 2})))
    path = tmp_path / "j"
    with record(Client(runtime.url), path) as client:
        with pytest.raises(AgentRuntimeError):
            client.invoke(invocation())
        with pytest.raises(ZeroDivisionError), client.stream("hi"):
            raise ZeroDivisionError("with a payload")
        with client.stream("hi"):
            pass
    failed, raised, left = load(path)
    assert isinstance(failed.error, AgentRuntimeError)
    assert failed.error.error == "rate limited"
    assert failed.usage.turns == 2
    assert raised.outcome == "error"
    assert str(raised.error) == "the caller's own ZeroDivisionError"
    assert left.outcome == "left"
    assert b"payload" not in path.read_bytes()


def test_what_was_asked_again_counts(scripted_runtime: Start, tmp_path: Path) -> None:
    pytest.importorskip("msgspec")
    replies = [Reply(result={"value": value}, metadata={"num_turns": 2}) for value in ("no", 7)]
    runtime, path = scripted_runtime(generation("0.15", *replies)), tmp_path / "j"
    with record(Client(runtime.url), path) as client:
        assert client.query("How many?", output_type=int, output_repairs=1).output == 7
    [run] = load(path)
    assert (run.usage.turns, len(run.messages)) == (4, 2)


def test_a_call_that_never_connected(tmp_path: Path) -> None:
    with port_without_listener() as port, record(Client(f"ws://127.0.0.1:{port}"), tmp_path / "j") as client:
        with pytest.raises(ConnectionFailedError):
            client.invoke(invocation())
    [run] = load(tmp_path / "j")
    assert isinstance(run.error, ConnectionFailedError)
    assert run.request.user_prompt == "Hello"


def test_calls_of_many_threads_share_a_file(scripted_runtime: Start, tmp_path: Path) -> None:
    script = generation("0.15", Reply(messages=[said("x" * 3000)] * 20, result="done"))
    with record(Client(scripted_runtime(script).url), tmp_path / "j") as client:
        threads = [threading.Thread(target=client.invoke, args=(invocation(),)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    runs = load(tmp_path / "j")
    assert [len(run.messages) for run in runs] == [21] * 4
    assert all(message.text_blocks == ["x" * 3000] for run in runs for message in run.messages[:-1])


CHILD = """
import sys
from runtimeuse_sync import Client
from runtimeuse_sync.journal import record
with record(Client(sys.argv[1]), sys.argv[2]) as client:
    client.query("hello")
"""


def test_processes_share_a_file(scripted_runtime: Start, tmp_path: Path) -> None:
    runtime = scripted_runtime(generation("0.15", Reply(messages=[said("x" * 3000)] * 50, result="done")))
    command = [sys.executable, "-c", CHILD, runtime.url, str(tmp_path / "j")]
    for child in [subprocess.Popen(command) for _ in range(2)]:
        assert child.wait(60) == 0
    assert [len(run.messages) for run in load(tmp_path / "j")] == [51] * 2


def test_a_recorded_client_pickles_for_another_process(scripted_runtime: Start, tmp_path: Path) -> None:
    runtime = scripted_runtime(generation("0.15"))
    with record(Client(runtime.url), tmp_path / "j") as client:
        pickle.loads(pickle.dumps(client)).invoke(invocation())
        client.invoke(invocation())
    assert len(load(tmp_path / "j")) == 2


def test_a_call_in_flight_is_recorded_to_its_end(scripted_runtime: Start, tmp_path: Path) -> None:
    runtime = scripted_runtime(generation("0.15", Reply(messages=[said("hi")])))
    with contextlib.ExitStack() as stack:
        with record(Client(runtime.url), tmp_path / "j") as client:
            run = stack.enter_context(client.stream("hi"))
        for _ in run:
            pass
    assert load(tmp_path / "j")[0].outcome == "result"


def test_a_call_behind_the_block_goes_unrecorded(
    scripted_runtime: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    runtime = scripted_runtime(generation("0.15"))
    with record(Client(runtime.url), tmp_path / "j") as client:
        pass
    with caplog.at_level(logging.ERROR):
        client.invoke(invocation())
    assert load(tmp_path / "j") == []
    assert "JournalError" in caplog.text


def test_a_file_that_cannot_be_written_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), record(Client("ws://localhost:1"), tmp_path / "none" / "j"):
        pytest.fail("not reached")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no full device")
def test_a_full_disk_is_not_felt(scripted_runtime: Start, caplog: pytest.LogCaptureFixture) -> None:
    runtime = scripted_runtime(generation("0.15", Reply(result="done")))
    with record(Client(runtime.url), "/dev/full") as client:
        assert client.query("hi").output == "done"
    assert "OSError" in caplog.text


def test_a_session_and_its_end(scripted_runtime: Start, tmp_path: Path) -> None:
    runtime = scripted_runtime(generation("0.15", Reply(late_artifacts=["/out/a"])))
    with record(Client(runtime.url), tmp_path / "j") as client, client.session() as session:
        session.invoke(
            invocation(artifacts_dirs=["/out"]), on_artifact_upload_request=lambda _: ("http://x/?s=1", "a/b")
        )
    first, end = load(tmp_path / "j")
    assert first.session_id == end.session_id is not None
    assert type(end.request).__name__ == "EndSessionMessage"
    sent = [entry.message for entry in entries(tmp_path / "j") if entry.event == "sent"]
    assert [type(message).__name__ for message in sent] == ["ArtifactUploadResponseMessageInterface"]
    assert sent[0].presigned_url == "[REDACTED]"
