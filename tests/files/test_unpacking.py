"""Archives of a sandbox that means harm."""

from __future__ import annotations

import io
import os
import random
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtimeuse_sync._files.sandbox import SandboxError
from runtimeuse_sync._files.unpacking import unpack


def member(name: str, data: bytes = b"", **fields: Any) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def archive(*members: tarfile.TarInfo, format: int = tarfile.GNU_FORMAT) -> bytes:  # noqa: A002
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=format) as tar:
        for info in members:
            tar.addfile(info, io.BytesIO(b"x" * info.size))
    return file.getvalue()


def chunks(data: bytes, size: int = 700) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


def unpacked(data: bytes, tmp_path: Path, max_files: int = 10) -> list[str]:
    unpack(chunks(data), tmp_path / "root", max_files=max_files)
    return sorted(str(path.relative_to(tmp_path / "root")) for path in (tmp_path / "root").rglob("*"))


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_what_is_fine(tmp_path: Path, format: int) -> None:  # noqa: A002
    data = archive(
        member(".", type=tarfile.DIRTYPE), member("./a/b", b"12"), member("l" * 90 + "/" + "m" * 90), format=format
    )
    assert unpacked(data, tmp_path) == ["a", "a/b", "l" * 90, "l" * 90 + "/" + "m" * 90]
    assert (tmp_path / "root" / "a" / "b").read_bytes() == b"xx"


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_long_name_with_odd_characters(tmp_path: Path, format: int) -> None:  # noqa: A002
    name = "é\n" * 60 + "/" + "ü" * 100
    assert unpacked(archive(member(name), format=format), tmp_path)[-1] == name


def test_set_user_id_is_not_kept(tmp_path: Path) -> None:
    unpacked(archive(member("a", mode=0o6755)), tmp_path)
    assert (tmp_path / "root" / "a").stat().st_mode & 0o7777 == 0o755


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/x", "a/..", "//x", "x/" * 50 + "../x"])
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.DIRTYPE])
def test_what_leads_out(tmp_path: Path, name: str, kind: bytes) -> None:
    with pytest.raises(SandboxError, match="leads out"):
        unpacked(archive(member(name, type=kind)), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} <= {"root"}


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"S", b"V", b"M"]
)
def test_what_is_no_file(tmp_path: Path, kind: bytes) -> None:
    with pytest.raises(SandboxError, match="a link, a device"):
        unpacked(archive(member("x", type=kind, linkname="/etc/passwd")), tmp_path)


def test_more_than_was_allowed(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="more than 2 files"):
        unpacked(archive(member("a"), member("b"), member("c")), tmp_path, max_files=2)


def test_folders_that_a_path_implies_are_counted(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="more than 10 files"):
        unpacked(archive(*(member(f"{n}/a/b/c/d/f") for n in range(3))), tmp_path)


def test_folders_nested_too_deep(tmp_path: Path) -> None:
    """Which whoever makes or removes a tree by recursion could not."""
    assert len(unpacked(archive(member("a/" * 199 + "f")), tmp_path, max_files=200)) == 200
    with pytest.raises(SandboxError, match="nested more than 200 deep"):
        unpacked(archive(member("a/" * 1500 + "f")), tmp_path / "other", max_files=10_000)


def test_a_path_twice(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="one path twice"):
        unpacked(archive(member("a"), member("a")), tmp_path)


def test_a_file_as_a_folder(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="one path twice"):
        unpacked(archive(member("a"), member("a/b")), tmp_path)


def test_a_name_that_would_fill_the_memory(tmp_path: Path) -> None:
    header = member("././@LongLink", type=tarfile.GNUTYPE_LONGNAME, size=2**40).tobuf(tarfile.GNU_FORMAT)
    with pytest.raises(SandboxError, match="a name that is too long"):
        unpacked(header, tmp_path)


@pytest.mark.parametrize(
    "records", [b"99 path=x\n", b"x", b"0 path=x\n", b"12 size=9999\n", b"22 GNU.sparse.major=1\n", b"9 path=x"]
)
def test_records_that_are_odd(tmp_path: Path, records: bytes) -> None:
    header = member("x", type=tarfile.XHDTYPE, size=len(records)).tobuf(tarfile.GNU_FORMAT)
    with pytest.raises(SandboxError, match="damaged"):
        unpacked(header + records.ljust(512, b"\0") + archive(member("a")), tmp_path)


@pytest.mark.parametrize("size", [-1, -(2**50)])
def test_a_size_below_zero(tmp_path: Path, size: int) -> None:
    with pytest.raises(SandboxError, match="damaged"):
        unpacked(member("x", size=size).tobuf(tarfile.GNU_FORMAT), tmp_path)


def test_an_archive_that_ends_too_early(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="ends too early"):
        unpacked(archive(member("a", b"1" * 2000))[:1500], tmp_path)


SOUND = archive(
    member("a", b"12"), member("b/c", b"3" * 600), member("n" * 150, b""), member("d", type=tarfile.DIRTYPE)
)


@given(st.integers(0, 2**32), st.integers(1, 6))
def test_no_damage_leads_out_or_to_another_error(
    tmp_path_factory: pytest.TempPathFactory, seed: int, flips: int
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    dice, data = random.Random(seed), bytearray(SOUND[:5000])
    for _ in range(flips):
        data[dice.randrange(len(data))] = dice.randrange(256)
    try:
        unpacked(bytes(data), folder)
    except (SandboxError, OSError):
        pass
    assert {path.name for path in folder.iterdir()} <= {"root"}
    assert not os.path.lexists(folder / "root" / "link")
