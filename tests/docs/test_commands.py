"""The command lines that the pages show: each is one that ``runtimeuse-sync`` takes, and each option exists."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from .test_pages import BLOCK, PAGES

click = pytest.importorskip("click")

from runtimeuse_sync.cli._app import app  # noqa: E402

LITERAL_BLOCK = re.compile(rf"^(?!\.\. code-block).*::\n{BLOCK}", re.MULTILINE)
SHOWN = {page.name: page.read_text(encoding="utf-8") for page in PAGES}

# What the pages let the commands read.
FILES = {
    "answer.json": json.dumps({"type": "object", "properties": {"files": {"type": "integer"}}, "required": ["files"]}),
    "prompts.jsonl": '{"id": "1", "prompt": "Hello"}\n',
    "prompts.csv": "id,prompt\n1,Hello\n",
    "run.jsonl": "",
    "src": "",
}


def simple_commands(line: str) -> Iterator[list[str]]:
    """The commands of a shell's line, without what is redirected."""
    words = shlex.shlex(line, posix=True, punctuation_chars=True)
    words.whitespace_split, words.commenters = True, "#"
    command: list[str] = []
    for word in [*words, "|"]:
        if set(word) <= set("|&;"):
            yield command[: command.index("<")] if "<" in command else command
            command = []
        else:
            command.append(word)


LINES = [
    pytest.param(command[1:], id=f"{name}-{' '.join(command[1:])}")
    for name, text in SHOWN.items()
    for block in LITERAL_BLOCK.findall(text)
    for line in block.splitlines()
    if "runtimeuse-sync" in line
    for command in simple_commands(line.strip())
    if command[:1] == ["runtimeuse-sync"]
]


@pytest.mark.parametrize("words", LINES)
def test_a_command_is_taken_as_it_is_printed(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUNTIMEUSE_URL", "https://sandbox.example.com")
    for name, text in FILES.items():
        Path(name).write_text(text, encoding="utf-8")
    name, *arguments = words
    app.commands[name].make_context(name, arguments).close()


def test_the_options_of_the_page_exist() -> None:
    known = {option for command in app.commands.values() for parameter in command.params for option in parameter.opts}
    written = set(re.findall(r"``(--[a-z-]+)", SHOWN["cli.rst"]))
    assert written - known == set()


def test_there_are_commands() -> None:
    assert len(LINES) > 15
