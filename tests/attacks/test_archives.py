"""Archives that were made to hurt: what they take of memory, disk and time is bounded before they get it."""

from __future__ import annotations

import io
import struct
import threading
import time
import tracemalloc
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from runtimeuse_sync.exceptions import CancelledException
from runtimeuse_sync.local._cancel_event import CancelEvent
from runtimeuse_sync.local._transfers import archives
from runtimeuse_sync.local._transfers.archives import ArchiveError, unpack

MIB = 2**20
METHODS = pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)


def make(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def extract(path: Path, folder: Path, *, limit: int = MIB) -> None:
    folder.mkdir(exist_ok=True)
    unpack(path, folder, limit=limit, cancelled=threading.Event())


def patched(path: Path, old: bytes, new: bytes) -> Path:
    path.write_bytes(path.read_bytes().replace(old, new))
    return path


@contextmanager
def peak_below(most: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


@METHODS
def test_every_kind_of_compression_comes_out_whole(tmp_path: Path, method: int) -> None:
    content = b"".join(struct.pack("<L", n) for n in range(100_000)) + bytes(300_000)
    extract(make(tmp_path / "a.zip", {"a": content, "empty": b""}, method), tmp_path / "in")
    assert (tmp_path / "in/a").read_bytes() == content
    assert (tmp_path / "in/empty").read_bytes() == b""


@pytest.mark.slow
@METHODS
def test_a_bomb_takes_no_more_memory_than_a_piece(tmp_path: Path, method: int) -> None:
    """By bzip2 and LZMA, a few KiB that are decompressed in one go are gigabytes."""
    path = make(tmp_path / "a.zip", {"bomb": bytes(64 * MIB)}, method)
    # LZMA remembers the last 8 MiB.
    with peak_below(16 * MIB), pytest.raises(ArchiveError, match="more than the limit"):
        extract(path, tmp_path / "in")
    assert list((tmp_path / "in").iterdir()) == []


def test_bombs_in_several_members_share_one_limit(tmp_path: Path) -> None:
    path = make(tmp_path / "a.zip", {str(n): bytes(MIB) for n in range(5)}, zipfile.ZIP_BZIP2)
    with pytest.raises(ArchiveError, match="more than the limit"):
        extract(path, tmp_path / "in", limit=3 * MIB)
    assert sum(file.stat().st_size for file in (tmp_path / "in").iterdir()) == 3 * MIB


def test_lzma_does_not_say_how_much_memory_we_take(tmp_path: Path) -> None:
    """Its dictionary may be 4 GiB large, by four bytes of the archive."""
    path = make(tmp_path / "a.zip", {"a": b"x"}, zipfile.ZIP_LZMA)
    patched(path, b"\x05\x00\x5d" + struct.pack("<L", 8 * MIB), b"\x05\x00\x5d" + struct.pack("<L", 2**32 - 1))
    with pytest.raises(ArchiveError, match="way that is not supported"):
        extract(path, tmp_path / "in")


def test_a_size_that_is_a_lie_is_found_out(tmp_path: Path) -> None:
    path = patched(make(tmp_path / "a.zip", {"a": b"x" * 1000}), struct.pack("<L", 1000), struct.pack("<L", 10))
    with pytest.raises(ArchiveError, match="damaged"):
        extract(path, tmp_path / "in")
    assert list((tmp_path / "in").iterdir()) == []


def test_content_that_is_not_what_was_packed_is_found_out(tmp_path: Path) -> None:
    path = patched(make(tmp_path / "a.zip", {"a": b"content"}, zipfile.ZIP_STORED), b"content", b"changed")
    with pytest.raises(ArchiveError, match="damaged"):
        extract(path, tmp_path / "in")


def test_members_are_counted_before_they_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "_MOST_MEMBERS", 1000)
    extract(make(tmp_path / "a.zip", {str(n): b"" for n in range(1000)}), tmp_path / "in")
    path = make(tmp_path / "b.zip", {str(n): b"" for n in range(1001)})
    with pytest.raises(ArchiveError, match="more than 1000 files"):
        extract(path, tmp_path / "in")


def test_a_directory_is_not_read_whatever_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "_LARGEST_DIRECTORY", 1000)
    path = make(tmp_path / "a.zip", {"x" * 2000: b""})
    with pytest.raises(ArchiveError, match="names that are too long"):
        extract(path, tmp_path / "in")


def test_an_encrypted_archive_says_so(tmp_path: Path) -> None:
    path = make(tmp_path / "a.zip", {"a": b"x"}, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    for signature, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(signature) + at] |= 1
    path.write_bytes(data)
    with pytest.raises(ArchiveError, match="^the archive is encrypted$"):
        extract(path, tmp_path / "in")


def test_a_zip64_archive_is_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive, archive.open("a", "w", force_zip64=True) as member:
        member.write(b"content")
    extract(tmp_path / "a.zip", tmp_path / "in")
    assert (tmp_path / "in/a").read_bytes() == b"content"


