"""Ctrl-C at random moments of a map that is never without work: in a process of its own each time."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from typing import Callable

import pytest

from runtimeuse_sync import InvocationMessage
from runtimeuse_sync.testing import Peer, ScriptedRuntime

from ..support import text_result

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals"),
]

TIMES = 30
PATIENCE = 30

# The first map imports what it needs. CPython loses a KeyboardInterrupt that is raised in the import system's weak
# reference callbacks, and ends by SIGINT after one that is raised in a string which namedtuple evaluates, though the
# program has caught it. So one map has run before the moments begin.
PROGRAM = """
import itertools, sys, threading
from runtimeuse_sync import Client

client = Client(sys.argv[1])
list(client.map(["0"]))
try:
    print("ready", flush=True)
    for outcome in client.map(map(str, itertools.count()), at_once=8):
        pass
except KeyboardInterrupt:
    print(*[thread.name for thread in threading.enumerate()][1:])
"""


def test_ctrl_c_at_random_moments(scripted_runtime: Callable[..., ScriptedRuntime]) -> None:
    seed = random.randrange(2**32)
    moments = random.Random(seed)

    def script(peer: Peer) -> None:
        request = peer.receive(timeout=None)
        if isinstance(request, InvocationMessage) and int(request.user_prompt) % 10 == 9:
            peer.receive(timeout=None)
            peer.send({"message_type": "error_message", "error": "Request cancelled"})
        else:
            peer.send(text_result("x"))

    runtime = scripted_runtime(script)
    for _ in range(TIMES):
        command = [sys.executable, "-W", "error", "-c", PROGRAM, runtime.url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
            assert program.stdout is not None
            assert program.stdout.readline() == "ready\n"
            time.sleep(moments.uniform(0.0, 0.5))
            program.send_signal(signal.SIGINT)
            try:
                ended = program.communicate(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                program.kill()
                pytest.fail(f"it hangs (seed {seed})")
        assert (program.returncode, *ended) == (0, "\n", ""), f"seed {seed}"
