"""RFC 6455 by somebody else's reading of it: the client cases of the Autobahn test suite."""

from __future__ import annotations

import json
import subprocess
import sysconfig
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from runtimeuse_sync._connection import worker as _worker

from .echo import EchoConnection, EchoReader

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

CASES = 517
COMPRESSION = ("12", "13")

# Invalid UTF-8 in a message whose end has not come: refused when it comes.
LATE_UTF8 = {"6.4.1", "6.4.2", "6.4.3", "6.4.4"}
# A good message in one chunk with what ends the connection: a caller's answer to it comes too late.
ANSWERED_IN_VAIN = {"3.2", "3.3", "3.4", "4.1.3", "4.1.4", "4.1.5", "4.2.3", "4.2.4", "4.2.5", "5.15"}


@contextmanager
def fuzzing_server(out: Path) -> Iterator[str]:
    """The suite's server, which serves one agent, reports and exits."""
    program = Path(sysconfig.get_path("scripts"), "kosoku")
    command = [str(program), "-m", "fuzzingserver", "-o", str(out), "127.0.0.1:0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stderr is not None
            yield server.stderr.readline().split()[-1]
            server.communicate(timeout=60)
        finally:
            server.kill()


def play(url: str, *, at_once: bool) -> None:
    def visit(path: str) -> list[Any]:
        return EchoConnection(url + path, at_once=at_once).converse()

    count = EchoConnection(f"{url}/getCaseCount", at_once=False).converse()[0]
    for number in range(1, int(count.payload) + 1):
        visit(f"/runCase?case={number}&agent=runtimeuse-sync")
    visit("/updateReports?agent=runtimeuse-sync")


@pytest.mark.parametrize("at_once", [True, False], ids=["answered at once", "answered by the caller"])
def test_every_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: bool) -> None:
    monkeypatch.setattr(_worker, "Reader", EchoReader)
    with fuzzing_server(tmp_path) as url:
        play(url, at_once=at_once)
    cases = json.loads((tmp_path / "index.json").read_text())["runtimeuse-sync"]
    assert len(cases) == CASES
    behaviors = {name: case["behavior"] for name, case in cases.items() if not name.startswith(COMPRESSION)}
    print(Counter(case["behavior"] for case in cases.values()))
    assert {
        name for name, behavior in behaviors.items() if behavior not in ("OK", "INFORMATIONAL", "NON-STRICT")
    } == set()
    excused = LATE_UTF8 if at_once else LATE_UTF8 | ANSWERED_IN_VAIN
    assert {name for name, behavior in behaviors.items() if behavior == "NON-STRICT"} <= excused
    assert {name for name, case in cases.items() if case["behaviorClose"] not in ("OK", "INFORMATIONAL")} == set()
    assert {case["behavior"] for name, case in cases.items() if name.startswith(COMPRESSION)} == {"UNIMPLEMENTED"}
