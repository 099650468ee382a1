"""Artifacts in a bucket: a real runtime uploads them, over HTTP, to a service with the interface of S3."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

from runtimeuse_sync import ArtifactUploadRequestMessageInterface, Client, InvocationMessage
from runtimeuse_sync.artifacts import ArtifactsMissingError, ObstoreArtifacts, S3Artifacts
from runtimeuse_sync.local import LocalRuntime, Sender

from ..moto_server import bucket

FILES = {"a b.csv": b"1,2\n", "sub/it's \u00fcn%.txt": b"x", "large": bytes(range(256)) * 40_000, "empty": b""}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with bucket() as url:
        yield url


@pytest.fixture(scope="module")
def obstore() -> Any:
    """It starts threads that stay, which no test is to be blamed for."""
    module = pytest.importorskip("obstore")
    module.put(module.store.MemoryStore(), "a", b"")
    return module


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def in_s3(url: str, obstore: Any) -> S3Artifacts:
    return S3Artifacts("bucket", prefix="runs/{source_id}")


def in_obstore(url: str, obstore: Any) -> ObstoreArtifacts:
    options: Any = {"client_options": {"allow_http": True}, "virtual_hosted_style_request": False}
    store = obstore.store.S3Store("bucket", endpoint=url, access_key_id="id", secret_access_key="s3cret", **options)
    return ObstoreArtifacts(store, prefix="runs/{source_id}")


@pytest.mark.parametrize("made", [in_s3, in_obstore])
def test_what_an_agent_leaves_arrives_and_comes_back(
    url: str, obstore: Any, out: Path, tmp_path: Path, made: Callable[[str, Any], Any]
) -> None:
    def agent(invocation: InvocationMessage, sender: Sender) -> str:
        for name, data in FILES.items():
            (out / name).parent.mkdir(exist_ok=True)
            (out / name).write_bytes(data)
        return "done"

    artifacts = made(url, obstore)
    with LocalRuntime(agent, settle_seconds=0.2) as runtime:
        keywords: Any = {"artifacts_dirs": [str(out)], "on_artifact_upload_request": artifacts}
        client = Client(runtime.url)
        with client.stream("Draw.", source_id=artifacts.source_id, timeout=60, **keywords) as run:
            seen = [m.filepath for m in run if isinstance(m, ArtifactUploadRequestMessageInterface)]
    stored = artifacts.wait(60)
    assert {path: one.size for path, one in stored.items()} == {str(out / n): len(d) for n, d in FILES.items()}
    assert sorted(seen) == sorted(stored)
    assert all(one.key.startswith(f"runs/{artifacts.source_id}/") for one in stored.values())
    saved = artifacts.download_to(tmp_path / "saved")
    assert {path: file.read_bytes() for path, file in saved.items()} == {str(out / n): d for n, d in FILES.items()}
    if isinstance(artifacts, S3Artifacts):
        artifacts.__exit__()


def test_what_was_not_uploaded_is_missing(url: str) -> None:
    with S3Artifacts("bucket") as artifacts:
        where = artifacts(ArtifactUploadRequestMessageInterface(filename="a.csv", filepath="/out/a.csv"))
        assert where.content_type == "text/csv"
        assert "s3cret" not in where.presigned_url
        with pytest.raises(ArtifactsMissingError) as caught:
            artifacts.wait(0.2)
        assert caught.value.missing == ["/out/a.csv"]


def test_in_a_bucket_that_is_not_there_nothing_arrives(url: str) -> None:
    with S3Artifacts("nothing") as artifacts:
        artifacts(ArtifactUploadRequestMessageInterface(filename="a", filepath="/out/a"))
        with pytest.raises(ArtifactsMissingError):
            artifacts.wait(0.1)


def test_azure_is_refused_with_the_reason(obstore: Any) -> None:
    store = obstore.store.AzureStore("box", account_name="name", account_key="a2V5")
    with pytest.raises(TypeError, match="as Azure's, take no PUT without headers"):
        ObstoreArtifacts(store)
