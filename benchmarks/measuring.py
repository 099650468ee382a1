"""What every contender uses in the same way: the watch, the check of what arrived, the memory's high-water mark."""

from __future__ import annotations

import json
import re
import resource
import time
import urllib.request
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Callable, Optional
from urllib.parse import urlsplit

from .frames import checksum

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


class Seen:
    """What the callbacks noted of the texts that came, in order.

    In the warm-up that is the texts themselves; when it counts, their lengths, lest the measure be that of
    memory filling up.
    """

    def __init__(self) -> None:
        self._texts: list[Any] = []
        self.note = self._texts.append
        self.look: Callable[[str], Any] = str if Seen.warming_up else len

    warming_up = True

    def check(self, metadata: Optional[dict[str, Any]]) -> None:
        """That this is what the server says it sent: so many, these, in this order."""
        assert metadata is not None
        assert len(self._texts) == metadata["count"], f"{len(self._texts)} messages instead of {metadata['count']}"
        name = "checksum" if self.look is str else "lengths"
        assert checksum(map(str, self._texts)) == metadata[name], "the checksum of the messages is wrong"


class Tally:
    """The same, for more texts than should be kept: their number and checksum so far."""

    def __init__(self) -> None:
        self.count = self._checksum = 0

    def add(self, text: str) -> None:
        self.count += 1
        self._checksum = zlib.crc32(text.encode(), self._checksum)

    def check(self, metadata: Optional[dict[str, Any]]) -> None:
        assert metadata is not None
        assert self.count == metadata["count"], f"{self.count} messages instead of {metadata['count']}"
        assert self._checksum == metadata["checksum"], "the checksum of the messages is wrong"


def check(texts: Sequence[str], metadata: Optional[dict[str, Any]]) -> None:
    """That ``texts`` are what the server says it sent."""
    tally = Tally()
    for text in texts:
        tally.add(text)
    tally.check(metadata)


def quantiles(values: Iterable[float]) -> Sample:
    """p50 and p99, in seconds."""
    ordered = sorted(values)
    return {"p50": ordered[len(ordered) // 2], "p99": ordered[-max(1, len(ordered) // 100)]}


def round_trips(metadata: Optional[dict[str, Any]]) -> Sample:
    """p50 and p99 of the server's questions and their answers, in seconds: it has timed them."""
    assert metadata is not None
    return {"p50": metadata["p50"], "p99": metadata["p99"]}


def cancel_times(url: str, key: str) -> list[float]:
    """When cancel messages reached the server, on the clock that all processes of a machine share."""
    with urllib.request.urlopen(f"http://{urlsplit(url).netloc}/times?key={key}") as answer:
        times: list[float] = json.load(answer)
    return times


# --- crowds ---------------------------------------------------------------------------------------------

# Seconds for the last call to come back from its callback, and wait like the others.
SETTLE = 0.5


def crowd_sample(whole: Watch, idle: Watch, peak_mb: float, failures: Sequence[str], *, all_waited: bool) -> Sample:
    """What a crowd of silent calls took. ``idle`` counts only if every call waited all the while."""
    assert not failures, f"{len(failures)} calls failed, the first with {failures[0]}"
    percent = {"percent": 100 * idle.cpu / idle.seconds} if all_waited else {}
    return whole.sample(peak_mb=peak_mb, **percent)


def allow_descriptors(count: int) -> None:
    """See to it that this process may open so many, and some for what it has anyway."""
    needed = count + 200
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise RuntimeError(f"{needed} descriptors are needed, and ulimit -Hn allows {hard}: raise it for the benchmark")
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


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
