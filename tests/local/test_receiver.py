from __future__ import annotations

import http.client
import socket
import threading
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import pytest

from runtimeuse_sync.local import ArtifactReceiver
from runtimeuse_sync.messages import ArtifactUploadRequestMessageInterface, ArtifactUploadResult


def request(filename: str, filepath: Optional[str] = None) -> ArtifactUploadRequestMessageInterface:
    return ArtifactUploadRequestMessageInterface(filename=filename, filepath=filepath or f"/out/{filename}")


def send(method: str, url: str, body: Any = None, headers: Optional[dict[str, str]] = None) -> int:
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=10)
    try:
        connection.request(method, parts.path, body=body, headers=headers or {})
        return connection.getresponse().status
    finally:
        connection.close()


def put(target: ArtifactUploadResult, body: bytes = b"content") -> int:
    return send("PUT", target.presigned_url, body, {"Content-Type": target.content_type})


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "saved"


@pytest.fixture
def receiver(folder: Path) -> Iterator[ArtifactReceiver]:
    with ArtifactReceiver(folder, roots=["/work/out", "/deep/root/"], max_file_size=1000) as receiver:
        yield receiver


def test_what_is_put_is_saved_under_its_name(receiver: ArtifactReceiver, folder: Path) -> None:
    target = receiver(request("a.csv"))
    assert target.content_type == "text/csv"
    assert put(target) == 200
    assert tree(folder) == {"a.csv": b"content"}
    assert receiver.saved == {"/out/a.csv": folder / "a.csv"}


def test_a_new_version_replaces_the_old(receiver: ArtifactReceiver, folder: Path) -> None:
    for body in (b"one", b"two"):
        put(receiver(request("a.txt")), body)
    assert tree(folder) == {"a.txt": b"two"}


def test_two_files_of_one_name_are_told_apart(receiver: ArtifactReceiver, folder: Path) -> None:
    for n in range(3):
        put(receiver(request("a.txt", f"/out/{n}/a.txt")), str(n).encode())
    assert tree(folder) == {"a.txt": b"0", "a-2.txt": b"1", "a-3.txt": b"2"}


def test_below_a_root_sub_folders_are_kept(receiver: ArtifactReceiver, folder: Path) -> None:
    put(receiver(request("a.txt", "/work/out/sub/a.txt")))
    put(receiver(request("b.txt", "/deep/root/b.txt")))
    assert list(tree(folder)) == ["b.txt", "sub/a.txt"]


@pytest.mark.parametrize("name", ["../a", "/etc/passwd", "sub/../../a", "..", "", "a\0b", "..\\a"])
def test_a_name_that_leads_out_is_refused(receiver: ArtifactReceiver, folder: Path, name: str) -> None:
    with pytest.raises(ValueError, match="leads out of the folder"):
        receiver(request(name, "/elsewhere/x"))
    with pytest.raises(ValueError, match="leads out of the folder"):
        receiver(request("a", "/work/out/../../x"))


def test_a_name_with_folders_makes_them(receiver: ArtifactReceiver, folder: Path) -> None:
    put(receiver(request("sub/a.txt")))
    assert tree(folder) == {"sub/a.txt": b"content"}


def test_a_link_in_the_folder_leads_nowhere(receiver: ArtifactReceiver, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (folder / "link").symlink_to(tmp_path / "outside")
    (folder / "file").symlink_to(tmp_path / "outside/file")
    assert put(receiver(request("link/a"))) == 403
    assert put(receiver(request("file"))) == 200
    assert tree(tmp_path / "outside") == {}


def test_a_url_works_once_and_no_other_does(receiver: ArtifactReceiver, folder: Path) -> None:
    target = receiver(request("a"))
    assert send("PUT", target.presigned_url + "x", b"x") == 404
    assert put(target, b"first") == 200
    assert put(target, b"second") == 404
    assert tree(folder) == {"a": b"first"}


def test_urls_cannot_be_guessed(receiver: ArtifactReceiver) -> None:
    tokens = {receiver(request("a")).presigned_url.rpartition("/")[2] for _ in range(100)}
    assert len(tokens) == 100
    assert min(map(len, tokens)) >= 43


def test_a_file_over_the_limit_is_refused(receiver: ArtifactReceiver, folder: Path) -> None:
    assert put(receiver(request("a")), b"x" * 1001) == 413
    assert put(receiver(request("b")), b"x" * 1000) == 200
    assert list(tree(folder)) == ["b"]


@pytest.mark.parametrize("length", [None, "-1", "x", "1e3", "٣"])
def test_a_length_is_needed(receiver: ArtifactReceiver, length: Optional[str]) -> None:
    target = receiver(request("a"))
    parts = urllib.parse.urlsplit(target.presigned_url)
    header = b"" if length is None else f"Content-Length: {length}\r\n".encode()
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as client:
        client.sendall(f"PUT {parts.path} HTTP/1.1\r\nHost: x\r\n".encode() + header + b"\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 411 ")


def test_a_body_that_breaks_off_leaves_nothing_and_may_be_sent_again(receiver: ArtifactReceiver, folder: Path) -> None:
    target = receiver(request("a"))
    parts = urllib.parse.urlsplit(target.presigned_url)
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as client:
        client.sendall(f"PUT {parts.path} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf".encode())
        client.shutdown(socket.SHUT_WR)
        assert client.recv(100).startswith(b"HTTP/1.1 400 ")
    assert tree(folder) == {}
    assert put(target) == 200


def test_only_put_is_served(receiver: ArtifactReceiver) -> None:
    target = receiver(request("a"))
    for method in ("GET", "POST", "DELETE"):
        assert send(method, target.presigned_url) == 501
    assert put(target) == 200


def test_what_the_disk_refuses_is_a_status(receiver: ArtifactReceiver, folder: Path) -> None:
    (folder / "a").mkdir()
    assert put(receiver(request("a"))) == 500


def test_a_transfer_under_way_is_cut_off_at_the_end(folder: Path) -> None:
    with ArtifactReceiver(folder) as receiver:
        parts = urllib.parse.urlsplit(receiver(request("a")).presigned_url)
        client = socket.create_connection((parts.hostname, parts.port), timeout=10)
        client.sendall(
            f"PUT {parts.path} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n".encode()
        )
        assert client.recv(100).startswith(b"HTTP/1.1 100")
    with client:
        client.recv(1000)
    assert tree(folder) == {}
    receiver.close()


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"roots": "/out"}, TypeError, r"^roots must be a list of strings, such as \['/out'\]; got a str$"),
        ({"roots": [Path("/out")]}, TypeError, "it holds a PosixPath"),
        ({"max_file_size": "x"}, TypeError, "^max_file_size must be .* number of bytes, or None for no limit"),
        ({"max_file_size": 0}, ValueError, "^max_file_size must be .* number of bytes, or None for no limit"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_makes_nothing(
    folder: Path, options: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        ArtifactReceiver(folder, **options)
    assert not folder.exists()


def test_outside_the_with_block_it_says_so(folder: Path) -> None:
    with pytest.raises(RuntimeError, match="`with` block"):
        ArtifactReceiver(folder)(request("a"))


def test_a_url_says_nothing_in_the_log(receiver: ArtifactReceiver, capfd: pytest.CaptureFixture[str]) -> None:
    put(receiver(request("a")))
    assert capfd.readouterr() == ("", "")


def test_many_at_once(receiver: ArtifactReceiver, folder: Path) -> None:
    threads = [threading.Thread(target=lambda n=n: put(receiver(request(f"{n}")), b"x" * n)) for n in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {name: len(body) for name, body in tree(folder).items()} == {str(n): n for n in range(50)}
