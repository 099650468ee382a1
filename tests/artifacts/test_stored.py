"""What all stores have in common, over one in memory: keys, the proof of arrival, files of hostile names."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtimeuse_sync import ArtifactUploadRequestMessageInterface, ArtifactUploadResult
from runtimeuse_sync.artifacts import ArtifactsMissingError, ObstoreArtifacts, S3Artifacts, StoredArtifact
from runtimeuse_sync.artifacts._stored import Artifacts, State


class InMemory(Artifacts):
    """A store that has what it is given."""

    def __init__(self, prefix: str = "", source_id: Optional[str] = None, expires: float = 60.0) -> None:
        super().__init__(prefix, source_id, expires)
        self.objects: dict[str, bytes] = {}
        self.writes: dict[str, int] = {}

    def put(self, key: str, data: bytes) -> None:
        self.objects[key] = data
        self.writes[key] = self.writes.get(key, 0) + 1

    def _signed(self, key: str, content_type: str) -> str:
        return f"https://bucket.example.com/{key}"

    def _state(self, key: str) -> Optional[State]:
        return State(len(self.objects[key]), (self.writes[key],)) if key in self.objects else None

    def _read(self, key: str) -> Iterator[Any]:
        yield from (self.objects[key][:3], self.objects[key][3:])


def offered(artifacts: Artifacts, path: str) -> ArtifactUploadResult:
    return artifacts(ArtifactUploadRequestMessageInterface(filename=path.rpartition("/")[2], filepath=path))


def key(artifacts: Artifacts, path: str) -> str:
    return offered(artifacts, path).presigned_url.partition(".com/")[2]


# --- keys ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prefix", "path", "expected"),
    [
        ("", "/out/a.csv", "out/a.csv"),
        ("runs/{source_id}", "/out/a.csv", "runs/7/out/a.csv"),
        ("/runs/", "out//./a b", "runs/out/a b"),
        ("", "/out/line\nbreak\x1b%", "out/line%0Abreak%1B%25"),
        ("", "/out/\udc80é", "out/%ED%B2%80é"),
    ],
)
def test_a_key_is_the_prefix_and_the_path(prefix: str, path: str, expected: str) -> None:
    assert key(InMemory(prefix, source_id="7"), path) == expected


def test_a_run_has_a_name_of_its_own_unless_it_is_given_one() -> None:
    one, other = InMemory("runs/{source_id}"), InMemory("runs/{source_id}")
    assert one.source_id != other.source_id
    assert key(one, "/a") == f"runs/{one.source_id}/a"
    assert repr(InMemory("runs/{source_id}", "7")) == "<InMemory: runs/7>"


@pytest.mark.parametrize("path", ["", "/", "/out/../../x", "..", "a/.."])
def test_a_name_that_leads_out_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="leads out of where artifacts go"):
        offered(InMemory(), path)


def test_a_name_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="too long for a key"):
        offered(InMemory(), "/out/" + "é" * 600)


def test_the_type_is_guessed_by_the_name() -> None:
    assert offered(InMemory(), "/out/a.csv").content_type == "text/csv"
    assert offered(InMemory(), "/out/a").content_type == "application/octet-stream"


@pytest.mark.parametrize("arguments", [{"prefix": "runs/{run}"}, {"expires": 0}, {"expires": 10**6}])
def test_what_cannot_be_meant_is_refused(arguments: Any) -> None:
    with pytest.raises(ValueError, match=r"^(prefix|expires) "):
        S3Artifacts("bucket", **arguments)


# --- the proof ----------------------------------------------------------------------------------------


def test_what_was_offered_is_waited_for() -> None:
    artifacts = InMemory("runs")
    for name in ("a", "b"):
        offered(artifacts, f"/out/{name}")
    artifacts.put("runs/out/a", b"")
    timer = threading.Timer(0.1, artifacts.put, ("runs/out/b", b"bytes"))
    timer.start()
    assert artifacts.wait(20) == {
        "/out/a": StoredArtifact(path="/out/a", key="runs/out/a", size=0),
        "/out/b": StoredArtifact(path="/out/b", key="runs/out/b", size=5),
    }
    timer.join()


def test_what_was_there_before_proves_nothing() -> None:
    artifacts = InMemory()
    for _ in range(2):  # a run before, and a first upload of this one
        artifacts.put("out/a", b"old")
        offered(artifacts, "/out/a")
        with pytest.raises(ArtifactsMissingError, match=r"1 artifact did not arrive within 0\.01 s") as caught:
            artifacts.wait(0.01)
        assert caught.value.missing == ["/out/a"]
        assert isinstance(caught.value, TimeoutError)
        assert pickle.loads(pickle.dumps(caught.value)).missing == ["/out/a"]
    artifacts.put("out/a", b"old")
    assert artifacts.wait(0.01)["/out/a"].size == 3


def test_nothing_offered_is_nothing_to_wait_for(tmp_path: Path) -> None:
    assert InMemory().wait(0.01) == {}
    assert InMemory().download_to(tmp_path / "new") == {}


# --- out ----------------------------------------------------------------------------------------------


def stored(*paths: str) -> InMemory:
    artifacts = InMemory("runs")
    for path in paths:
        artifacts.put(key(artifacts, path), path.encode("utf-8", "surrogatepass"))
    return artifacts


def test_files_are_saved_by_their_paths(tmp_path: Path) -> None:
    artifacts = stored("/out/a b.txt", "/out/sub/line\nbreak", "/other/a b.txt")
    saved = artifacts.download_to(tmp_path / "new")
    assert saved["/out/sub/line\nbreak"] == tmp_path / "new" / "out" / "sub" / "line%0Abreak"
    assert {path: file.read_text() for path, file in saved.items()} == {path: path for path in saved}
    artifacts.put("runs/out/a b.txt", b"newer")
    artifacts.download_to(tmp_path / "new")
    assert saved["/out/a b.txt"].read_text() == "newer"
    assert list(tmp_path.rglob(".runtimeuse-*")) == []


@pytest.mark.slow
@settings(max_examples=50)
@given(paths=st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=5, unique=True))
def test_no_name_leads_out_and_no_two_are_one(tmp_path_factory: pytest.TempPathFactory, paths: list[str]) -> None:
    artifacts, folder = InMemory(), tmp_path_factory.mktemp("saved")
    taken: dict[str, str] = {}
    for path in paths:
        try:
            taken.setdefault(key(artifacts, path), path)
        except ValueError:
            continue
        artifacts.put(key(artifacts, path), path.encode("utf-8", "surrogatepass"))
    assert len({os.path.normpath(f"/{path.lstrip('/')}") for path in taken.values()}) == len(taken)
    try:
        saved = artifacts.download_to(folder)
    except (NotADirectoryError, IsADirectoryError, FileExistsError):
        return  # one is a file where another has a folder
    assert all(folder in file.parents and str(file).isprintable() for file in saved.values())


def test_a_link_in_the_folder_is_not_followed_out_of_it(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "out").symlink_to(tmp_path)
    with pytest.raises(ValueError, match="leads out of it"):
        stored("/out/a").download_to(tmp_path / "folder")
    assert not (tmp_path / "a").exists()


def test_more_than_was_allowed_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"more than 3 bytes \(max_size\)"):
        stored("/ab", "/cd").download_to(tmp_path, max_size=3)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("data", [b"more than before", b"less"])
def test_what_changes_meanwhile_is_not_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    artifacts = stored("/before")
    monkeypatch.setattr(artifacts, "_read", lambda key: iter([data]))
    with pytest.raises(ValueError, match="has changed"):
        artifacts.download_to(tmp_path)
    assert os.listdir(tmp_path) == []


# --- the extras ---------------------------------------------------------------------------------------


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(ImportError, match=r'pip install "runtimeuse-sync\[s3\]"'):
        S3Artifacts("bucket")
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(ImportError, match="pip install obstore"):
        ObstoreArtifacts(object())


def test_no_extra_is_imported_before_it_is_used() -> None:
    program = "import runtimeuse_sync.artifacts, sys; print(*{'boto3', 'botocore', 'obstore'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == ""
