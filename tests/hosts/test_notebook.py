"""Values and tracebacks in a real kernel, by nbclient."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

import nbformat

from .support import PATIENCE, Agent, environment

# In a process of its own: ZeroMQ has threads that live on.
EXECUTE = """
import sys
import nbformat
from nbclient import NotebookClient

notebook = nbformat.read(sys.argv[1], 4)
NotebookClient(notebook, timeout=50, kernel_name="python3", allow_errors=True).execute()
nbformat.write(notebook, sys.argv[1])
"""

SETUP = """
import os
from runtimeuse_sync import *
client = Client(os.environ["RUNTIME_URL"], defaults=QueryOptions(system_prompt=""))
"""


def execute(url: str, folder: Path, *cells: str) -> list[list[Any]]:
    """The outputs of each cell, behind one that makes a ``client``."""
    path = folder / "some.ipynb"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in (SETUP, *cells)])
    nbformat.write(notebook, path)
    subprocess.run(
        [sys.executable, "-c", EXECUTE, str(path)],
        env=environment(url, NO_COLOR="1", IPYTHONDIR=str(folder / "ipython")),
        timeout=2 * PATIENCE,
        check=True,
    )
    return [cell.outputs for cell in nbformat.read(path, 4).cells[1:]]


def test_values_are_shown_as_tables_and_tracebacks_end_at_the_users_line(
    local_runtime: Callable[..., Any], tmp_path: Path
) -> None:
    closed = "lost = Client('ws://127.0.0.1:1', connect_timeout=5)\nlost.query('hi', system_prompt='')"
    (answer,), (command,), (failed,), (verbose,) = execute(
        local_runtime(Agent()).url,
        tmp_path,
        "client.query('<b>bold</b>')",
        "CommandInterface('make', env={'TOKEN': 's3cret'})",
        closed,
        f"get_ipython().InteractiveTB.set_mode('Verbose')\n{closed}",
    )
    assert "&lt;b&gt;bold&lt;/b&gt;" in answer.data["text/html"]
    assert answer.data["text/plain"].startswith("QueryResult(")
    assert "s3cret" not in str(command)
    assert "make" in command.data["text/html"]
    assert failed.ename == "ConnectionFailedError"
    trace = "\n".join(failed.traceback)
    assert "lost" in trace
    assert "request_loop.py" not in trace
    assert "calls.py" not in trace
    assert "cannot connect to ws://127.0.0.1:1" in trace
    assert "request_loop.py" in "\n".join(verbose.traceback)
