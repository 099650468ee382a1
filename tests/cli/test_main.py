"""The command as such: help, version, and what is said without the extra."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Callable

import pytest

from runtimeuse_sync import cli as package

from .conftest import Done

Cli = Callable[..., Done]

COMMANDS = ["serve", "invoke", "batch", "exec", "cp", "wait", "replay", "show", "demo"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(cli: Cli, command: str) -> None:
    done = cli(command, "-h")
    assert (done.code, done.err) == (0, "")
    assert f"\n    runtimeuse-sync {command}" in done.out
    assert cli(command, "--help") == done


def test_help_lists_the_commands(cli: Cli) -> None:
    listed = [line.split()[0] for line in cli("-h").out.splitlines() if line[:2] == "  "]
    assert listed[-2 - len(COMMANDS) : -2] == sorted(COMMANDS)


def test_version(cli: Cli) -> None:
    assert cli("--version") == Done(0, f"runtimeuse-sync, version {version('runtimeuse-sync')}\n", "")


def test_a_command_that_does_not_exist(cli: Cli) -> None:
    done = cli("dance")
    assert (done.code, done.out) == (2, "")
    assert "No such command 'dance'" in done.err


def test_the_console_script_is_this_command() -> None:
    found = entry_points()
    # Until 3.9 a dictionary.
    scripts = found.select(group="console_scripts") if hasattr(found, "select") else found["console_scripts"]
    assert {script.load() for script in scripts if script.name == "runtimeuse-sync"} == {package.main}


@pytest.mark.parametrize("missing", ["click", "rich", "websockets"])
def test_a_missing_extra_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], missing: str
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    assert package.main() == 125
    assert capsys.readouterr() == ("", f'runtimeuse-sync needs {missing}: pip install "runtimeuse-sync[cli]"\n')


def test_a_missing_extra_with_python_m(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules.update(click=None, rich=None)\n")
    command = [sys.executable, "-m", "runtimeuse_sync", "demo"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=20)
    told = 'runtimeuse-sync needs click, rich: pip install "runtimeuse-sync[cli]"\n'
    assert (done.returncode, done.stdout, done.stderr) == (125, "", told)
