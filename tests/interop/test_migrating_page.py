"""The program of docs/migrating.rst that is to be moved over runs with the published client, and prints the same."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from runtimeuse_sync.local import LocalRuntime

pytest.importorskip("runtimeuse_client")

PAGE = (Path(__file__).parents[2] / "docs" / "migrating.rst").read_text(encoding="utf-8")


def test_what_was_prints_what_is_now_printed(capsys: pytest.CaptureFixture[str]) -> None:
    program = re.search(r"\.\. code-block:: py\n((?:\n|    .*\n)+)", PAGE)
    printed = re.search(r"It prints::\n((?:\n|    .*\n)+)", PAGE)
    assert program is not None
    assert printed is not None

    def agent(invocation, sender):  # type: ignore[no-untyped-def]
        sender.assistant(f"You said: {invocation.user_prompt}")
        return invocation.user_prompt

    with LocalRuntime(agent) as runtime:
        exec(compile(textwrap.dedent(program[1]), "migrating.rst", "exec", dont_inherit=True), {"url": runtime.url})
    assert capsys.readouterr().out.strip() == textwrap.dedent(printed[1]).strip()
