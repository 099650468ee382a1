"""The mark ``alone`` of conftest.py: a mark that does nothing would look just like one that is heeded."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[2] / "conftest.py"

# Each test leaves its mark while it runs. The first one in company waits until it has some: both workers begin
# with such tests, but not necessarily at the same moment.
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

@pytest.mark.parametrize("number", range(20))
def test_in_company(seen, number):
    give_up = time.monotonic() + 20
    while not others() and not os.path.exists("was-in-company"):
        assert time.monotonic() < give_up  # or nothing would be noticed
        time.sleep(0.001)
    open("was-in-company", "w").close()
    time.sleep(0.02)

@pytest.mark.alone
@pytest.mark.parametrize("number", range(5))
def test_alone(seen, number):
    end = time.monotonic() + 0.05
    while time.monotonic() < end:
        assert others() == []
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs fcntl")
def test_nothing_runs_beside_it(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(CONFTEST.read_text(encoding="utf-8"))
    pytester.makeini("[pytest]\nmarkers = alone")
    pytester.makepyfile(SUITE)
    options = ("-p", "no:cacheprovider", "-n", "2", "--dist", "load", "--maxschedchunk", "1")
    pytester.runpytest_subprocess(*options).assert_outcomes(passed=25)
