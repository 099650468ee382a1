"""Artifacts, from the file on the disk to the bytes at their destination."""

from __future__ import annotations

import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any, Callable

import pytest
import watchfiles

from .conftest import ASK, PATIENCE, FileServer, Peer

StartPeer = Callable[..., Peer]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    path = tmp_path / "out"
    path.mkdir()
    return path


def ask_of(peer: Peer) -> str:
    path: str = peer.asked()["filepath"]
    return path


def test_a_file_written_by_a_command_arrives(
    start_peer: StartPeer, file_server: FileServer, out: Path, tmp_path: Path
) -> None:
    peer = start_peer()
    # In one piece: an empty file that is still for long enough is a version too.
    peer.execute(f"printf content > {tmp_path}/a; mv {tmp_path}/a {out}/a.txt", artifacts_dirs=[str(out)])
    request = peer.asked()
    assert request == {"message_type": ASK, "filename": "a.txt", "filepath": f"{out}/a.txt"}
    peer.upload(request, file_server.url("/here"))
    assert peer.end(file_server.url) == []
    assert file_server.received == {"/here": b"content"}


def test_several_directories_and_sub_folders(start_peer: StartPeer, file_server: FileServer, tmp_path: Path) -> None:
    peer = start_peer()
    peer.execute(
        f"cd {tmp_path}; mkdir -p one/deep/er two; echo 1 > one/a; echo 2 > one/deep/er/b; echo 3 > two/c; echo 4 > d",
        artifacts_dirs=[str(tmp_path / "one"), str(tmp_path / "two")],
    )
    peer.end(file_server.url)
    assert file_server.received == {
        f"{tmp_path}/one/a": b"1\n",
        f"{tmp_path}/one/deep/er/b": b"2\n",
        f"{tmp_path}/two/c": b"3\n",
    }


def test_files_that_are_there_from_the_start_count(start_peer: StartPeer, file_server: FileServer, out: Path) -> None:
    (out / "before").write_text("x")
    peer = start_peer()
    peer.execute("true", artifacts_dirs=[str(out)])
    peer.end(file_server.url)
    assert list(file_server.received) == [f"{out}/before"]


def test_ignored_files_stay(start_peer: StartPeer, file_server: FileServer, out: Path) -> None:
    (out / ".artifactignore").write_text("*.log\n")
    peer = start_peer()
    peer.execute(
        f"cd {out}; mkdir tmp; touch a.log keep.log b.txt tmp/c",
        artifacts_dirs=[str(out)],
        artifacts_ignore_content="tmp/\n!keep.log",
    )
    peer.end(file_server.url)
    assert sorted(file_server.received) == [f"{out}/b.txt", f"{out}/keep.log"]


def test_a_file_that_is_being_written_is_not_asked_for(start_peer: StartPeer, out: Path) -> None:
    """Writes go on for longer than a file has to be still: were it asked for once it was, it would be within them."""
    is_over = threading.Event()

    def write() -> None:
        for _ in range(30):
            with (out / "a").open("a") as file:
                file.write("x")
            time.sleep(0.05)
        is_over.set()

    writer = threading.Thread(target=write)
    # So long that no pause of a busy machine, between two writes, is taken for their end.
    peer = start_peer(settle_seconds=1.0)
    writer.start()
    peer.start("sleep 1000", artifacts_dirs=[str(out)])
    assert ask_of(peer) == f"{out}/a"
    assert is_over.is_set()
    writer.join()


def test_each_version_is_asked_for_once(start_peer: StartPeer, file_server: FileServer, out: Path) -> None:
    (out / "a").write_text("one")
    peer = start_peer()
    for name, command in (("1", "true"), ("2", f"printf ' two' >> {out}/a")):
        peer.execute(command, artifacts_dirs=[str(out)])
        peer.upload(peer.asked(), file_server.url(f"/{name}"))
        assert file_server.arrived.wait(PATIENCE)
        file_server.arrived.clear()
    assert peer.end(file_server.url) == []
    assert file_server.received == {"/1": b"one", "/2": b"one two"}


