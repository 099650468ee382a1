"""The example's tasks in Celery workers, with Redis between them and those who ask."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Callable

import pytest

from runtimeuse_sync import InvocationMessage

from .redis_server import needs_redis, redis_server
from .support import PATIENCE, Agent, environment, running

pytestmark = [needs_redis, pytest.mark.skipif(sys.platform == "win32", reason="needs fork")]

Place = dict[str, Any]


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


class PatientOnce(Agent):
    """Waits only until a run has been cancelled: whoever asks again is answered."""

    def __call__(self, invocation: InvocationMessage, sender: Any) -> str:
        return invocation.user_prompt if self.was_cancelled.is_set() else super().__call__(invocation, sender)


@pytest.fixture
def agent() -> Agent:
    return PatientOnce()


@pytest.fixture
def place(agent: Agent, redis: str, local_runtime: Callable[..., Any], tmp_path: Path) -> Place:
    """What workers, and those who ask, are started with."""
    return {"cwd": tmp_path, "env": environment(local_runtime(agent).url, BROKER_URL=redis, RESULT_BACKEND=redis)}


def worker(place: Place, *options: str, app: str = "celery_task") -> AbstractContextManager[subprocess.Popen[bytes]]:
    return running("celery", "-A", app, "worker", "--loglevel", "ERROR", "--without-mingle", *options, **place)


def run(place: Place, program: str) -> list[str]:
    """What it prints. In a process of its own: Celery opens what it never closes."""
    source = f"PATIENCE = {PATIENCE}\n" + textwrap.dedent(program)
    done = subprocess.run(
        [sys.executable, "-c", source], stdout=subprocess.PIPE, text=True, timeout=PATIENCE, check=True, **place
    )
    return done.stdout.splitlines()


CHORD = """
    from celery_task import ask_all

    print(ask_all(f"prompt {number}" for number in range(20)).get(PATIENCE))
"""


def test_a_chord_of_twenty_prompts(place: Place) -> None:
    with worker(place, "--concurrency", "4"):
        assert run(place, CHORD) == [str({"answers": [f"prompt {number}" for number in range(20)], "asked": 20})]


# Revokes the task as soon as it hears of it; then there has to be a worker still.
REVOKE = """
    from celery.exceptions import TaskRevokedError
    from celery_task import ask, watch

    def hear(state):
        if state["status"] == "PROGRESS":
            print(state["result"])
            task.revoke(terminate=True, signal={signal!r})

    task = watch.delay("wait")
    try:
        task.get(PATIENCE, on_message=hear)
    except TaskRevokedError:
        print("revoked")
    print(ask.delay("next").get(PATIENCE))
"""


@pytest.mark.parametrize("sent", ["SIGTERM", "SIGUSR1"])
def test_progress_and_a_task_that_is_revoked(place: Place, agent: Agent, sent: str) -> None:
    """SIGTERM, the default, ends the process, and so the connection; SIGUSR1 raises in the call, which goes on to say
    that the run is cancelled."""
    with worker(place, "--concurrency", "1"):
        said = run(place, REVOKE.format(signal=sent))
    assert said == ["{'says': ['You said: wait']}", "revoked", "{'answer': 'next'}"]
    assert agent.was_cancelled.is_set()


START = """
    from celery_task import {task}

    print({task}.delay("wait").id)
"""
FINISH = """
    from celery_task import app

    print(app.AsyncResult({id!r}).get(PATIENCE))
"""


def start(place: Place, agent: Agent, task: str) -> str:
    """The id of a task whose run has reached the agent."""
    [found] = run(place, START.format(task=task))
    assert agent.is_waiting.wait(PATIENCE)
    return found


def finish(place: Place, task: str) -> list[str]:
    return run(place, FINISH.format(id=task))


PROCESS = """
    from celery_task import app

    [[task]] = app.control.inspect(timeout=PATIENCE, limit=1).active().values()
    print(task["worker_pid"])
"""


def test_a_late_acknowledgement_outlives_the_process_that_has_the_task(place: Place, agent: Agent) -> None:
    """As when it takes too much memory."""
    with worker(place, "--concurrency", "1"):
        task = start(place, agent, "ask_again")
        [process] = run(place, PROCESS)
        os.kill(int(process), signal.SIGKILL)
        assert finish(place, task) == ["{'answer': 'wait'}"]
    assert agent.was_cancelled.is_set()


# Seconds until another worker gets a task that the last one has not acknowledged, and between two looks for such.
IMPATIENT = """
from celery_task import app

app.conf.broker_transport_options = {
    "visibility_timeout": 1, "unacked_restore_interval": 1, "unacked_restore_throttle": 1
}
"""


def test_and_the_worker_with_all_its_processes(place: Place, agent: Agent, tmp_path: Path) -> None:
    """As when its machine ends."""
    (tmp_path / "impatient.py").write_text(IMPATIENT, encoding="utf-8")
    options = ("--concurrency", "1")
    with worker({**place, "start_new_session": True}, *options, app="impatient") as lost:
        task = start(place, agent, "ask_again")
        os.killpg(lost.pid, signal.SIGKILL)
        lost.wait(PATIENCE)
    assert agent.was_cancelled.wait(PATIENCE)
    with worker(place, *options, app="impatient"):
        assert finish(place, task) == ["{'answer': 'wait'}"]


ABORT = """
    from celery.contrib.abortable import AbortableAsyncResult
    from celery_task import app

    AbortableAsyncResult({id!r}).abort()
"""


def test_a_task_in_a_pool_of_threads_that_is_aborted(place: Place, agent: Agent) -> None:
    with worker(place, "--pool", "threads", "--concurrency", "50"):
        task = start(place, agent, "ask_until_aborted")
        run(place, ABORT.format(id=task))
        assert agent.was_cancelled.wait(PATIENCE)
