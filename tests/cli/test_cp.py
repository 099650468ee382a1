"""``cp``: there and back."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any, Callable

import pytest

from runtimeuse_sync.cli.cp import _Progress
from runtimeuse_sync.local import LocalRuntime

from .conftest import Done, Terminal

Cli = Callable[..., Done]
Local = Callable[..., LocalRuntime]


@pytest.fixture
def url(local_runtime: Local) -> str:
    return local_runtime(lambda invocation, sender: "").url


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    for name in ("a.txt", "b.pyc", "it's"):
        (tmp_path / "source" / name).write_text(name)
    return tmp_path / "source"


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_a_folder_there_and_back(cli: Cli, url: str, source: Path, tmp_path: Path) -> None:
    assert cli("cp", source, f"{url}:{tmp_path}/there", "--ignore", "*.pyc", "--ignore", "it*") == Done(0, "", "")
    assert names(tmp_path / "there") == ["a.txt"]
    assert cli("cp", f"{url}:{source}", tmp_path / "back") == Done(0, "", "")
    assert names(tmp_path / "back") == names(source)


def test_a_file_into_a_folder(cli: Cli, url: str, source: Path, tmp_path: Path) -> None:
    assert cli("cp", source / "it's", f"{url}:{tmp_path}/there/") == Done(0, "", "")
    assert cli("cp", f"{url}:{tmp_path}/there/it's", f"{tmp_path}/back/") == Done(0, "", "")
    assert (tmp_path / "back" / "it's").read_text() == "it's"


def test_the_url_of_the_environment(
    cli: Cli, url: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNTIMEUSE_URL", url)
    assert cli("cp", source, f":{tmp_path}/there") == Done(0, "", "")
    assert cli("cp", f":{tmp_path}/there", tmp_path / "back") == Done(0, "", "")
    assert names(tmp_path / "back") == names(source)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["a", "b"], "one of FROM and TO"),
        (["ws://localhost:1:/a", "ws://localhost:1:/b"], "one of FROM and TO"),
        (["a", "ws://localhost:1"], "the path in the sandbox is missing"),
        (["ws://localhost:1:/a", "b", "--ignore", "x"], "--ignore is for"),
        (["a", ":/b"], "RUNTIMEUSE_URL is not set either"),
        (["a"], "Missing argument 'TO'"),
    ],
)
def test_wrong_usage(cli: Cli, arguments: list[str], reason: str) -> None:
    done = cli("cp", *arguments)
    assert done.code == 2
    assert reason in done.err


def test_failures(cli: Cli, url: str, source: Path, tmp_path: Path) -> None:
    (source / "link").symlink_to("a.txt")
    for arguments, reason in (
        ((tmp_path / "nothing", f"{url}:{tmp_path}/there"), f"{tmp_path}/nothing: No such file or directory\n"),
        ((f"{url}:{tmp_path}/nothing", tmp_path / "back"), f"there is no {tmp_path}/nothing\n"),
        ((source, f"{url}:{tmp_path}/there"), "neither a file nor a folder"),
    ):
        done = cli("cp", *arguments)
        assert (done.code, done.out) == (1, "")
        assert reason in done.err
    assert names(tmp_path) == ["source"]


def test_the_bar() -> None:
    screen: Any = threading.local()
    progress = _Progress(screen)
    assert screen.phase == "copying"
    progress.show(2**20, 4 * 2**20)
    assert screen.phase == "#####--------------- 1.0 of 4.0 MiB"
    progress.show(0, 0)
    assert screen.phase == "-" * 20 + " 0.0 of 0.0 MiB"


def test_on_a_terminal(terminal: Callable[..., Terminal], url: str, source: Path, tmp_path: Path) -> None:
    (source / "big").write_bytes(bytes(13 * 2**20))
    screen = terminal("cp", source, f"{url}:{tmp_path}/there")
    assert screen.wait() == 0
    assert "#" * 20 + " 13.0 of 13.0 MiB" in screen.shown
    assert names(tmp_path / "there") == names(source)
