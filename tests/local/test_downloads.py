from __future__ import annotations

import contextlib
import io
import os
import shutil
import stat
import threading
import zipfile
from pathlib import Path
from typing import Any, Union

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtimeuse_sync.exceptions import CancelledException
from runtimeuse_sync.local._transfers import archives
from runtimeuse_sync.local._transfers.downloads import DownloadError, fetch
from runtimeuse_sync.messages import RuntimeEnvironmentDownloadableInterface

from .conftest import FileServer

LIMIT = 10**6


def get(url: str, folder: Path, *, limit: int = LIMIT, cancelled: bool = False) -> None:
    event = threading.Event()
    if cancelled:
        event.set()
    item = RuntimeEnvironmentDownloadableInterface(download_url=url, working_dir=str(folder))
    fetch(item, limit=limit, cancelled=event)


def archive(*members: tuple[Union[str, zipfile.ZipInfo], bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members:
            file.writestr(name, content)
    return buffer.getvalue()


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_file_gets_the_name_that_its_url_ends_in(file_server: FileServer, tmp_path: Path) -> None:
    file_server.files["/deep/my%20data.bin"] = ("text/plain", b"\0\xff")
    get(file_server.url("/deep/my%20data.bin?X-Signature=abc"), tmp_path / "made" / "here")
    assert tree(tmp_path) == {"made/here/my data.bin": b"\0\xff"}


def test_a_url_without_a_name_makes_a_download(file_server: FileServer, tmp_path: Path) -> None:
    file_server.files["/"] = ("text/plain", b"x")
    get(file_server.url("/"), tmp_path)
    assert tree(tmp_path) == {"download": b"x"}


def test_a_redirect_is_followed(file_server: FileServer, tmp_path: Path) -> None:
    file_server.files["/here.txt"] = ("redirect", file_server.url("/there").encode())
    file_server.files["/there"] = ("text/plain", b"x")
    get(file_server.url("/here.txt"), tmp_path)
    assert tree(tmp_path) == {"here.txt": b"x"}


def test_a_redirect_to_a_file_of_this_machine_is_not(file_server: FileServer, tmp_path: Path) -> None:
    file_server.files["/here"] = ("redirect", b"file:///etc/hostname")
    with pytest.raises(DownloadError):
        get(file_server.url("/here"), tmp_path)


@pytest.mark.parametrize(("path", "content_type"), [("/a.zip", "text/plain"), ("/main", "application/zip")])
def test_an_archive_is_unpacked(file_server: FileServer, tmp_path: Path, path: str, content_type: str) -> None:
    file_server.files[path] = (
        content_type,
        archive(("top.txt", b"1"), ("sub/", b""), ("sub/b.txt", b"2"), ("new/c", b"")),
    )
    get(file_server.url(path), tmp_path)
    assert tree(tmp_path) == {"new/c": b"", "sub/b.txt": b"2", "top.txt": b"1"}


def test_a_program_in_an_archive_stays_one_and_a_file_gets_the_usual_rights(
    file_server: FileServer, tmp_path: Path
) -> None:
    program = zipfile.ZipInfo("run.sh")
    program.external_attr = (stat.S_IFREG | 0o755) << 16
    file_server.files["/a.zip"] = ("", archive((program, b"x"), ("plain", b"x")))
    get(file_server.url("/a.zip"), tmp_path)
    (tmp_path / "usual").touch()
    usual = (tmp_path / "usual").stat().st_mode
    assert (tmp_path / "plain").stat().st_mode == usual
    assert (tmp_path / "run.sh").stat().st_mode == usual | 0o111


def test_a_document_that_is_a_zip_inside_is_a_file(file_server: FileServer, tmp_path: Path) -> None:
    file_server.files["/a.docx"] = ("application/octet-stream", archive(("x", b"1")))
    get(file_server.url("/a.docx"), tmp_path)
    assert list(tree(tmp_path)) == ["a.docx"]


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize(
    ("member", "content"),
    [
        ("../out.txt", b"x"),
        ("sub/../../out.txt", b"x"),
        ("/abs.txt", b"x"),
        ("..\\out.txt", b"x"),
        (link("link"), b"/etc"),
    ],
    ids=["parent", "deep parent", "absolute", "backslash", "symlink"],
)
def test_an_archive_that_leads_out_is_refused_whole(
    file_server: FileServer, tmp_path: Path, member: Any, content: bytes
) -> None:
    file_server.files["/a.zip"] = ("", archive(("first.txt", b"1"), (member, content)))
    folder = tmp_path / "in"
    with pytest.raises(DownloadError, match="archive holds"):
        get(file_server.url("/a.zip"), folder)
    assert tree(tmp_path) == {}


def test_a_link_that_is_already_there_leads_nowhere(file_server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "in").mkdir()
    (tmp_path / "in/link").symlink_to(tmp_path / "outside")
    (tmp_path / "in/file").symlink_to(tmp_path / "outside/file")
    file_server.files["/a.zip"] = ("", archive(("link/x", b"1")))
    with pytest.raises(DownloadError, match="outside"):
        get(file_server.url("/a.zip"), tmp_path / "in")
    file_server.files["/file"] = ("text/plain", b"new")
    get(file_server.url("/file"), tmp_path / "in")
    assert tree(tmp_path / "outside") == {}
    assert (tmp_path / "in/file").read_bytes() == b"new"


@pytest.mark.parametrize("name", ["..%2Fx", "%2e%2e", "a%00b", "a%5Cb"])
def test_a_name_that_leads_out_is_refused(file_server: FileServer, tmp_path: Path, name: str) -> None:
    file_server.files[f"/{name}"] = ("text/plain", b"x")
    with pytest.raises(DownloadError, match="not a file name"):
        get(file_server.url(f"/{name}"), tmp_path / "in")
    assert tree(tmp_path) == {}


def test_more_than_the_limit_is_not_kept(file_server: FileServer, tmp_path: Path) -> None:
    file_server.files["/big"] = ("text/plain", b"x" * 101)
    with pytest.raises(DownloadError, match="limit of 100 bytes"):
        get(file_server.url("/big"), tmp_path, limit=100)
    assert tree(tmp_path) == {}


def test_an_archive_that_unpacks_to_more_than_the_limit_is_stopped(file_server: FileServer, tmp_path: Path) -> None:
    body = archive(("a", b"0" * 6000), ("b", b"0" * 6000))
    assert len(body) < 10_000
    file_server.files["/bomb.zip"] = ("", body)
    with pytest.raises(DownloadError, match="more than the limit"):
        get(file_server.url("/bomb.zip"), tmp_path, limit=10_000)
    assert list(tree(tmp_path)) == ["a"]


@pytest.mark.parametrize(
    "body",
    [b"no zip", archive(("a", b"1" * 1000))[:-50], archive(("a", os.urandom(500))).replace(b"PK\1\2", b"PK\0\0")],
    ids=["no zip", "cut short", "without its directory"],
)
def test_a_damaged_archive_is_refused(file_server: FileServer, tmp_path: Path, body: bytes) -> None:
    file_server.files["/a.zip"] = ("", body)
    with pytest.raises(DownloadError, match="damaged"):
        get(file_server.url("/a.zip"), tmp_path)
    assert tree(tmp_path) == {}


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("file:///etc/passwd", "not an http or https one"),
        ("ftp://127.0.0.1/x", "not an http or https one"),
        ("http://[x", "not valid"),
        ("http://127.0.0.1:x/", "not valid"),
        ("nonsense", "not an http or https one"),
        ("http://127.0.0.1:1/secret", "Connection refused"),
    ],
)
def test_a_url_that_does_not_work_is_not_quoted(tmp_path: Path, url: str, reason: str) -> None:
    with pytest.raises(DownloadError, match=f"^Download failed: .*{reason}$") as caught:
        get(url, tmp_path)
    assert "secret" not in str(caught.value)