@pytest.mark.parametrize("extra", [b"\1\0\x08\0" + b"\xff" * 8, b"\1\0\x10\0" + b"\xff" * 16, b"\1\0\xff\xff"])
def test_zip64_sizes_beyond_all_bounds_are_refused(tmp_path: Path, extra: bytes) -> None:
    info = zipfile.ZipInfo("a")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, b"x")
        info.extra = extra
        info.file_size = info.compress_size = 2**32 - 1 if len(extra) > 16 else 1
    with pytest.raises(ArchiveError, match="damaged|limit"):
        data = (tmp_path / "a.zip").read_bytes()
        at = data.rindex(b"PK\1\2")
        (tmp_path / "a.zip").write_bytes(
            data[: at + 20] + b"\xff" * 8 + data[at + 28 :]  # both sizes, as those that stand in the extra field
        )
        extract(tmp_path / "a.zip", tmp_path / "in")


def test_an_unknown_way_of_compression_says_so(tmp_path: Path) -> None:
    path = make(tmp_path / "a.zip", {"a": b"x"}, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    for signature, at in ((b"PK\3\4", 8), (b"PK\1\2", 10)):
        data[data.index(signature) + at] = 9
    path.write_bytes(data)
    with pytest.raises(ArchiveError, match="way that is not supported"):
        extract(path, tmp_path / "in")


@pytest.mark.parametrize("name", ["C:\\x", "C:/x", "\\x", "\\\\server\\share\\x", "d:\\..\\x"])
def test_a_path_of_windows_leads_out(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArchiveError, match="outside its folder"):
        extract(make(tmp_path / "a.zip", {name: b"x"}), tmp_path / "in")


@pytest.mark.parametrize("name", ["C:x", "a:b", "a/b:c", "file:stream"])
def test_a_colon_leads_out_on_windows_alone(name: str) -> None:
    assert archives._leads_out_on_windows(name, is_windows=True)
    assert not archives._leads_out_on_windows(name, is_windows=False)


def test_folders_inside_of_each_other_have_an_end(tmp_path: Path) -> None:
    extract(make(tmp_path / "a.zip", {"d/" * 190 + "x": b""}), tmp_path / "in")
    with pytest.raises(ArchiveError, match="folders inside of each other"):
        extract(make(tmp_path / "b.zip", {"d/" * 1500 + "x": b""}), tmp_path / "in")


def test_an_archive_of_an_archive_s_bytes_is_one_file(tmp_path: Path) -> None:
    """Signatures of members in a member's content are not counted as members."""
    inner = make(tmp_path / "inner.zip", {str(n): b"" for n in range(3000)})
    extract(make(tmp_path / "a.zip", {"inner.zip": inner.read_bytes()}, zipfile.ZIP_STORED), tmp_path / "in")
    assert (tmp_path / "in/inner.zip").read_bytes() == inner.read_bytes()


class SetAfter(CancelEvent):
    """Set when it has been asked so many times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.left = times

    def is_set(self) -> bool:
        self.left -= 1
        return self.left < 0


@pytest.mark.parametrize("times", [0, 100, 2100, 3000])
def test_many_members_are_cancelled_between_any_two(tmp_path: Path, times: int) -> None:
    """While they are checked (the first 2,000 questions), and while they are unpacked."""
    path = make(tmp_path / "a.zip", {str(n): b"" for n in range(2000)})
    (tmp_path / "in").mkdir()
    with pytest.raises(CancelledException):
        unpack(path, tmp_path / "in", limit=MIB, cancelled=SetAfter(times))
    assert len(list((tmp_path / "in").iterdir())) <= max(0, times - 2000)


@pytest.mark.slow
@METHODS
def test_one_large_member_is_cancelled_within_a_second(tmp_path: Path, method: int) -> None:
    path = make(tmp_path / "a.zip", {"a": bytes(64 * MIB)}, method)
    (tmp_path / "in").mkdir()
    event, outcome = CancelEvent(), list[Any]()

    def run() -> None:
        try:
            unpack(path, tmp_path / "in", limit=2**40, cancelled=event)
        except CancelledException as error:
            outcome.append(error)

    event.set()
    thread = threading.Thread(target=run)
    began = time.monotonic()
    thread.start()
    thread.join(10)
    assert time.monotonic() - began < 1
    assert len(outcome) == 1
    assert list((tmp_path / "in").iterdir()) == []


def test_damaged_bytes_of_every_kind_are_damaged(tmp_path: Path) -> None:
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", method) as archive:
            archive.writestr("a", bytes(range(256)) * 20)
        data = bytearray(buffer.getvalue())
        data[60:90] = b"\xff" * 30
        (tmp_path / "a.zip").write_bytes(data)
        with pytest.raises(ArchiveError, match="damaged"):
            extract(tmp_path / "a.zip", tmp_path / "in")
