"""``python -m benchmarks.weight``: what a waiting call weighs, and how many of them fit.

Calls wait in a process of their own, more and more of them. The threads, descriptors and resident bytes that each
step adds are divided by the calls that it adds, so that what a process weighs anyway does not count. One of the
threads is the caller's. What the kernel holds for threads and sockets is not part of resident memory.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import attrs

from runtimeuse_sync import CancelledException, Client, QueryOptions

from .measuring import SETTLE, allow_descriptors, memory_mb
from .ours import DESCRIPTORS_A_CALL
from .runner import server

STEPS = (100, 250, 500, 1000)
# What is filled: bytes of memory, and the descriptors of a usual ``ulimit -n``.
MEMORY, DESCRIPTORS = 1 << 30, 1024


@attrs.frozen
class Weight:
    """What a process holds."""

    calls: int
    threads: int
    descriptors: int
    bytes: float

    @classmethod
    def now(cls, calls: int) -> Weight:
        return cls(
            calls=calls,
            threads=threading.active_count(),
            descriptors=len(os.listdir("/proc/self/fd")) - 1,  # that of this listing
            bytes=memory_mb("VmRSS") * 1e6,
        )


class Crowd:
    """Calls of one client that wait, each on a thread of its own, until ``end``."""

    def __init__(self, url: str) -> None:
        self._client = Client(url)
        self._waiting = threading.Semaphore(0)
        self._threads: list[threading.Thread] = []

    def grow(self, calls: int) -> None:
        """So many more; returns when all of them wait."""
        added = [threading.Thread(target=self._call, daemon=True) for _ in range(calls)]
        self._threads += added
        for thread in added:
            thread.start()
        for _ in added:
            if not self._waiting.acquire(timeout=120):
                raise RuntimeError("not all calls came to wait")
        time.sleep(SETTLE)

    def _call(self) -> None:
        options = QueryOptions(
            system_prompt="", model="any", on_assistant_message=lambda message: self._waiting.release()
        )
        try:
            self._client.query("go", options)
        except CancelledException:
            pass

    def end(self) -> None:
        self._client.abort()
        for thread in self._threads:
            thread.join()


def weigh(url: str) -> list[Weight]:
    """At each step; the first is that of a process that has made a call, and has none."""
    allow_descriptors(STEPS[-1] * DESCRIPTORS_A_CALL)
    first = Crowd(url)
    first.grow(1)
    first.end()
    crowd, weights = Crowd(url), [Weight.now(0)]
    for calls in STEPS:
        crowd.grow(calls - weights[-1].calls)
        weights.append(Weight.now(calls))
    crowd.end()
    return weights


def tell(weights: list[Weight]) -> None:
    for before, after in zip(weights, weights[1:]):
        threads, descriptors, size = per_call(before, after)
        print(
            f"{after.calls:6,} calls: {threads:.2f} threads, {descriptors:.2f} descriptors, {size / 1000:.1f} kB each"
        )
    empty, full = weights[0], weights[-1]
    # The first calls weigh more than later ones, so it is these that fill what is left, or are too many.
    _, descriptors, size = per_call(*weights[-2:])
    print(f"without any: {empty.threads} threads, {empty.descriptors} descriptors, {empty.bytes / 1e6:.1f} MB")
    print(f"in {MEMORY >> 20} MiB fit {full.calls + (MEMORY - full.bytes) / size:,.0f}")
    print(
        f"in {DESCRIPTORS} descriptors fit {full.calls + (DESCRIPTORS - full.descriptors) // descriptors:,.0f}",
        flush=True,
    )


def per_call(before: Weight, after: Weight) -> tuple[float, float, float]:
    """Threads, descriptors and bytes that each of the calls between the two has added."""
    calls = after.calls - before.calls
    return (
        (after.threads - before.threads) / calls,
        (after.descriptors - before.descriptors) / calls,
        (after.bytes - before.bytes) / calls,
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.weight", description=__doc__)
    parser.add_argument("--url", help="weigh here, in this process; default: with and without TLS, in a new one each")
    url = parser.parse_args().url
    if url:
        tell(weigh(url))
        return
    with server() as where:
        for title, base in (("ws", where.crowd), ("wss", where.crowd_tls)):
            print(title, flush=True)
            subprocess.run(
                [sys.executable, "-m", "benchmarks.weight", "--url", f"{base}/crowd?hold=3600"],
                check=True,
                cwd=Path(__file__).parents[1],
                env={**os.environ, "SSL_CERT_FILE": where.authorities},
            )


if __name__ == "__main__":
    main()
