"""The processes of a request, started and ended by what this system has for that."""

from __future__ import annotations

import sys

from .keeper_program.wire import KILL_GRACE

if sys.platform == "linux":
    from .keeper import Process
    from .kept import KeptProcesses as Processes
else:
    from subprocess import Popen

    from .groups import GroupProcesses as Processes

    Process = Popen[bytes]

__all__ = ["KILL_GRACE", "Process", "Processes"]