def test_a_file_is_asked_for_while_the_request_runs(start_peer: StartPeer, out: Path) -> None:
    peer = start_peer()
    peer.start(f"echo x > {out}/a; sleep 1000", artifacts_dirs=[str(out)])
    assert ask_of(peer) == f"{out}/a"


def test_a_directory_that_does_not_exist_yet_is_waited_for(start_peer: StartPeer, tmp_path: Path) -> None:
    out = tmp_path / "not" / "yet"
    peer = start_peer()
    peer.start(f"mkdir -p {out}; echo x > {out}/a; sleep 1000", artifacts_dirs=[str(out)])
    assert ask_of(peer) == f"{out}/a"


def test_a_directory_that_is_made_anew_goes_on_being_watched(start_peer: StartPeer, out: Path, tmp_path: Path) -> None:
    peer = start_peer()
    peer.start(
        f"touch {out}/a; while [ ! -e {tmp_path}/go ]; do sleep 0.01; done;"
        f" rm -r {out}; mkdir {out}; echo 22 > {out}/b; sleep 1000",
        artifacts_dirs=[str(out)],
    )
    assert ask_of(peer) == f"{out}/a"
    (tmp_path / "go").touch()
    assert ask_of(peer) == f"{out}/b"


def test_a_folder_made_with_everything_in_it_is_found(
    start_peer: StartPeer, file_server: FileServer, out: Path
) -> None:
    """Files that come before the watch on their new folder stands have no event."""
    peer = start_peer()
    peer.start(
        f"cd {out}; mkdir -p a/b/c; for i in $(seq 50); do echo $i > a/b/c/$i; done; sleep 1000",
        artifacts_dirs=[str(out)],
    )
    missing = {f"{out}/a/b/c/{n}" for n in range(1, 51)}
    while missing:
        missing.discard(ask_of(peer))


