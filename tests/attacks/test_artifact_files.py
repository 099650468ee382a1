"""Files that were made to break the one who collects them. All others arrive, and the session is confirmed."""

from __future__ import annotations

import os
import subprocess
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable

import pytest
import watchfiles

from runtimeuse_sync.local import LocalRuntime
from runtimeuse_sync.local._artifacts import ignore, watching
from tests.local.conftest import ASK, FileServer, Peer, file_server, peer_of

__all__ = ["file_server"]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/good").write_text("x")
    return tmp_path / "out"


@pytest.fixture
def deep(out: Path) -> Iterator[Path]:
    """For trees that pytest, which works by recursion, cannot remove."""
    yield out
    subprocess.run(["rm", "-rf", str(out)], check=True)


@contextmanager
def served(**options: Any) -> Iterator[Peer]:
    with LocalRuntime(lambda invocation, sender: "", settle_seconds=0.2, **options) as runtime:
        with peer_of(runtime) as peer:
            yield peer


def end(server: FileServer, *directories: Path, **fields: Any) -> list[str]:
    """Run a session to its confirmation; what was said to be wrong."""
    with served() as peer:
        peer.execute("true", artifacts_dirs=[str(directory) for directory in directories], **fields)
        heard = peer.end(server.url)
        assert peer.log[-1]["message_type"] == "end_session_confirm_message"
    return [message["error"] for message in heard if message["message_type"] == "error_message"]


def fifo(path: Path) -> None:
    os.mkfifo(path)


def zeros(path: Path) -> None:
    path.symlink_to("/dev/zero")


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**33)


def lines(path: Path) -> None:
    path.write_text("a\n" * 6000)


RULES: dict[str, tuple[Callable[[Path], None], str]] = {
    "a FIFO": (fifo, "Not a regular file"),
    "/dev/zero": (zeros, "Not a regular file"),
    "8 GiB": (huge, "more than 65536 characters"),
    "many lines": (lines, "or 5000 lines"),
}


@pytest.mark.parametrize("kind", RULES)
def test_rules_that_cannot_be_read_hold_their_folder_back_and_no_other(
    file_server: FileServer, out: Path, kind: str
) -> None:
    """Without its rules, what they hold back might be handed out."""
    make, reason = RULES[kind]
    (out / "bad").mkdir()
    (out / "bad/secret").write_text("x")
    make(out / "bad/.artifactignore")
    tracemalloc.start()
    try:
        (error,) = end(file_server, out)
        assert tracemalloc.get_traced_memory()[1] < 32 * 2**20
    finally:
        tracemalloc.stop()
    assert error.startswith(f"artifacts: no file of {out}/bad is offered: its ")
    assert reason in error
    assert list(file_server.received) == [f"{out}/good"]


def test_rules_of_a_request_that_are_too_many_hold_its_directories_back(file_server: FileServer, out: Path) -> None:
    (error,) = end(file_server, out, artifacts_ignore_content="a\n" * 6000)
    assert "5000 lines" in error
    assert file_server.received == {}


