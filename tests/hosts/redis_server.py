"""A Redis of one's own, as message broker and result backend."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Optional

import pytest

from .support import PATIENCE

needs_redis = pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")

# Another process may take a port that was free a moment ago.
ATTEMPTS = 5


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """Its URL; it keeps nothing."""
    for _ in range(ATTEMPTS):
        port = free_port()
        with start(port, folder) as server:
            try:
                if is_ready(server):
                    yield f"redis://127.0.0.1:{port}/0"
                    return
            finally:
                server.terminate()
                server.wait(PATIENCE)
    pytest.fail("redis-server does not start")


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    return port


def start(port: int, folder: Path) -> subprocess.Popen[str]:
    options = ["--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(folder)]
    return subprocess.Popen(["redis-server", *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def is_ready(server: subprocess.Popen[str]) -> bool:
    """Waits until it says so, or ends."""
    assert server.stdout is not None
    line: Optional[str] = next((line for line in server.stdout if "Ready to accept connections" in line), None)
    return line is not None
