"""What conftest.py leaves out, for want of a dependency: the suite has to pass where the package was just installed."""

from __future__ import annotations

from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[2] / "conftest.py"

SUITE = """
import conftest

def test_a_folder_is_no_dependency():
    assert not conftest.is_installed("left_behind")
    assert not conftest.is_installed("not_there_at_all")
    assert conftest.is_installed("pytest")
"""


@pytest.mark.slow
def test_a_folder_that_an_installation_leaves_behind_is_not_taken_for_a_dependency(pytester: pytest.Pytester) -> None:
    """``pip install .`` makes a folder ``build`` in the checkout, and Python imports folders."""
    pytester.makeconftest(CONFTEST.read_text(encoding="utf-8"))
    pytester.makeini("[pytest]\nmarkers = alone")
    pytester.makepyfile(SUITE)
    pytester.mkdir("left_behind")
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)
