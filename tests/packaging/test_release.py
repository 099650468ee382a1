"""A release into an index on loopback, by the steps of CONTRIBUTING.rst, installed by the words of README.rst."""

from __future__ import annotations

import configparser
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from .support import ROOT, new_environment, run

pytest.importorskip("pypiserver")

# Building and installing ask the package index.
pytestmark = pytest.mark.timeout(300)

CHANGELOG = (ROOT / "CHANGELOG.rst").read_text(encoding="utf-8")


# An index that takes uploads from anyone, and sends on to the usual one for what it does not have. It prints its port.
INDEX = """
    import sys
    from wsgiref.simple_server import make_server

    import pypiserver

    folder, usual = sys.argv[1:]
    app = pypiserver.app(roots=[folder], password_file=".", authenticate=[], fallback_url=usual)
    server = make_server("127.0.0.1", 0, app)
    print(server.server_port, flush=True)
    server.serve_forever()
"""


@pytest.fixture
def index(tmp_path: Path) -> Iterator[str]:
    """Its URL."""
    folder, usual = tmp_path / "index", os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple/")
    folder.mkdir()
    program = [sys.executable, "-c", textwrap.dedent(INDEX), str(folder), usual]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        yield f"http://127.0.0.1:{int(server.stdout.readline())}/"
        server.terminate()


def version() -> str:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    return config["metadata"]["version"]


def words_of_the_readme() -> str:
    """The command that installs a release."""
    _, _, installing = (ROOT / "README.rst").read_text(encoding="utf-8").partition("\nInstalling\n----------\n")
    command = re.search(r"^    (python -m pip install \S+ && .*)$", installing, re.MULTILINE)
    assert command is not None
    return command[1]


def test_the_changelog_begins_with_this_version_or_the_next() -> None:
    sections = re.findall(r"^(\S+) \((\d{4}-\d\d-\d\d|unreleased)\)\n-+$", CHANGELOG, re.MULTILINE)
    assert sections
    dated = [number for number, date in sections if date != "unreleased"]
    assert version() in {sections[0][0], *dated[:1]}


def test_what_is_uploaded_is_installed_by_the_words_of_the_readme(built: Path, index: str, tmp_path: Path) -> None:
    upload = (sys.executable, "-m", "twine", "upload", "--non-interactive", "--disable-progress-bar")
    run(*upload, "--repository-url", index, "--username", "", "--password", "", *built.iterdir())
    python = new_environment(tmp_path / "clean")
    environment = {
        **os.environ,
        "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
        "PIP_INDEX_URL": f"{index}simple/",
    }
    done = subprocess.run(words_of_the_readme(), shell=True, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"/packages/runtimeuse_sync-{version()}-py3-none-any.whl" in done.stdout
    command = python.with_name("runtimeuse-sync" + python.suffix)
    assert version() in run(command, "--version").split()
