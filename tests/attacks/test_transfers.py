"""Servers that downloads and uploads meet: silent, dripping, lying, or never there."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Callable

import pytest

from runtimeuse_sync.exceptions import CancelledException
from runtimeuse_sync.local import LocalRuntime
from runtimeuse_sync.local._cancel_event import CancelEvent
from runtimeuse_sync.local._transfers.downloads import DownloadError, fetch
from runtimeuse_sync.local._transfers.uploads import Upload, Uploads
from runtimeuse_sync.messages import RuntimeEnvironmentDownloadableInterface
from tests.local.conftest import PATIENCE, peer_of

LIMIT = 10**6


class Server:
    """Answers one connection with ``head``, and then a byte again and again, as long as there is somebody."""

    def __init__(self, head: bytes, *, drips: bool) -> None:
        self._head = head
        self._drips = drips
        self._over = threading.Event()
        self.reached = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/a.bin"
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            connection.sendall(self._head)
            self.reached.set()
            while not self._over.wait(0.01):
                if self._drips:
                    try:
                        connection.sendall(b"x")
                    except OSError:
                        return

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(PATIENCE)
        self._listener.close()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"
SERVERS: dict[str, Callable[[], Server]] = {
    "a dripping body": lambda: Server(HEAD, drips=True),
    "a silent body": lambda: Server(HEAD, drips=False),
    "a dripping head": lambda: Server(b"HTTP/1.1 200 OK\r\nX: ", drips=True),
    "no answer": lambda: Server(b"", drips=False),
}


def item(url: str, folder: Path) -> RuntimeEnvironmentDownloadableInterface:
    return RuntimeEnvironmentDownloadableInterface(download_url=url, working_dir=str(folder))


def get(url: str, folder: Path, *, limit: int = LIMIT) -> None:
    fetch(item(url, folder), limit=limit, cancelled=CancelEvent())


def seconds_to_cancel(url: str, folder: Path, when: threading.Event) -> float:
    """How long a download goes on after it was cancelled."""
    event, ended = CancelEvent(), list[float]()

    def run() -> None:
        with pytest.raises(CancelledException):
            fetch(item(url, folder), limit=LIMIT, cancelled=event)
        ended.append(time.monotonic())

    thread = threading.Thread(target=run)
    thread.start()
    assert when.wait(PATIENCE)
    began = time.monotonic()
    event.set()
    thread.join(PATIENCE)
    return ended[0] - began


@pytest.mark.parametrize("kind", SERVERS)
def test_a_download_ends_with_its_cancel(tmp_path: Path, kind: str) -> None:
    with SERVERS[kind]() as server:
        assert seconds_to_cancel(server.url, tmp_path, server.reached) < 1
    assert list(tmp_path.iterdir()) == []


def test_a_handshake_of_tls_that_is_not_answered_ends_with_its_cancel(tmp_path: Path) -> None:
    with SERVERS["no answer"]() as server:
        assert seconds_to_cancel(server.url.replace("http:", "https:"), tmp_path, server.reached) < 1


@contextmanager
def black_hole() -> Iterator[str]:
    """The URL of an address that answers no attempt to connect: its queue is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/a"


def test_a_download_that_does_not_connect_ends_with_its_cancel(tmp_path: Path) -> None:
    at_once = threading.Event()
    at_once.set()
    with black_hole() as url:
        assert seconds_to_cancel(url, tmp_path, at_once) < 1


def test_a_cancel_and_a_close_end_a_dripping_download_of_a_runtime(tmp_path: Path) -> None:
    with SERVERS["a dripping body"]() as first, SERVERS["a dripping body"]() as second:
        with LocalRuntime(lambda invocation, sender: "") as runtime, peer_of(runtime) as peer:
            for server in (first, second):
                url = {"download_url": server.url, "working_dir": str(tmp_path)}
                peer.start("true", pre_execution_downloadables=[url])
                assert server.reached.wait(PATIENCE)
                if server is first:
                    began = time.monotonic()
                    peer.say("cancel_message")
                    assert peer.hear()["error"] == "Request cancelled"
                    assert time.monotonic() - began < 1
            began = time.monotonic()
            runtime.close()
            assert time.monotonic() - began < 1
    assert list(tmp_path.iterdir()) == []


def test_an_upload_ends_with_the_session(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    with SERVERS["no answer"]() as server:
        uploads = Uploads()
        uploads.add(Upload(tmp_path / "a", server.url, "text/plain", lambda _: None))
        assert server.reached.wait(PATIENCE)
        began = time.monotonic()
        uploads.close()
        assert time.monotonic() - began < 1
        assert not any(thread.is_alive() for thread in uploads._threads)


@pytest.mark.parametrize("length", [b"abc", b"-1", b"+5", b"0x10", b"1e3", b"9" * 5000, "٣".encode()])
def test_a_length_that_is_none_is_an_error_with_a_reason(tmp_path: Path, length: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: " + length + b"\r\n\r\n"
    with Server(head, drips=False) as server:
        with pytest.raises(DownloadError, match="^Download failed: the Content-Length of the answer is not valid$"):
            get(server.url, tmp_path)


def test_a_download_that_announces_too_much_is_refused_before_it_comes(tmp_path: Path) -> None:
    with SERVERS["a silent body"]() as server, pytest.raises(DownloadError, match="limit of 100 bytes"):
        get(server.url, tmp_path, limit=100)


def test_the_reason_of_a_status_is_text_alone(tmp_path: Path) -> None:
    """A server chooses it; terminals and logs are where it may end."""
    head = b"HTTP/1.1 404 No\x1b[2J\tnews\x9b" + b"x" * 200 + b"\r\nContent-Length: 0\r\n\r\n"
    with Server(head, drips=False) as server, pytest.raises(DownloadError) as caught:
        get(server.url, tmp_path)
    assert str(caught.value) == "Download failed: 404 No[2Jnews" + "x" * 71


def test_a_url_of_many_megabytes_is_not_kept(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="the URL is longer than 65536 characters"):
        get("http://127.0.0.1:1/" + "x" * 10**7, tmp_path)


def test_a_pipe_in_the_place_of_an_artifact_holds_no_upload_up(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe")
    results: list[object] = []
    told = threading.Event()
    uploads = Uploads()
    uploads.add(
        Upload(tmp_path / "pipe", "http://127.0.0.1:1/", "text/plain", lambda why: (results.append(why), told.set())[1])
    )
    assert told.wait(PATIENCE)
    uploads.close()
    assert results == ["Not a regular file"]
