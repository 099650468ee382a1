"""``follow``: while another process writes, and when it has died."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from runtimeuse_sync import Client, InvocationMessage
from runtimeuse_sync.journal import follow, load, record
from runtimeuse_sync.testing import Peer, Reply, generation

from ..support import text_result
from .support import Start, recorded_run, said
from .test_recording import CHILD


def test_what_is_written_already(scripted_runtime: Start, tmp_path: Path) -> None:
    recorded_run(scripted_runtime(generation("0.15", Reply(messages=[said("hi")]))), tmp_path / "j")
    assert [entry.event for entry in follow(tmp_path / "j")] == ["began", "connected", "received", "received", "ended"]
    assert [entry.number for entry in follow(tmp_path / "j", after=3)] == [4, 5]
    assert list(follow(tmp_path / "j", after=17)) == []


def test_live_from_another_process_to_the_end_of_the_run(scripted_runtime: Start, tmp_path: Path) -> None:
    seen, go_on = threading.Event(), threading.Event()

    def script(peer: Peer) -> None:
        peer.receive()
        peer.send(said("one"))
        assert seen.wait(30)
        peer.send(said("two"))
        go_on.wait(30)
        peer.send(text_result("done"))

    runtime = scripted_runtime(script)
    with subprocess.Popen([sys.executable, "-c", CHILD, runtime.url, str(tmp_path / "j")]) as child:
        texts = []
        for entry in follow(tmp_path / "j", timeout=60):
            if entry.event == "received":
                texts.append(getattr(entry.message, "text_blocks", None))
                (go_on if seen.is_set() else seen).set()
        assert texts == [["one"], ["two"], None]
        assert entry.event == "ended"
        assert child.wait(60) == 0


@pytest.mark.skipif(sys.platform == "win32", reason="nobody can tell there")
def test_it_ends_when_the_writer_dies(scripted_runtime: Start, tmp_path: Path) -> None:
    runtime = scripted_runtime(generation("0.15", Reply(messages=[said("one")], hangs=True)))
    with subprocess.Popen([sys.executable, "-c", CHILD, runtime.url, str(tmp_path / "j")]) as child:
        runtime.wait_for(InvocationMessage, 60)
        for entry in follow(tmp_path / "j"):
            if entry.event == "received":
                child.kill()
                assert child.wait(60) == -signal.SIGKILL
    assert entry.event == "received"
    assert load(tmp_path / "j")[0].outcome is None


def test_one_call_of_several(scripted_runtime: Start, tmp_path: Path) -> None:
    runtime = scripted_runtime(generation("0.15", Reply(messages=[said("one")])))
    with record(Client(runtime.url), tmp_path / "j") as client:
        with client.stream("first") as first, client.stream("second") as second:
            list(second)
            [one, other] = load(tmp_path / "j")
            assert [entry.call_id for entry in follow(tmp_path / "j", call_id=other.id, timeout=0.2)] == [other.id] * 4
            list(first)
        assert [entry.call_id for entry in follow(tmp_path / "j", call_id=one.id)] == [one.id] * 5


def test_silence_ends_it(scripted_runtime: Start, tmp_path: Path) -> None:
    runtime = scripted_runtime(generation("0.15", Reply(hangs=True)))
    with record(Client(runtime.url), tmp_path / "j") as client, client.stream("hi"):
        runtime.wait_for(InvocationMessage)
        assert next(follow(tmp_path / "j", timeout=0.2)).event == "began"


def test_a_file_that_does_not_come(tmp_path: Path) -> None:
    for timeout in (None, 0.2):
        with pytest.raises(FileNotFoundError):
            list(follow(tmp_path / "none", timeout=timeout))


def test_a_file_that_is_there_later(scripted_runtime: Start, tmp_path: Path) -> None:
    runtime, events = scripted_runtime(generation("0.15")), []

    def watch() -> None:
        events.extend(entry.event for entry in follow(tmp_path / "j", timeout=30))

    watcher = threading.Thread(target=watch)
    watcher.start()
    recorded_run(runtime, tmp_path / "j")
    watcher.join(60)
    assert events[-1] == "ended"