def test_a_status_is_told(file_server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="^Download failed: 404 Not Found$"):
        get(file_server.url("/nothing?key=secret"), tmp_path)


def test_a_folder_that_cannot_be_made_is_told(file_server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DownloadError, match="exists|directory"):
        get(file_server.url("/x"), tmp_path / "file")


def test_cancelling_leaves_nothing(file_server: FileServer, tmp_path: Path) -> None:
    file_server.files["/big"] = ("text/plain", b"x" * 1000)
    file_server.files["/a.zip"] = ("", archive(("a", b"x" * 1000)))
    for path in ("/big", "/a.zip"):
        with pytest.raises(CancelledException):
            get(file_server.url(path), tmp_path, cancelled=True)
    assert tree(tmp_path) == {}


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_hostile_archive_is_unpacked_inside_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    body = bytearray(archive(("a/b.txt", b"1" * 50), ("c", b"2")))
    for at in data.draw(st.lists(st.integers(0, len(body) - 1), min_size=1, max_size=6)):
        body[at] = data.draw(st.integers(0, 255))
    top = tmp_path_factory.mktemp("hostile")
    (top / "a.zip").write_bytes(body)
    (top / "in").mkdir()
    with contextlib.suppress(archives.ArchiveError, OSError):
        archives.unpack(top / "a.zip", top / "in", limit=LIMIT, cancelled=threading.Event())
    outside = [p for p in top.rglob("*") if top / "in" not in (p, *p.parents) and p != top / "a.zip"]
    assert outside == []
    shutil.rmtree(top)
