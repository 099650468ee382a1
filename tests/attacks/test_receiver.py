"""A runtime that asks for uploads which were made to break the one who receives them."""

from __future__ import annotations

import errno
import selectors
import socket
import threading
import time
import urllib.parse
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any, Optional

import pytest

from runtimeuse_sync.local import ArtifactReceiver, _put_server
from runtimeuse_sync.local import receiver as _receiver
from runtimeuse_sync.messages import ArtifactUploadResult
from tests.local.test_receiver import put, request, tree
from tests.support import wait_until


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "saved"


@pytest.fixture
def receiver(folder: Path) -> Iterator[ArtifactReceiver]:
    with ArtifactReceiver(folder) as receiver:
        yield receiver


def say(target: ArtifactUploadResult, length: str, body: bytes = b"") -> bytes:
    """PUT with a length of one's own, all at once; the status line of the answer."""
    parts = urllib.parse.urlsplit(target.presigned_url)
    head = f"PUT {parts.path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode()
    with socket.create_connection((parts.hostname, parts.port), timeout=20) as client:
        client.sendall(head + body)
        return client.recv(1000).partition(b"\r\n")[0]


def is_taken(target: ArtifactUploadResult) -> bool:
    try:
        return say(target, "1", b"x") == b"HTTP/1.1 200 OK"
    except OSError:  # cut off while it sent
        return False


def test_10000_files_of_one_name_take_as_long_each_as_the_first(receiver: ArtifactReceiver) -> None:
    began = time.monotonic()
    names = {
        receiver._expected[receiver(request("a.txt", f"/{n}/a.txt")).presigned_url[-43:]].target.name
        for n in range(10_000)
    }
    assert names == {"a.txt", *(f"a-{n}.txt" for n in range(2, 10_001))}
    assert time.monotonic() - began < 20


def test_numbered_names_that_are_taken_are_passed_over(receiver: ArtifactReceiver, folder: Path) -> None:
    for place, name in enumerate(["a.txt", "a-2.txt", "a.txt", "a.txt", "a-2.txt"]):
        put(receiver(request(name, f"/{place}/{name}")), str(place).encode())
    assert tree(folder) == {
        "a.txt": b"0",
        "a-2.txt": b"1",
        "a-3.txt": b"2",
        "a-4.txt": b"3",
        "a-2-2.txt": b"4",
    }


@pytest.mark.parametrize(
    ("name", "saved"),
    [
        ("a\nb.txt", "a_b.txt"),
        ("\x1b]0;title\x07.txt", "_]0;title_.txt"),
        ("a\x9b2J", "a_2J"),
        ("gpj.\u202eexe", "gpj._exe"),
        ("\ud800.txt", "_.txt"),
        ("sub\r/a", "sub_/a"),
        ("café ✓.txt", "café ✓.txt"),
    ],
)
def test_a_name_is_saved_without_what_a_terminal_obeys(
    receiver: ArtifactReceiver, folder: Path, name: str, saved: str
) -> None:
    assert put(receiver(request(name))) == 200
    assert tree(folder) == {saved: b"content"}
    assert receiver.saved == {f"/out/{name}": folder / saved}


@pytest.mark.parametrize("length", ["9" * 5000, "9" * 20, "9" * 19])
def test_an_absurd_length_is_an_answer_and_the_url_stays_valid(
    receiver: ArtifactReceiver, folder: Path, length: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiver, "_max_file_size", 10**9)
    target = receiver(request("a"))
    assert say(target, length) == f"HTTP/1.1 413 {HTTPStatus(413).phrase}".encode()
    assert put(target) == 200
    assert tree(folder) == {"a": b"content"}


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), ValueError(), RuntimeError()])
def test_whatever_goes_wrong_leaves_the_url_valid(
    receiver: ArtifactReceiver, folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: Any) -> bool:
        raise error

    target = receiver(request("a"))
    with monkeypatch.context() as patch:
        patch.setattr(_receiver, "_copy", fail)
        assert say(target, "7", b"content") in (b"HTTP/1.1 500 Internal Server Error", b"")
    assert put(target) == 200
    assert tree(folder) == {"a": b"content"}


