"""Runs contenders side by side: all processes of a round live at once, and take turns, one repetition each.

So whatever else the machine does meets all of them alike.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import trustme

from .workloads import Workload

Samples = dict[str, list[dict[str, float]]]  # contender -> one a repetition; the n-th of each ran one after another


@attrs.frozen
class Server:
    """Where the servers listen, and whom to trust there."""

    plain: str
    tls: str
    crowd: str
    crowd_tls: str
    authorities: str


@contextlib.contextmanager
def server() -> Iterator[Server]:
    with tempfile.TemporaryDirectory() as folder:
        authorities, certificate = Path(folder, "authorities.pem"), Path(folder, "certificate.pem")
        authority = trustme.CA()
        authority.cert_pem.write_to_path(authorities)
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
        with contextlib.ExitStack() as stack:
            urls: dict[str, str] = {}
            for module in ("benchmarks.server", "benchmarks.crowd_server"):
                urls.update(_urls(stack.enter_context(_process(module, str(certificate)))))
            yield Server(authorities=str(authorities), **urls)


def _urls(process: subprocess.Popen[str]) -> dict[str, str]:
    ports = json.loads(_line_of(process))
    return {name: f"{'wss' if name.endswith('tls') else 'ws'}://127.0.0.1:{port}" for name, port in ports.items()}


@contextlib.contextmanager
def _process(module: str, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """``python -m module``, which ends when its standard input does."""
    with subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
        env={**os.environ, **environment},
    ) as process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise


def _line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"{process.args!r} ended without an answer")
    return line


def _repeat(process: subprocess.Popen[str]) -> Any:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return json.loads(_line_of(process))


def run(workload: Workload, where: Server, *, quick: bool) -> Samples:
    samples: Samples = {contender: [] for contender in workload.contenders}
    for _ in range(workload.rounds):
        for contender, sample in _round(workload, where, quick=quick):
            samples[contender].append(sample)
    return samples


def _round(workload: Workload, where: Server, *, quick: bool) -> Iterator[tuple[str, dict[str, float]]]:
    url = getattr(where, workload.server)
    options = ["--quick"] if quick else []
    with contextlib.ExitStack() as stack:
        processes = {
            contender: stack.enter_context(
                _process("benchmarks.child", contender, workload.name, url, *options, SSL_CERT_FILE=where.authorities)
            )
            for contender in workload.contenders
        }
        for turn in range(workload.warmups + workload.repetitions):
            for contender, process in processes.items():
                sample = _repeat(process)
                if turn >= workload.warmups:
                    yield contender, sample
