"""What a real kernel shows, by nbclient: values, tracebacks, a run that is watched, and the example."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

import nbformat

from runtimeuse_sync import InvocationMessage
from runtimeuse_sync.local import Sender

from .support import EXAMPLES, PATIENCE, Agent, environment

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


def test_a_run_is_watched_in_one_display(local_runtime: Callable[..., Any], tmp_path: Path) -> None:
    def agent(invocation: InvocationMessage, sender: Sender) -> str:
        sender.assistant("<b>Reading</b>")
        return "ok"

    shown, failed = execute(
        local_runtime(agent).url,
        tmp_path,
        "from runtimeuse_sync.notebook import watch\n"
        "commands = [CommandInterface('echo 3 passed')]\n"
        "watch(client.stream('hi', pre_agent_invocation_commands=commands)).text",
        "watch(Client('ws://127.0.0.1:1', connect_timeout=5).stream('hi', system_prompt=''))",
    )
    assert [output.output_type for output in shown] == ["display_data", "execute_result"]
    picture = shown[0].data["text/html"]
    assert "<b>done, " in picture
    assert "&lt;b&gt;Reading&lt;/b&gt;" in picture
    assert "<summary>output, 1 lines: 3 passed</summary>" in picture
    assert shown[0].data["text/plain"].startswith("done, ")
    assert [output.output_type for output in failed] == ["display_data", "error"]
    assert "ConnectionFailedError: cannot connect" in failed[0].data["text/html"]


def test_the_example(local_runtime: Callable[..., Any], tmp_path: Path) -> None:
    cells = (EXAMPLES / "notebook.py").read_text(encoding="utf-8").split("# %% ")[1:]
    outputs = execute(local_runtime(Agent()).url, tmp_path, *(f"# {cell}" for cell in cells))
    assert not [output for cell in outputs for output in cell if output.output_type == "error"]
    assert "You said: And now?" in str(outputs)
