from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from runtimeuse_sync.local._artifacts import ignore as _ignore


def fill(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")


def found(folder: Path, ignore_content: str = "") -> list[str]:
    return [
        os.path.relpath(path, folder).replace(os.sep, "/") for path, _ in _ignore.artifacts(str(folder), ignore_content)
    ]


def test_all_files_of_all_folders_are_artifacts_but_the_ignore_files(tmp_path: Path) -> None:
    fill(tmp_path, "a", "sub/b", "sub/deep/c", ".hidden", ".artifactignore", "sub/.artifactignore")
    (tmp_path / ".artifactignore").write_text("")
    (tmp_path / "sub/.artifactignore").write_text("")
    assert found(tmp_path) == [".hidden", "a", "sub/b", "sub/deep/c"]


def test_the_request_s_lines_come_after_those_of_the_file(tmp_path: Path) -> None:
    fill(tmp_path, "a.log", "keep.log", "b.tmp")
    (tmp_path / ".artifactignore").write_text("*.log\n")
    assert found(tmp_path) == ["b.tmp"]
    assert found(tmp_path, "!keep.log\n*.tmp") == ["keep.log"]


def test_lines_that_cannot_be_read_are_passed_over(tmp_path: Path) -> None:
    fill(tmp_path, "a", "b")
    assert found(tmp_path, "!\n\\\n[z-a]\n/\nb") == ["a"]


def test_a_link_to_a_file_inside_counts_and_no_other(tmp_path: Path) -> None:
    fill(tmp_path, "out/a", "out/deep/b", "elsewhere/b")
    (tmp_path / "out/file").symlink_to(tmp_path / "out/deep/b")
    (tmp_path / "out/relative").symlink_to("deep/b")
    (tmp_path / "out/outside").symlink_to(tmp_path / "elsewhere/b")
    (tmp_path / "out/passwd").symlink_to("/etc/passwd")
    (tmp_path / "out/out").symlink_to("outside")
    (tmp_path / "out/folder").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "out/circle").symlink_to(tmp_path / "out")
    (tmp_path / "out/dead").symlink_to(tmp_path / "nowhere")
    (tmp_path / "out/itself").symlink_to("itself")
    assert found(tmp_path / "out") == ["a", "deep/b", "file", "relative"]


def test_a_directory_that_is_itself_a_link_is_one(tmp_path: Path) -> None:
    fill(tmp_path, "real/a")
    (tmp_path / "real/link").symlink_to("a")
    (tmp_path / "out").symlink_to(tmp_path / "real")
    assert found(tmp_path / "out") == ["a", "link"]


def test_what_is_no_file_is_left_out(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        assert found(tmp_path) == []


def test_an_end_in_the_middle(tmp_path: Path) -> None:
    fill(tmp_path, "a", "b", "c")
    seen = []
    for path, _ in _ignore.artifacts(str(tmp_path), "", is_over=lambda: len(seen) == 2):
        seen.append(os.path.basename(path))
    assert seen == ["a", "b"]


def test_a_folder_that_is_not_there_has_no_files(tmp_path: Path) -> None:
    assert found(tmp_path / "nowhere") == []


CASES = {
    "build/": "",
    "*.log\n!keep.log": "",
    "/a.log": "",
    "sub/*\n!sub/deep": "",
    "**/c.txt": "!c.txt",
    "# comment\n\\#hash\n": "",
    "sub": "!b.txt",
    "!b.txt\nsub/": "",
    "sub\n!sub/**/": "",
    "sub/**\n!sub/**/\n!*.txt": "a.log",
    "*\n!*/\n!*.txt": "c.*",
    "deep/**": "",
    "[ab].log": "*.txt",
    "trailing   \n": "",
    "": "/b.txt\n!/../a.log",
    "[!a].log": "[^b].txt",
    "keep.lo\\g": "\\b.txt",
    "*e*p*.*g": "",
    "a.???": "?.txt",
    "s**b/**/c.txt": "",
    "**": "",
    "**/": "",
    "/*\n!/sub/": "*",
    "sub/deep/": "",
    "**/deep/*.log": "",
    "sub/**/a.log\n/**/b.txt": "",
    "[[]x\n[]a].log\n[a-": "",
    "trailing\\ ": "",
    "//": "",
    "*.LOG": "",
}
TREE = (
    "a.log",
    "keep.log",
    "#hash",
    "build/x",
    "sub/build/y",
    "sub/b.txt",
    "sub/deep/c.txt",
    "sub/deep/a.log",
    "trailing",
)


@pytest.mark.skipif(shutil.which("git") is None, reason="compares with git")
@pytest.mark.parametrize("top", CASES)
def test_the_rules_are_git_s(tmp_path: Path, top: str) -> None:
    """The oracle is git itself, reading the same files under its own name for them."""
    fill(tmp_path, *TREE)
    for name, content in (("", top), ("sub", CASES[top])):
        (tmp_path / name / ".artifactignore").write_text(content)
    git = ["git", "-c", "init.defaultBranch=main", "-c", "safe.directory=*"]
    subprocess.run([*git, "init", "-q", str(tmp_path)], check=True)
    listed = subprocess.run(
        [*git, "ls-files", "-o", "--exclude-per-directory=.artifactignore"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\n")
    shutil.rmtree(tmp_path / ".git")
    assert found(tmp_path) == sorted(line for line in listed if line and not line.endswith(".artifactignore"))
