"""The command ``runtimeuse-sync``: host a runtime, run agents and commands on one.

| module | its one job |
|---|---|
| ``_app`` | the sub-commands put together; the exit code |
| ``serve``, ``invoke``, ``batch``, ``execute`` (``exec``), ``cp``, ``wait``, ``demo`` | one sub-command each |
| ``replay``, ``show`` | two more, for what was recorded |
| ``_parameters`` | options that several of them share, and the types of their values |
| ``_endings`` | every way in which a command can end, and its exit code |
| ``_signals``, ``_streams`` | signals as exceptions; standard streams that lose nothing |
| ``_screen``, ``_terminal``, ``_screens`` | what is written where: plain lines; live progress; which of them |
| ``_schema`` | the file of ``--schema``, checked |
| ``_reports``, ``_json`` | what a run's messages look like on a screen, or as JSON; JSON that every reader can read |
| ``_artifacts`` | artifacts into a folder |
| ``_recording`` | the file of ``--record`` |
| ``_timeline``, ``_pictures`` | what a recorded call was at when; as lines of text |
| ``_prompts``, ``_answers`` | what ``batch`` reads, and what it writes and goes on with |
| ``_demo_run`` | the demo's one invocation, shown and checked |
| ``_demo_world`` | what it needs around it: a file server, a workspace, an agent |

Needs the extra ``cli``.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

__all__ = ["main"]

# What the extra installs. It is looked for without being imported: each command imports only what it uses.
_NEEDED = ("click", "rich", "websockets", "watchfiles")
_UNABLE = 125
_INTERRUPTED = 130


def main() -> int:
    """Run the command with the arguments of this process.

    Returns:
        The exit code. 125 if the extra ``cli`` is not installed.

    >>> import subprocess, sys
    >>> subprocess.run([sys.executable, "-m", "runtimeuse_sync", "--version"], capture_output=True).returncode
    0
    """
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        print(f'runtimeuse-sync needs {", ".join(missing)}: pip install "runtimeuse-sync[cli]"', file=sys.stderr)
        return _UNABLE
    try:
        from ._app import run

        return run()
    except KeyboardInterrupt:
        return _INTERRUPTED