def test_1200_folders_inside_of_each_other(file_server: FileServer, deep: Path) -> None:
    deepest = deep
    here = os.open(deep, os.O_RDONLY)
    try:
        for _ in range(1200):
            os.mkdir("d", dir_fd=here)
            below = os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
            deepest /= "d"
        os.close(os.open("bottom", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    finally:
        os.close(here)
    assert end(file_server, deep) == []
    assert sorted(file_server.received) == sorted([f"{deep}/good", f"{deepest}/bottom"])


def test_paths_longer_than_the_system_takes_are_told(file_server: FileServer, deep: Path) -> None:
    here = os.open(deep, os.O_RDONLY)
    try:
        for _ in range(30):
            os.mkdir("d" * 200, dir_fd=here)
            below = os.open("d" * 200, os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
    finally:
        os.close(here)
    (error,) = end(file_server, deep)
    assert error.endswith("File name too long")
    assert list(file_server.received) == [f"{deep}/good"]


def test_links_to_files_outside_stay(file_server: FileServer, out: Path) -> None:
    (out / "link").symlink_to("/etc/passwd")
    (out / "inside").symlink_to("good")
    assert end(file_server, out) == []
    assert sorted(file_server.received) == [f"{out}/good", f"{out}/inside"]


@pytest.mark.parametrize(
    "name", [b"esc\x1b]0;x\x07", b"line\nbreak", b"c1\x9b2J", b"\xff\xfe", "rtl\u202egpj".encode()]
)
def test_names_are_told_without_what_a_terminal_obeys(file_server: FileServer, out: Path, name: bytes) -> None:
    (out / "good").unlink()
    Path(os.fsdecode(os.fsencode(out) + b"/" + name)).write_bytes(b"content")
    told: list[dict[str, Any]] = []
    with served() as peer:
        peer.execute("true", artifacts_dirs=[str(out)])
        peer.end(lambda path: file_server.url("/x"))
        told += [message for message in peer.log if message["message_type"] == ASK]
    (request,) = told
    assert request["filename"].isprintable()
    assert request["filepath"] == f"{out}/{request['filename']}"
    assert list(file_server.received.values()) == [b"content"]


def test_two_names_that_are_told_alike_both_arrive(file_server: FileServer, out: Path) -> None:
    (out / "good").unlink()
    for number, name in enumerate(("a\n", "a\x1b")):
        (out / name).write_text(str(number))
    urls = iter("12")
    with served() as peer:
        peer.execute("true", artifacts_dirs=[str(out)])
        peer.end(lambda path: file_server.url(f"/{next(urls)}"))
    assert sorted(file_server.received.values()) == [b"0", b"1"]


def test_a_fault_of_the_watching_library_is_told_and_looking_goes_on(
    file_server: FileServer, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is written in Rust, whose panics are BaseExceptions."""

    class PanicError(BaseException):
        pass

    def panic(*_: Any, **__: Any) -> Any:
        raise PanicError

    monkeypatch.setattr(watchfiles, "watch", panic)
    assert end(file_server, out) == ["artifacts: looking for artifacts failed: PanicError"]
    assert list(file_server.received) == [f"{out}/good"]


def test_a_fault_at_the_last_look_is_told_and_the_session_is_confirmed(
    file_server: FileServer, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(ignore, "artifacts", fail)
    assert end(file_server, out) == ["artifacts: looking for artifacts failed: MemoryError"]


def test_a_tree_that_is_never_done_is_left_when_the_time_is_over(
    file_server: FileServer, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that seems to have no last entry."""
    listing = ignore._opened

    def endless(*arguments: Any) -> Any:
        rules, entries = listing(*arguments)
        first = next(entries)
        return rules, iter(lambda: first, None)

    monkeypatch.setattr(ignore, "_opened", endless)
    with served(drain_timeout=0.5) as peer:
        peer.execute("true", artifacts_dirs=[str(out)])
        began = time.monotonic()
        peer.say("end_session_message")
        peer.hear_until("end_session_confirm_message")
        assert time.monotonic() - began < 5


@pytest.mark.parametrize("name", ["a\0b", "\ud800"])
def test_a_directory_that_cannot_exist_is_told(file_server: FileServer, out: Path, name: str) -> None:
    (error,) = end(file_server, out, Path(name))
    assert error.endswith("is no name that a directory can have")
    assert list(file_server.received) == [f"{out}/good"]


def test_the_number_of_things_that_are_told_is_bounded(file_server: FileServer, out: Path) -> None:
    for number in range(50):
        (out / f"{number}").mkdir()
        fifo(out / f"{number}/.artifactignore")
    assert len(end(file_server, out)) == 10
    assert list(file_server.received) == [f"{out}/good"]


def test_without_a_thread_the_files_are_found_at_the_end(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    offered: list[str] = []
    watcher = watching.Watcher(0.1, offered.append)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        watcher.add([str(out)], "")
    watcher.finish(10.0, threading.Event())
    watcher.stop()
    assert offered == [f"{out}/good"]


def test_with_nothing_to_watch_there_is_no_thread() -> None:
    with served() as peer:
        peer.execute("true")
        assert "runtimeuse-watcher" not in {thread.name for thread in threading.enumerate()}


def test_a_watcher_looks_for_events_no_more_than_needed(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the default of 2 s for a file to settle: four times a second, inside of the library; twice in Python."""
    options: dict[str, Any] = {}
    called = threading.Event()

    def watch(*_: Any, **given: Any) -> Any:
        options.update(given)
        called.set()
        return iter(())

    monkeypatch.setattr(watchfiles, "watch", watch)
    watcher = watching.Watcher(2.0, lambda path: None)
    watcher.add([str(out)], "")
    assert called.wait(10)
    watcher.stop()
    assert (options["step"], options["rust_timeout"]) == (250, 500)