def test_where_watching_is_impossible_the_directory_is_looked_at(
    start_peer: StartPeer, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError("OS file watch limit reached")

    monkeypatch.setattr(watchfiles, "watch", refuse)
    monkeypatch.setattr("runtimeuse_sync.local._artifacts.watching._POLL", 0.05)
    peer = start_peer()
    peer.start(f"sleep 0.1; echo x > {out}/a; sleep 1000", artifacts_dirs=[str(out)])
    assert ask_of(peer) == f"{out}/a"


def test_what_is_written_at_the_very_end_arrives(start_peer: StartPeer, file_server: FileServer, out: Path) -> None:
    peer = start_peer(settle_seconds=0.5)
    peer.execute(f"for i in $(seq 20); do echo $i > {out}/$i; done", artifacts_dirs=[str(out)])
    peer.end(file_server.url)
    assert len(file_server.received) == 20


def test_a_file_that_never_rests_is_sent_as_it_is_at_the_end(
    start_peer: StartPeer, file_server: FileServer, out: Path
) -> None:
    peer = start_peer(settle_seconds=0.2)
    (out / "log").touch()
    peer.execute(f"(while :; do echo x >> {out}/log; sleep 0.02; done) > /dev/null 2>&1 &", artifacts_dirs=[str(out)])
    peer.end(file_server.url)
    assert list(file_server.received) == [f"{out}/log"]


def test_the_end_waits_for_the_upload(start_peer: StartPeer, file_server: FileServer, out: Path) -> None:
    """The confirmation is behind the upload: when it comes, the bytes are there."""
    peer = start_peer()
    peer.execute(f"head -c 5000000 /dev/zero > {out}/big", artifacts_dirs=[str(out)])
    peer.end(file_server.url)
    assert len(file_server.received[f"{out}/big"]) == 5_000_000


def test_the_end_does_not_wait_for_ever_for_an_answer(start_peer: StartPeer, out: Path) -> None:
    (out / "a").write_text("x")
    peer = start_peer(drain_timeout=0.1)
    peer.execute("true", artifacts_dirs=[str(out)])
    peer.say("end_session_message")
    peer.hear_until("end_session_confirm_message")
    assert [m["message_type"] for m in peer.log].count(ASK) == 1
    assert peer.hear_close() is None


def test_a_failed_upload_is_an_error(start_peer: StartPeer, file_server: FileServer, out: Path) -> None:
    (out / "a").write_text("x")
    peer = start_peer()
    peer.execute("true", artifacts_dirs=[str(out)])
    file_server.refusals = [403]
    # The question may have come before the end of the session.
    assert [m for m in peer.end(file_server.url) if m["message_type"] != ASK] == [
        {
            "message_type": "error_message",
            "error": "artifact upload failed: 403 Forbidden",
            "metadata": {"filename": "a"},
        }
    ]


def test_a_file_that_was_not_asked_for_is_not_uploaded(
    start_peer: StartPeer, file_server: FileServer, out: Path
) -> None:
    (out / "a").write_text("x")
    peer = start_peer()
    peer.upload({"filename": "passwd", "filepath": "/etc/passwd"}, file_server.url("/x"))
    assert "not made" in peer.hear()["error"]
    peer.execute("true", artifacts_dirs=[str(out)])
    request = peer.asked()
    peer.upload(request, file_server.url("/first"))
    peer.upload(request, file_server.url("/second"))
    assert "was answered" in peer.hear()["error"]
    peer.end(file_server.url)
    assert file_server.received == {"/first": b"x"}


def test_two_files_whose_names_are_redacted_to_one_both_arrive(
    start_peer: StartPeer, file_server: FileServer, out: Path
) -> None:
    for n in (1, 2):
        (out / f"s{n}").write_text(f"{n}")
    peer = start_peer()
    peer.execute("true", artifacts_dirs=[str(out)], secrets_to_redact=["s1", "s2"])
    for n in (1, 2):
        peer.upload(peer.asked(), file_server.url(f"/{n}"))
    peer.end(file_server.url)
    assert sorted(file_server.received.values()) == [b"1", b"2"]


def test_a_passing_file_holds_nothing_up(start_peer: StartPeer, file_server: FileServer, out: Path) -> None:
    (out / "a").write_text("x")
    peer = start_peer()
    peer.execute("true", artifacts_dirs=[str(out)])
    request = peer.asked()
    os.remove(out / "a")
    peer.upload(request, file_server.url("/x"))
    assert peer.end(file_server.url) == []


def test_a_file_that_was_there_for_a_moment_is_not_asked_for(
    start_peer: StartPeer, file_server: FileServer, out: Path
) -> None:
    """The watcher has seen it by the time it is gone: it has asked for an old file beside it."""
    for name in ("brief", "old"):
        (out / name).touch()
    os.utime(out / "old", (0, 0))
    peer = start_peer(settle_seconds=10.0)
    peer.execute("true", artifacts_dirs=[str(out)])
    peer.upload(peer.asked(), file_server.url("/old"))
    os.remove(out / "brief")
    peer.end(file_server.url)
    assert [m["filename"] for m in peer.log if m["message_type"] == ASK] == ["old"]


def test_leaving_in_the_middle_of_everything(start_peer: StartPeer, out: Path) -> None:
    """What the fixture checks: no thread and no descriptor stays."""
    peer = start_peer(settle_seconds=30.0)
    peer.execute(f"echo x > {out}/a", artifacts_dirs=[str(out)])
    peer.say("end_session_message")
    peer.connection.close()


def test_a_watcher_survives_the_loss_of_everything(start_peer: StartPeer, file_server: FileServer, out: Path) -> None:
    peer = start_peer()
    peer.start(f"echo x > {out}/a; sleep 1000", artifacts_dirs=[str(out)])
    ask_of(peer)
    shutil.rmtree(out)
    peer.say("cancel_message")
    peer.hear_until("error_message")
    assert peer.is_served()
