"""The guard in conftest.py: a guard that catches nothing would look just like a suite that leaks nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[2] / "conftest.py"

SUITE = """
import os, socket, threading
import conftest
import pytest

kept = []
stop = threading.Event()

@pytest.fixture(scope="module")
def server():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener
    stop.set()

@pytest.fixture
def connection(server):
    with socket.create_connection(server.getsockname()) as client:
        yield client

def test_tidy(connection, capfd, tmp_path):
    os.close(os.open(tmp_path, os.O_RDONLY))
    threading.Thread(target=int).start()

def test_leaves_a_thread(server):
    conftest.GRACE = 0.1  # from here on it is waited for in vain
    threading.Thread(target=stop.wait, name="left-running").start()

def test_leaves_a_file(tmp_path):
    (tmp_path / "left-open").touch()
    kept.append(os.open(tmp_path / "left-open", os.O_RDONLY))

def test_leaves_a_connection(server):
    kept.append(socket.create_connection(server.getsockname()))
"""


@pytest.fixture
def outcome(pytester: pytest.Pytester) -> pytest.RunResult:
    pytester.makeconftest(CONFTEST.read_text(encoding="utf-8"))
    pytester.makepyfile(SUITE)
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", "-W", "ignore::ResourceWarning")


@pytest.mark.slow
def test_it_fails_the_tests_that_leave_something_and_names_it(outcome: pytest.RunResult) -> None:
    outcome.assert_outcomes(passed=4, errors=3)
    outcome.stdout.fnmatch_lines_random(
        [
            "left behind: thread 'left-running'",
            "left behind: descriptor * (*/left-open)",
            "left behind: descriptor * (socket:* from ('127.0.0.1', *) to ('127.0.0.1', *))",
        ]
    )
