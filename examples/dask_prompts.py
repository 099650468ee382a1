"""Many prompts over the workers of a Dask cluster: ``python dask_prompts.py tcp://scheduler:8786``.

Each line of standard input is a prompt. Without an address, the cluster is two processes on this machine.
"""

from __future__ import annotations

import os
import sys
from typing import Callable

import distributed

from runtimeuse_sync import Client, QueryOptions, RuntimeUseError, TextResult

# Of one worker process. A call waits for most of its time: more of them than there are cores do no harm.
AT_ONCE = 20


def ask(client: Client, prompt: str) -> str:
    """The agent's answer, or what went wrong."""
    options = QueryOptions(system_prompt="Be brief.", is_cancelled=future_is_cancelled(), timeout=600)
    try:
        data = client.query(prompt, options).data
    except RuntimeUseError as error:
        return f"{type(error).__name__}: {error}"
    return data.text if isinstance(data, TextResult) else str(data.structured_output)


def future_is_cancelled() -> Callable[[], bool]:
    """Asks whether the future of the running task has been cancelled, or nobody holds it any more.

    Dask does not interrupt a task that runs, but its worker knows; that question costs no message.
    """
    worker = distributed.get_worker()
    key = worker.get_current_task()

    def look() -> bool:
        task = worker.state.tasks.get(key)
        return task is None or task.state == "cancelled"

    return look


def ask_all(cluster: distributed.Client, client: Client, prompts: list[str]) -> list[distributed.Future]:
    """A future for each prompt. The client is pickled, and unpickled by each worker: it is configuration."""
    return cluster.map(ask, [client] * len(prompts), prompts, pure=False)  # not pure: two runs are two runs


def connect(address: str) -> distributed.Client:
    """The cluster at that address, or one on this machine."""
    if address:
        return distributed.Client(address)
    return distributed.Client(n_workers=2, threads_per_worker=AT_ONCE, dashboard_address=None)


def main(address: str) -> None:
    """Print the answers, in the order of the prompts."""
    prompts = [line.strip() for line in sys.stdin if line.strip()]
    client = Client(os.environ.get("RUNTIME_URL", "ws://localhost:8080"))
    with connect(address) as cluster:
        for prompt, answer in zip(prompts, ask_all(cluster, client, prompts)):
            print(f"{prompt}: {answer.result()}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")
