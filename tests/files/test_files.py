"""``upload`` and ``download``: what arrives is what was sent, under its name only when it is whole."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Callable

import pytest

from runtimeuse_sync import AgentRuntimeError, Client, ExecuteCommandsOptions, InvocationTimeoutError, QueryOptions
from runtimeuse_sync._files import sandbox
from runtimeuse_sync._files.transit import data_url
from runtimeuse_sync.files import SandboxError
from runtimeuse_sync.testing import Peer, Reply, ScriptedRuntime, generation

HARD_NAMES = (
    "a b",
    "it's",
    'quo"te',
    "line\nbreak",
    "ünïcödé",
    "-n",
    "--",
    "*",
    "$HOME",
    ".hidden",
    "..dots",
    "back\\slash",
    "x" * 200,
    "tree",
)
Tree = dict[str, tuple[str, bytes]]


def tree(folder: Path) -> Tree:
    """What is in ``folder``: kind and mode, and bytes, by path."""
    found = {}
    for path in [folder, *folder.rglob("*")]:
        mode = stat.filemode(path.lstat().st_mode)
        found[str(path.relative_to(folder))] = (mode, path.read_bytes() if path.is_file() else b"")
    return found


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with all that is hard about folders."""
    folder = tmp_path / "source"
    for place in (folder, folder / "sub dir" / "-deep", folder / "empty"):
        place.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(HARD_NAMES):
        (folder / name).write_bytes(bytes([number]) * number)
        (folder / "sub dir" / "-deep" / name).write_bytes(b"\r\n\0" + os.fsencode(name))
    (folder / "it's").chmod(0o755)
    (folder / "a b").chmod(0o600)
    (folder / "empty").chmod(0o700)
    return folder


# --- there and back -----------------------------------------------------------------------------------


def test_a_folder_there_and_back(client: Client, source: Path, tmp_path: Path) -> None:
    client.upload(source, f"{tmp_path}/there/a folder", timeout=60)
    assert tree(tmp_path / "there" / "a folder") == tree(source)
    client.download(f"{tmp_path}/there/a folder", tmp_path / "back", timeout=60)
    assert tree(tmp_path / "back") == tree(source)