def test_a_full_disk_is_heard_of_by_a_client_that_sends_all_before_it_listens(
    receiver: ArtifactReceiver, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were its body not read, the connection would be reset while it sends, and the answer lost."""

    def fail(*_: Any) -> bool:
        raise OSError(errno.ENOSPC, "No space left on device")

    target = receiver(request("a"))
    with monkeypatch.context() as patch:
        patch.setattr(_receiver, "_copy", fail)
        assert put(target, bytes(50_000_000)) == 500
    assert put(target) == 200


def test_a_refused_body_is_not_read_for_ever(receiver: ArtifactReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_put_server, "_LINGER", 0.2)
    monkeypatch.setattr(receiver, "_max_file_size", 1)
    parts = urllib.parse.urlsplit(receiver(request("a")).presigned_url)
    with socket.create_connection((parts.hostname, parts.port), timeout=20) as client:
        client.sendall(f"PUT {parts.path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n".encode())
        give_up = time.monotonic() + 20
        with pytest.raises(OSError, match="reset|pipe"):
            while time.monotonic() < give_up:
                client.sendall(b"x")
                time.sleep(0.01)


@pytest.mark.parametrize("more", ["Transfer-Encoding: chunked", "Content-Length: 3"])
def test_a_body_of_two_lengths_is_refused(receiver: ArtifactReceiver, folder: Path, more: str) -> None:
    target = receiver(request("a.txt"))
    answer = say(target, f"13\r\n{more}", b"3\r\nabc\r\n0\r\n\r\n")
    assert answer == b"HTTP/1.1 411 Length Required"
    assert tree(folder) == {}
    put(target, b"abc")


def test_connections_that_say_nothing_are_bounded(receiver: ArtifactReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_put_server, "_MOST_CONNECTIONS", 5)
    target = receiver(request("a.txt"))
    parts = urllib.parse.urlsplit(target.presigned_url)
    before = threading.active_count()
    clients = [socket.create_connection((parts.hostname, parts.port)) for _ in range(20)]
    with socket.create_connection((parts.hostname, parts.port), timeout=20) as late:
        assert late.recv(1000).startswith(b"HTTP/1.1 503 ")
    assert threading.active_count() <= before + 5
    for client in clients:
        client.close()
    wait_until(lambda: is_taken(target))


def test_entering_it_twice_is_an_error_and_leaves_nothing_behind(receiver: ArtifactReceiver, folder: Path) -> None:
    with pytest.raises(RuntimeError, match="started already"):
        receiver.__enter__()
    assert put(receiver(request("a"))) == 200


def test_it_may_be_entered_again_after_its_end(folder: Path) -> None:
    receiver = ArtifactReceiver(folder)
    for _ in range(2):
        with receiver:
            assert put(receiver(request("a"))) == 200


def test_a_receiver_that_waits_is_not_woken(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[Optional[float]] = []
    select = selectors.DefaultSelector.select

    def counted(selector: Any, timeout: Optional[float] = None) -> Any:
        waits.append(timeout)
        return select(selector, timeout)

    monkeypatch.setattr(selectors.DefaultSelector, "select", counted)
    with ArtifactReceiver(folder):
        time.sleep(0.3)
        assert waits == [None]


def test_no_descriptor_for_a_connection_is_no_end(receiver: ArtifactReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = threading.Event()
    accept = socket.socket.accept

    def scarce(listener: socket.socket) -> Any:
        if not failed.is_set():
            failed.set()
            raise OSError(errno.EMFILE, "Too many open files")
        return accept(listener)

    monkeypatch.setattr(socket.socket, "accept", scarce)
    assert put(receiver(request("a"))) == 200
    assert failed.is_set()
