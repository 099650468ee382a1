"""The operator of docs/cookbook.rst, run by Airflow's own task runner, and killed by its signal: ``tox -e airflow``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

from .support import EXAMPLES, PATIENCE, Agent

pytest.importorskip("airflow.sdk")
pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="Airflow needs POSIX"),
    pytest.mark.timeout(120),
]

# In a process of its own, which has a main thread for the signal. What a server would say of the task is made up; the
# rest is Airflow's: templates, the connection, the handler of SIGTERM, the task's state and XCom.
TASK = """
    import sys
    from uuid import uuid4

    import httpx
    from airflow.sdk import DAG
    from airflow.sdk.api.client import Client
    from airflow.sdk.api.datamodels._generated import TaskInstance
    from airflow.sdk.execution_time.supervisor import run_task_in_process
    from airflow_operator import AgentOperator

    START = "2026-01-01T00:00:00Z"
    UNKNOWN = ["data_interval_start", "data_interval_end", "end_date", "partition_key"]
    RUN = {
        **{"dag_id": "dag", "run_id": "run", "run_type": "manual", "state": "running", "consumed_asset_events": []},
        **{"logical_date": START, "start_date": START, "run_after": START},
        **dict.fromkeys(UNKNOWN),
    }

    def server(request):
        if request.url.path.startswith("/xcoms/"):
            print("XCom", request.content.decode())
        return httpx.Response(200, json={"dag_run": RUN, "max_tries": 0, "should_retry": False})

    with DAG("dag", schedule=None):
        task = AgentOperator(task_id="ask", prompt=sys.argv[1])
    names = {"task_id": "ask", "dag_id": "dag", "run_id": "run", "queue": "default"}
    numbers = {"try_number": 1, "pool_slots": 1, "priority_weight": 1}
    instance = TaskInstance(id=uuid4(), dag_version_id=uuid4(), **names, **numbers)
    api = Client(base_url=None, dry_run=True, token="", transport=httpx.MockTransport(server))
    done = run_task_in_process(instance, task, api)
    print("state", done.state.value, type(done.error).__name__)
"""

Run = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def run(local_runtime: Callable[..., Any], tmp_path: Path) -> Iterator[Run]:
    """A task that asks an agent."""
    started: list[subprocess.Popen[str]] = []

    def run(agent: Agent, prompt: str) -> subprocess.Popen[str]:
        url = local_runtime(agent, token="s3cret").url
        connection = json.dumps({"conn_type": "generic", "host": url, "password": "s3cret"})
        environment = {**os.environ, "AIRFLOW_HOME": str(tmp_path), "AIRFLOW_CONN_RUNTIMEUSE": connection}
        environment["PYTHONPATH"] = str(EXAMPLES / "cookbook")
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", textwrap.dedent(TASK), prompt],
                env=environment,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        return started[0]

    yield run
    for task in started:
        with task:
            task.kill()


def test_an_answer_is_the_tasks_xcom_and_the_prompt_a_template(run: Run) -> None:
    out, _ = run(Agent(), "I am {{ ti.task_id }}").communicate(timeout=PATIENCE)
    assert 'XCom "I am ask"' in out
    assert "You said: I am ask" in out
    assert "state success NoneType" in out


def test_a_task_that_is_killed_cancels_its_run(run: Run) -> None:
    agent = Agent()
    task = run(agent, "wait")
    assert agent.is_waiting.wait(PATIENCE)
    task.send_signal(signal.SIGTERM)
    out, _ = task.communicate(timeout=PATIENCE)
    assert agent.was_cancelled.wait(PATIENCE)
    assert "state failed CancelledException" in out