@pytest.mark.parametrize("name", HARD_NAMES)
def test_a_file_there_and_back(local: Client, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\0\xff")
    (tmp_path / name).chmod(0o751)
    local.upload(tmp_path / name, f"{tmp_path}/there/{name}")
    local.download(f"{tmp_path}/there/{name}", tmp_path / "back" / name)
    assert tree(tmp_path / "there") == tree(tmp_path / "back")
    assert (tmp_path / "back" / name).read_bytes() == b"\0\xff"
    assert stat.S_IMODE((tmp_path / "back" / name).stat().st_mode) == 0o751


@pytest.mark.parametrize("size", [0, *(pytest.param(size, marks=pytest.mark.slow) for size in (1, 511, 512)), 2**20])
def test_sizes(client: Client, tmp_path: Path, size: int) -> None:
    _there_and_back(client, tmp_path, size)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("client", ["0.9", "0.14", "local"], indirect=True)
def test_thirty_mebibytes(client: Client, tmp_path: Path) -> None:
    _there_and_back(client, tmp_path, 30 * 2**20 + 1)


def _there_and_back(client: Client, tmp_path: Path, size: int) -> None:
    (tmp_path / "file").write_bytes(os.urandom(size))
    client.upload(tmp_path / "file", f"{tmp_path}/there/file")
    client.download(f"{tmp_path}/there/file", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == (tmp_path / "file").read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("client", ["0.9", "0.14", "local"], indirect=True)
def test_two_thousand_files(client: Client, tmp_path: Path) -> None:
    folder = tmp_path / "source"
    for number in range(2000):
        path = folder / str(number % 40) / f"{number} {HARD_NAMES[number % 13]}"[:250]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(number))
    for _ in ("new", "merged"):
        client.upload(folder, f"{tmp_path}/there")
        client.download(f"{tmp_path}/there", tmp_path / "back")
        assert tree(tmp_path / "back") == tree(folder)


@pytest.mark.skipif(sys.platform == "darwin", reason="its file system wants names in UTF-8")
def test_a_name_that_is_no_text(local: Client, tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff\xfe")
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / name).write_text("x")
    local.upload(tmp_path / "source", f"{tmp_path}/there")
    local.download(f"{tmp_path}/there", tmp_path / "back")
    assert os.listdir(tmp_path / "back") == [name]


def test_in_a_session(local: Client, source: Path, tmp_path: Path) -> None:
    with local.session() as session:
        session.upload(source, f"{tmp_path}/there")
        session.download(f"{tmp_path}/there", tmp_path / "back")
    assert tree(tmp_path / "back") == tree(source)


def test_secrets_of_the_defaults_change_no_bytes(local: Client, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a s3cret value")
    client = Client(local.ws_url, defaults=QueryOptions(secrets_to_redact=["s3cret", "A", "e"]))
    client.upload(tmp_path / "file", f"{tmp_path}/there")
    client.download(f"{tmp_path}/there", tmp_path / "back")
    assert (tmp_path / "back").read_text() == "a s3cret value"


# --- where it goes ------------------------------------------------------------------------------------


def test_a_file_goes_into_a_folder_with_a_slash(local: Client, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    local.upload(tmp_path / "file", f"{tmp_path}/there/")
    local.download(f"{tmp_path}/there/file", f"{tmp_path}/back/")
    assert (tmp_path / "back" / "file").read_text() == "x"


def test_into_a_folder_that_is_there_already(local: Client, tmp_path: Path) -> None:
    for folder, text in (("new", "new"), ("there", "old"), ("back", "older")):
        for name in (f"{folder} alone", "both", ".both"):
            (tmp_path / folder / "sub").mkdir(parents=True, exist_ok=True)
            (tmp_path / folder / "sub" / name).write_text(text)
            (tmp_path / folder / name).write_text(text)
    local.upload(tmp_path / "new", f"{tmp_path}/there")
    texts = {"both": "new", ".both": "new", "new alone": "new", "there alone": "old"}
    for place in (tmp_path / "there", tmp_path / "there" / "sub"):
        assert {path.name: path.read_text() for path in place.iterdir() if path.is_file()} == texts
    local.download(f"{tmp_path}/there", tmp_path / "back")
    for place in (tmp_path / "back", tmp_path / "back" / "sub"):
        assert {path.name: path.read_text() for path in place.iterdir() if path.is_file()} == {
            **texts,
            "back alone": "older",
        }


def test_a_file_is_replaced(local: Client, tmp_path: Path) -> None:
    for name in ("file", "there", "back"):
        (tmp_path / name).write_text(name)
    local.upload(tmp_path / "file", f"{tmp_path}/there")
    local.download(f"{tmp_path}/there", tmp_path / "back")
    assert (tmp_path / "back").read_text() == "file"


def test_a_folder_replaces_no_file_and_a_file_no_folder(local: Client, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(SandboxError, match="is a folder there"):
        local.upload(tmp_path / "file", f"{tmp_path}/folder")
    with pytest.raises(SandboxError, match="is a file there"):
        local.upload(tmp_path / "folder", f"{tmp_path}/file")
    with pytest.raises(OSError, match="directory"):
        local.download(f"{tmp_path}/file", tmp_path / "folder")
    with pytest.raises(OSError, match="directory"):
        local.download(f"{tmp_path}/folder", tmp_path / "file")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_what_is_ignored_stays(local: Client, tmp_path: Path) -> None:
    for name in ("a.py", "a.pyc", "keep.pyc", "build/x", "sub/build/x", "sub/b.py", "sub/b.pyc"):
        (tmp_path / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "source" / name).touch()
    local.upload(tmp_path / "source", f"{tmp_path}/there", ignore="# comment\n\n*.pyc\n!keep.pyc\n/build/\n")
    arrived = {str(p.relative_to(tmp_path / "there")) for p in (tmp_path / "there").rglob("*") if p.is_file()}
    assert arrived == {"a.py", "keep.pyc", "sub/build/x", "sub/b.py"}


@pytest.mark.parametrize("way", ["upload", "download"])
def test_progress(local: Client, tmp_path: Path, way: str) -> None:
    (tmp_path / "file").write_bytes(bytes(13 * 2**20))
    told: list[tuple[int, int]] = []
    getattr(local, way)(str(tmp_path / "file"), str(tmp_path / "copy"), on_progress=lambda *two: told.append(two))
    done = [done for done, _ in told]
    assert len(done) > 2
    assert done == sorted(set(done))
    assert {total for _, total in told} == {done[-1]}


# --- what cannot be meant -----------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["relative", "", "~/x", "/a\0b"])
def test_a_path_in_the_sandbox_is_absolute(local: Client, tmp_path: Path, path: str) -> None:
    with pytest.raises(ValueError, match="target must be an absolute path"):
        local.upload(tmp_path, path)
    with pytest.raises(ValueError, match="source must be an absolute path"):
        local.download(path, tmp_path)


def test_a_path_in_the_sandbox_is_text(local: Client, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="target must be a str"):
        local.upload(tmp_path, tmp_path)  # type: ignore[arg-type]


def test_what_is_not_there(local: Client, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        local.upload(tmp_path / "nothing", f"{tmp_path}/there")
    with pytest.raises(SandboxError, match="there is no /"):
        local.download(f"{tmp_path}/nothing", tmp_path / "back")
    assert os.listdir(tmp_path) == []


def test_links_and_devices_are_refused_there_and_here(local: Client, tmp_path: Path) -> None:
    for name, make in (("link", lambda path: path.symlink_to("/etc")), ("pipe", os.mkfifo)):
        folder = tmp_path / name
        folder.mkdir()
        make(folder / "it")
        with pytest.raises(ValueError, match="neither a file nor a folder"):
            local.upload(folder, f"{tmp_path}/there")
        with pytest.raises(SandboxError, match="a link, a device"):
            local.download(f"{folder}", tmp_path / "back")
        local.upload(folder, f"{tmp_path}/{name} left out", ignore="it")
    assert not (tmp_path / "there").exists()
    assert not (tmp_path / "back").exists()


# --- what goes wrong ----------------------------------------------------------------------------------


@pytest.mark.parametrize("program", ["tar", "head", "base64", "sha256sum"])
def test_a_missing_program_is_named(
    local: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    (tmp_path / "bin").mkdir()
    for name in ("tar", "head", "tail", "base64", "sha256sum", "cut", "mkdir", "mv", "rm", "find", "wc", "cat"):
        if name != program:
            (tmp_path / "bin" / name).symlink_to(str(shutil.which(name)))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(SandboxError, match=f"no program {program}$"):
        local.download(f"{tmp_path}/bin/tar", tmp_path / "back")
    if program != "base64":
        with pytest.raises(SandboxError, match=f"no program {program}$"):
            local.upload(__file__, f"{tmp_path}/there")


def test_where_nothing_can_be_written(local: Client, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SandboxError, match=r"mkdir: "):
        local.upload(__file__, f"{tmp_path}/file/below")


class BoomError(Exception):
    pass


@pytest.mark.parametrize("way", ["upload", "download"])
def test_a_callback_that_raises_leaves_nothing_behind(local: Client, tmp_path: Path, way: str) -> None:
    (tmp_path / "file").write_bytes(bytes(13 * 2**20))

    def boom(done: int, total: int) -> None:
        raise BoomError

    with pytest.raises(BoomError):
        getattr(local, way)(str(tmp_path / "file"), str(tmp_path / "copy"), on_progress=boom)
    assert os.listdir(tmp_path) == ["file"]


def test_a_file_that_shrinks_meanwhile(local: Client, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(20 * 2**20))
    with pytest.raises(OSError, match="became shorter"):
        local.upload(
            tmp_path / "file", f"{tmp_path}/there", on_progress=lambda *_: os.truncate(tmp_path / "file", 2**20)
        )
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("way", ["upload", "download"])
def test_the_timeout(tmp_path: Path, way: str) -> None:
    with ScriptedRuntime(generation("0.15", Reply(hangs=True))) as runtime:
        with pytest.raises(InvocationTimeoutError, match=r"0\.2 s"):
            getattr(Client(runtime.url), way)("/etc/hostname", "/etc/hostname", timeout=0.2)


def test_the_timeout_covers_all_requests_together() -> None:
    calls = sandbox.Sandbox(Client("ws://localhost:1"), ExecuteCommandsOptions(timeout=1e-9))
    with pytest.raises(InvocationTimeoutError, match="no result within the timeout"):
        calls.ask("say")


def test_a_runtime_without_commands_says_so(tmp_path: Path) -> None:
    with ScriptedRuntime(generation("0.4")) as runtime:
        with pytest.raises(AgentRuntimeError, match="Unknown message type"):
            Client(runtime.url).upload(__file__, f"{tmp_path}/there")


# --- a sandbox that lies ------------------------------------------------------------------------------


def answering(*answers: str) -> Callable[[Peer], None]:
    """A script that answers request after request, on whatever connection."""
    left = list(answers)

    def script(peer: Peer) -> None:
        while True:
            commands = getattr(peer.receive(None), "commands", [])
            mark = commands[-1].command.partition("%s>' ")[2][:32] if commands else ""
            stdout = f"<{mark}:{left.pop(0) if left else ''}:{mark}>"
            results = [{"command": "", "exit_code": 0, "stdout": stdout}]
            peer.send({"message_type": "command_execution_result_message", "results": results})

    return script


SUM = "0" * 64


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ((), "did not say what it has packed"),
        ((f"device 1 {SUM}",), "did not say what it has packed"),
        ((f"file -1 {SUM}",), "did not say what it has packed"),
        ((f"file 99999999999 {SUM}",), "more than 10737418240"),
        ((f"file 3 {SUM}", "QUJD"), "the archive ends too early"),
        ((f"file 3 {SUM}", "QUJDRA=="), "4 bytes of a file instead of 3"),
        ((f"file 3 {SUM}", ""), "0 bytes of a file instead of 3"),
        ((f"file 3 {SUM}", "QU[REDACTED]"), "one of the secrets"),
        ((f"file 3 {SUM}", "\x1b[2J"), "not base64"),
        ((f"folder 1024 {SUM}", "AAAA" * 341 + "AA=="), "its checksum is another"),
    ],
)
def test_a_download_of_a_sandbox_that_lies(tmp_path: Path, answers: tuple[str, ...], reason: str) -> None:
    with ScriptedRuntime(answering(*answers)) as runtime:
        with pytest.raises(SandboxError, match=reason):
            Client(runtime.url).download("/srv/out", tmp_path / "out")
    assert os.listdir(tmp_path) == []


def test_an_upload_that_arrives_changed(local: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "data_url", lambda data: data_url(data[:-1] + b"x"))
    with pytest.raises(SandboxError, match="its checksum is another"):
        local.upload(__file__, f"{tmp_path}/there")
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_folders_nested_deeper_than_pythons_stack(local: Client, tmp_path: Path) -> None:
    subprocess.run(["mkdir", "-p", "a/" * 1200], cwd=tmp_path, check=True)
    try:
        local.upload(tmp_path / "a", f"{tmp_path}/b", timeout=60)
        assert subprocess.run(["test", "-d", "b/" + "a/" * 1199], cwd=tmp_path, check=False).returncode == 0
        with pytest.raises(SandboxError, match="nested more than 200 deep"):
            local.download(f"{tmp_path}/b", tmp_path / "c", timeout=60)
        assert not (tmp_path / "c").exists()
    finally:
        subprocess.run(["rm", "-rf", "a", "b"], cwd=tmp_path, check=True)
