"""What every contender uses in the same way: the watch, the check of what arrived, the memory's high-water mark."""

from __future__ import annotations

import json
import re
import time
import urllib.request
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Optional
from urllib.parse import urlsplit

Sample = dict[str, float]


class Watch:
    """``with watch:`` around the call itself; wall time, and the process's CPU time, in seconds."""

    def __enter__(self) -> Watch:
        self._cpu = time.process_time()
        self._start = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._start
        self.cpu = time.process_time() - self._cpu

    def sample(self, **more: float) -> Sample:
        return {"seconds": self.seconds, "cpu": self.cpu, **more}


class Tally:
    """How many texts have come, and their checksum, one at a time: for more of them than should be kept."""

    def __init__(self) -> None:
        self.count = self.checksum = 0

    def add(self, text: str) -> None:
        self.count += 1
        self.checksum = zlib.crc32(text.encode(), self.checksum)

    def check(self, metadata: Optional[dict[str, Any]]) -> None:
        """That what arrived is what the server says it sent: so many, these, in this order."""
        assert metadata is not None
        assert self.count == metadata["count"], f"{self.count} messages instead of {metadata['count']}"
        assert self.checksum == metadata["checksum"], "the checksum of the messages is wrong"


def check(texts: Iterable[str], metadata: Optional[dict[str, Any]]) -> None:
    tally = Tally()
    for text in texts:
        tally.add(text)
    tally.check(metadata)


def quantiles(values: Iterable[float]) -> Sample:
    """p50 and p99, in seconds."""
    ordered = sorted(values)
    return {"p50": ordered[len(ordered) // 2], "p99": ordered[-max(1, len(ordered) // 100)]}


def cancel_times(url: str, key: str) -> list[float]:
    """When cancel messages reached the server, on the clock that all processes of a machine share."""
    with urllib.request.urlopen(f"http://{urlsplit(url).netloc}/times?key={key}") as answer:
        times: list[float] = json.load(answer)
    return times


# --- memory (Linux) -------------------------------------------------------------------------------------

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def forget_peak() -> None:
    """Let the high-water mark of resident memory begin anew."""
    if _CLEAR.exists():
        _CLEAR.write_text("5")


def memory_mb(name: str) -> float:
    """``VmRSS``, resident now, or ``VmHWM``, its high-water mark, in MB; not a number elsewhere than on Linux."""
    found = re.search(rf"^{name}:\s+(\d+) kB", _STATUS.read_text(), re.MULTILINE) if _STATUS.exists() else None
    return int(found[1]) * 1024 / 1e6 if found else float("nan")
