"""What README.rst shows is run, and prints what README.rst says."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.rst").read_text(encoding="utf-8")

# The block's lines are indented or empty; so are those of what it prints, if that is told.
BLOCK = r"((?:\n|    .*\n)+)"
PROGRAMS = re.findall(rf"\.\. code-block:: python\n{BLOCK}(?:It prints::\n{BLOCK})?", README)


@pytest.mark.parametrize(("program", "output"), PROGRAMS)
def test_programs_do_what_is_said(program: str, output: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(textwrap.dedent(program), {"__name__": "__main__"})
    assert not output or capsys.readouterr().out.strip() == textwrap.dedent(output).strip()


def test_there_are_programs() -> None:
    assert PROGRAMS
