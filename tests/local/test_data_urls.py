from __future__ import annotations

import base64
import io
import threading
import tracemalloc
import urllib.parse
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtimeuse_sync.exceptions import CancelledException
from runtimeuse_sync.local._transfers import data_urls
from runtimeuse_sync.local._transfers.downloads import DownloadError, fetch
from runtimeuse_sync.messages import RuntimeEnvironmentDownloadableInterface

LIMIT = 10**6


def get(url: str, folder: Path, *, limit: int = LIMIT) -> dict[str, bytes]:
    item = RuntimeEnvironmentDownloadableInterface(download_url=url, working_dir=str(folder))
    fetch(item, limit=limit, cancelled=threading.Event())
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def decoded(url: str, limit: int = LIMIT) -> bytes:
    target = io.BytesIO()
    data_urls.write(url, target, limit=limit, cancelled=threading.Event())
    return target.getvalue()


def test_the_bytes_are_the_url_and_the_name_is_its_end(tmp_path: Path) -> None:
    assert get("data:text/plain,hello%20there/a%20file.txt", tmp_path) == {"a file.txt": b"hello there/a file.txt"}


def test_an_archive_whose_comment_is_its_name_is_unpacked_and_removed(tmp_path: Path) -> None:
    """As a client sends a folder: both a valid name and a valid archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("sub/a.txt", b"content")
        archive.comment = b"/x.zip"
    body = buffer.getvalue()[: -len(b"/x.zip")]
    url = "data:application/zip," + urllib.parse.quote(body, safe="") + "/x.zip"
    assert get(url, tmp_path) == {"sub/a.txt": b"content"}


def test_the_type_does_not_make_an_archive(tmp_path: Path) -> None:
    assert list(get("data:application/zip,x/a.bin", tmp_path)) == ["a.bin"]


@pytest.mark.parametrize(
    ("url", "body"),
    [
        ("data:,", b""),
        ("data:,a%2Fb", b"a/b"),
        ("data:;base64,aGk=", b"hi"),
        ("data:;base64,aGk", b"hi"),
        ("data:text/plain;charset=utf-8; BASE64 ,aG%6B%3D", b"hi"),
        ("data:;base64,aG\n k=", b"hi"),
        ("DATA:,x?y#z", b"x?y"),
        ("data:a#b,c", b"c"),
        ("data:,é", "é".encode()),
        ("data:,100%,%zz%4", b"100%,%zz%4"),
        ("data:,%00%ff", b"\0\xff"),
    ],
)
def test_what_the_bytes_are(url: str, body: bytes) -> None:
    assert decoded(url) == body


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("data:text/plain,a/b/c.txt", "c.txt"),
        ("data:,a/c.txt?x/y", "c.txt"),
        ("data:,a/c.txt#x/y", "c.txt"),
        ("data:,hello", ",hello"),
        ("data:,x/%c3%a9", "é"),
    ],
)
def test_what_the_name_is(url: str, name: str) -> None:
    assert data_urls.file_name(url) == name


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("data:text/plain", "no comma"),
        ("data:;base64,a!/x", "base64 of the data: URL is not valid"),
        ("data:;base64,a/xyz", "base64 of the data: URL is not valid"),
        ("data:;base64,aGk=aGk=/x", "base64 of the data: URL is not valid"),
        ("data:;base64,a-_b/xxx", "base64 of the data: URL is not valid"),
        ("data:,x/", "not a file name"),
        ("data:,x/..", "not a file name"),
        ("data:,x/a%2Fb", "not a file name"),
        ("data:,x/a%00b", "not a file name"),
        ("data:,x/%ff", "its name is not text"),
        ("data:," + "x" * 10_000, "name is too long"),
        ("data:,x/" + "x" * 256, "File name too long"),
        ("data:,\ud800/x", "the data: URL is not text"),
        ("data:,x/\ud800", "not text"),
        ("data:,x/x.zip", "the archive is damaged"),
    ],
)
def test_what_cannot_be_meant_says_why(tmp_path: Path, url: str, reason: str) -> None:
    with pytest.raises(DownloadError, match=f"^Download failed: .*{reason}"):
        get(url, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["data:," + "x" * 100 + "/a", "data:;base64," + "A" * 200 + "/aaa"])
def test_more_than_the_limit_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(DownloadError, match="limit of 100 bytes"):
        get(url, tmp_path, limit=100)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_url_of_escapes_alone_takes_little_memory() -> None:
    url = "data:," + "%00" * 2_000_000
    with open("/dev/null", "wb") as target:
        tracemalloc.start()
        try:
            data_urls.write(url, target, limit=10**9, cancelled=threading.Event())
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 16 * 2**20


def test_it_can_be_cancelled() -> None:
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(CancelledException):
        data_urls.write("data:,x", io.BytesIO(), limit=LIMIT, cancelled=cancelled)


@given(st.binary(max_size=200), st.integers(3, 20), st.booleans())
def test_any_bytes_come_out_wherever_the_pieces_are_cut(body: bytes, chunk: int, is_base64: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data_urls, "_CHUNK", chunk)
        if is_base64:
            assert decoded("data:;base64," + urllib.parse.quote(base64.b64encode(body))) == body
        else:
            assert decoded("data:," + urllib.parse.quote(body)) == body
