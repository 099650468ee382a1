"""The example's task in a Celery worker that forks."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any, Callable

import pytest

from .support import PATIENCE, Agent, environment, running

# Folders for a message broker and a store of results.
PROJECT = """
    from celery_task import app, ask

    app.conf.broker_transport_options = {
        "data_folder_in": "messages", "data_folder_out": "messages", "control_folder": "control"
    }
    app.conf.result_backend = "file://results"
"""

ASK = """
    from billiard.exceptions import SoftTimeLimitExceeded
    from project import ask

    print(ask.delay("one").get(PATIENCE))
    try:
        ask.apply_async(["wait"], soft_time_limit=1).get(PATIENCE)
    except SoftTimeLimitExceeded:
        print("soft time limit")
    print(ask.delay("two").get(PATIENCE))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
def test_a_worker_and_its_soft_time_limit(local_runtime: Callable[..., Any], tmp_path: Path) -> None:
    agent = Agent()
    url = local_runtime(agent).url
    for folder in ("messages", "control", "results"):
        (tmp_path / folder).mkdir()
    (tmp_path / "project.py").write_text(textwrap.dedent(PROJECT), encoding="utf-8")
    options: dict[str, Any] = {"cwd": tmp_path, "env": environment(url, BROKER_URL="filesystem://")}
    with running("celery", "-A", "project", "worker", "--concurrency", "1", "--loglevel", "ERROR", **options):
        ask = textwrap.dedent(ASK).replace("PATIENCE", str(PATIENCE))
        asked = subprocess.run(
            [sys.executable, "-c", ask], stdout=subprocess.PIPE, text=True, timeout=PATIENCE, check=True, **options
        )
    assert asked.stdout.splitlines() == ["{'answer': 'one'}", "soft time limit", "{'answer': 'two'}"]
    assert agent.was_cancelled.is_set()
