"""The example's function on a Dask cluster of two processes."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, Callable

import pytest

from .support import EXAMPLES, PATIENCE, Agent, environment

pytest.importorskip("distributed")


def start(url: str, *args: str) -> subprocess.Popen[str]:
    """In a process of its own: Dask has threads that live on."""
    return subprocess.Popen(
        [sys.executable, *args], env=environment(url), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_forty_prompts(local_runtime: Callable[..., Any]) -> None:
    prompts = [f"prompt {number}" for number in range(40)]
    with start(local_runtime(Agent()).url, str(EXAMPLES / "dask_prompts.py")) as program:
        said, _ = program.communicate("\n".join(prompts), timeout=PATIENCE)
    assert program.returncode == 0
    assert said.splitlines() == [f"{prompt}: {prompt}" for prompt in prompts]


# Is told when to cancel.
CANCEL = """
import os
from dask_prompts import ask_all, connect
from distributed import wait
from runtimeuse_sync import Client

client = Client(os.environ["RUNTIME_URL"])
with connect("") as cluster:
    answers = ask_all(cluster, client, [f"prompt {number}" for number in range(40)])
    wait(answers)
    print(sum(bool(keys) for keys in cluster.has_what().values()), "workers")
    [answer] = ask_all(cluster, client, ["wait"])
    input()
    answer.cancel()
    print("cancelled", flush=True)
    input()
"""


def test_a_future_that_is_cancelled(local_runtime: Callable[..., Any]) -> None:
    agent = Agent()
    with start(local_runtime(agent).url, "-c", CANCEL) as program:
        assert program.stdin is not None
        assert agent.is_waiting.wait(PATIENCE)
        print(file=program.stdin, flush=True)
        # The cluster is still there: nothing else has ended the run.
        assert agent.was_cancelled.wait(PATIENCE)
        said, _ = program.communicate("\n", timeout=PATIENCE)
    assert program.returncode == 0
    assert said.splitlines() == ["2 workers", "cancelled"]
