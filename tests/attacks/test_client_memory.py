"""A runtime whose messages take many times their bytes once they are parsed, while the caller is busy."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from typing import Any

import pytest

from ..raw_server import RawPeer, RawServer, frame

pytestmark = [pytest.mark.skipif(sys.platform != "linux", reason="/proc"), pytest.mark.slow]

# MiB that a caller which stands still may come to take. Without an account of values it was 200.
MOST = 60

# A client whose callback stands still until the runtime is held up; it prints by how much it has grown.
_CLIENT = """
import sys
from runtimeuse_sync import Client, InvocationMessage

def resident():
    with open("/proc/self/status") as status:
        return int(next(line for line in status if line.startswith("VmHWM:")).split()[1]) >> 10

class Enough(Exception): pass

def hear(message):
    sys.stdin.readline()
    print(resident() - before, flush=True)
    raise Enough

before = resident()
try:
    message = InvocationMessage(system_prompt="", user_prompt="")
    Client(sys.argv[1]).invoke(message, hear, on_error_message=hear, on_assistant_message=hear)
except Enough:
    pass
"""

_MANY = 10_000
MESSAGES: dict[str, dict[str, Any]] = {
    "objects": {"message_type": "error_message", "error": "", "metadata": {"a": [{}] * _MANY}},
    "fields": {"message_type": "error_message", "error": "", "metadata": {"a": [{"a": 0}] * _MANY}},
    "lists": {"message_type": "error_message", "error": "", "metadata": {"a": [[[[]]]] * _MANY}},
    "texts": {"message_type": "assistant_message", "text_blocks": ["ab"] * _MANY},
    "small": {"message_type": "error_message", "error": "", "metadata": {"a": [{}] * 50}},
}


@pytest.mark.parametrize("kind", MESSAGES)
def test_what_waits_for_a_busy_caller(kind: str) -> None:
    message = frame(json.dumps(MESSAGES[kind], separators=(",", ":")).encode())
    is_held_up = threading.Event()

    def flood(peer: RawPeer) -> None:
        peer.accept()
        peer.sock.settimeout(1)
        try:
            while True:
                peer.sock.sendall(message * (100_000 // len(message) + 1))
        except socket.timeout:
            is_held_up.set()
            peer.wait_closed()

    with RawServer(flood) as server:
        program = [sys.executable, "-c", _CLIENT, server.url]
        with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
            assert is_held_up.wait(60)
            assert int(client.communicate("\n", timeout=60)[0]) < MOST
