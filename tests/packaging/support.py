"""Commands that must succeed, and environments to install into."""

from __future__ import annotations

import os
import subprocess
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(*command: object, **environment: object) -> str:
    """What it prints."""
    variables = {**os.environ, **{name: str(value) for name, value in environment.items()}}
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, env=variables)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def new_environment(directory: Path) -> Path:
    """The interpreter of an environment with nothing but pip."""
    venv.create(directory, with_pip=True)
    return directory / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
