"""The mark ``alone`` of conftest.py: a mark that does nothing would look just like one that is heeded."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"

# Each test leaves its mark while it runs; two that run at once for as long as this see each other's.
SUITE = """
import os, time
import pytest

@pytest.fixture
def seen():
    mine = f"running-{os.getpid()}"
    open(mine, "w").close()
    yield
    os.remove(mine)

def others():
    return [name for name in os.listdir() if name.startswith("running-")][1:]

def watch(seconds):
    seen, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        seen += others()
        time.sleep(0.001)
    return seen

@pytest.mark.parametrize("number", range(20))
def test_in_company(seen, number):
    if watch(0.02):
        open("was-in-company", "w").close()

@pytest.mark.alone
@pytest.mark.parametrize("number", range(5))
def test_alone(seen, number):
    assert watch(0.05) == []
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs fcntl")
def test_nothing_runs_beside_it(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(CONFTEST.read_text(encoding="utf-8"))
    pytester.makeini("[pytest]\nmarkers = alone")
    pytester.makepyfile(SUITE)
    options = ("-p", "no:cacheprovider", "-n", "2", "--dist", "load", "--maxschedchunk", "1")
    pytester.runpytest_subprocess(*options).assert_outcomes(passed=25)
    assert (pytester.path / "was-in-company").exists()  # or nothing would have been noticed
