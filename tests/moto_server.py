"""A service with the interface of S3, in a process of its own."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

# Seconds that it may take to start.
PATIENCE = 60


@contextmanager
def bucket(name: str = "bucket") -> Iterator[str]:
    """Its URL, also in the environment that boto3 reads, with a bucket in it. Skips where it is not installed."""
    pytest.importorskip("moto.server")
    boto3 = pytest.importorskip("boto3")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    environment = {
        "AWS_ENDPOINT_URL_S3": url,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "s3cret",
    }
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    quiet = subprocess.DEVNULL
    with pytest.MonkeyPatch.context() as patch, subprocess.Popen(command, stdout=quiet, stderr=quiet) as program:
        try:
            for variable, value in environment.items():
                patch.setenv(variable, value)
            _wait_for(port, program)
            s3 = boto3.client("s3")
            s3.create_bucket(Bucket=name)
            s3.close()
            yield url
        finally:
            program.kill()


def _wait_for(port: int, program: subprocess.Popen[bytes]) -> None:
    give_up = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            assert program.poll() is None, "moto did not start"
            assert time.monotonic() < give_up
            time.sleep(0.05)
