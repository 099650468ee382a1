from __future__ import annotations

import queue
import socket
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import pytest

from runtimeuse_sync.local._transfers import uploads as _uploads
from runtimeuse_sync.local._transfers.uploads import Upload, Uploads

from .conftest import PATIENCE, FileServer


class Results:
    def __init__(self, uploads: Uploads) -> None:
        self.uploads = uploads
        self.queue: queue.SimpleQueue[Optional[str]] = queue.SimpleQueue()

    def upload(self, path: Path, url: str, content_type: str = "text/plain") -> Optional[str]:
        self.uploads.add(Upload(path, url, content_type, self.queue.put))
        return self.queue.get(timeout=PATIENCE)


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch) -> Iterator[Results]:
    monkeypatch.setattr(_uploads, "_PAUSES", (0.001, 0.001))
    uploads = Uploads()
    yield Results(uploads)
    uploads.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.txt"
    path.write_bytes(b"content")
    return path


def test_the_bytes_arrive_with_their_length_and_type(file_server: FileServer, results: Results, file: Path) -> None:
    assert results.upload(file, file_server.url("/to/here?sig=a%2Fb"), "text/x") is None
    assert file_server.received == {"/to/here?sig=a%2Fb": b"content"}
    headers = file_server.headers[0]
    assert (headers["Content-Type"], headers["Content-Length"]) == ("text/x", "7")
    assert "Transfer-Encoding" not in headers


def test_an_empty_file_arrives(file_server: FileServer, results: Results, file: Path) -> None:
    file.write_bytes(b"")
    assert results.upload(file, file_server.url("/x")) is None
    assert file_server.received == {"/x": b""}


def test_what_may_pass_is_tried_again(file_server: FileServer, results: Results, file: Path) -> None:
    file_server.refusals = [503, 500]
    assert results.upload(file, file_server.url("/x")) is None
    assert len(file_server.headers) == 3


def test_what_will_not_pass_is_told_at_once(file_server: FileServer, results: Results, file: Path) -> None:
    file_server.refusals = [403]
    assert results.upload(file, file_server.url("/x?sig=secret")) == "403 Forbidden"
    assert len(file_server.headers) == 1


def test_after_three_tries_it_is_told(file_server: FileServer, results: Results, file: Path) -> None:
    file_server.refusals = [503] * 4
    assert results.upload(file, file_server.url("/x")) == "503 Service Unavailable"
    assert len(file_server.headers) == 3


@pytest.mark.parametrize(
    ("url", "content_type", "reason"),
    [
        ("http://127.0.0.1:1/x?sig=secret", "text/plain", "Connection refused"),
        ("file:///x", "text/plain", "the URL is not an http or https one"),
        ("http://127.0.0.1:1/x", "a\r\nInjected: b", "ValueError"),
    ],
)
def test_what_cannot_work_is_told(results: Results, file: Path, url: str, content_type: str, reason: str) -> None:
    assert results.upload(file, url, content_type) == reason


def test_a_file_that_is_gone_is_no_failure(file_server: FileServer, results: Results, tmp_path: Path) -> None:
    assert results.upload(tmp_path / "gone", file_server.url("/x")) is None
    assert file_server.received == {}


def test_a_folder_is_told(file_server: FileServer, results: Results, tmp_path: Path) -> None:
    assert results.upload(tmp_path, file_server.url("/x")) == "Is a directory"


def test_a_large_file_is_not_held_in_memory(results: Results, tmp_path: Path) -> None:
    """A sparse file: its size is what would be held, not what is on the disk."""
    size = 200 * 2**20
    with open(tmp_path / "big", "wb") as file:
        file.truncate(size)
    with Sink() as sink:
        tracemalloc.start()
        try:
            assert results.upload(tmp_path / "big", sink.url) is None
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert sink.size == size
    assert peak < 10 * 2**20


def test_closing_gives_up_an_upload_that_does_not_end(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    monkeypatch.setattr(_uploads, "_PAUSES", (1000, 1000))
    uploads = Uploads()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uploads.add(Upload(file, f"http://127.0.0.1:{silent.getsockname()[1]}/", "text/plain", lambda _: None))
        connection, _ = silent.accept()
        connection.close()
    uploads.close()
    (thread,) = uploads._threads
    thread.join(PATIENCE)
    assert not thread.is_alive()


@pytest.mark.parametrize("started", [0, 1])
def test_a_thread_that_cannot_be_started_loses_no_upload(
    monkeypatch: pytest.MonkeyPatch, file_server: FileServer, results: Results, file: Path, started: int
) -> None:
    """One that is there does the work; without any, it is told."""
    if started:
        assert results.upload(file, file_server.url("/first")) is None
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "runtimeuse-upload":
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        reason = results.upload(file, file_server.url("/second"))
    assert reason == (None if started else "no thread could be started for it")


class Sink:
    """Takes one PUT, and counts."""

    def __init__(self) -> None:
        self.size = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection, connection.makefile("rb") as stream:
            length = 0
            for line in iter(stream.readline, b"\r\n"):
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            while self.size < length:
                self.size += len(stream.read1(2**18))
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    def __enter__(self) -> Sink:
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._thread.join(PATIENCE)
        self._listener.close()
