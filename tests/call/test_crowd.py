"""Many calls at once in one process: all succeed, and what is promised of a call's time holds beside 500 that wait."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Callable

import pytest

from runtimeuse_sync import (
    CancelledException,
    CancelMessage,
    Client,
    InvocationMessage,
    InvocationTimeoutError,
    RuntimeUseError,
)
from runtimeuse_sync.testing import Reply, ScriptedRuntime, generation

from ..processes.support import child, result_of
from ..support import invocation, is_within, usual

try:
    import resource
except ImportError:  # Windows
    pytest.skip("needs POSIX", allow_module_level=True)

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(300)]

SERVER = Path(__file__).with_name("crowd_server.py")
OTHERS = 500
ALL_AT_ONCE = 2000
# More than a call has.
DESCRIPTORS_A_CALL = 5

Start = Callable[..., ScriptedRuntime]


@contextmanager
def descriptors_for(calls: int) -> Iterator[None]:
    """This process, and those that it starts, may open enough."""
    needed = 200 + calls * DESCRIPTORS_A_CALL
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        pytest.skip(f"needs {needed} descriptors, and the hard limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def crowd_server(together: int) -> Iterator[str]:
    command = [sys.executable, str(SERVER), str(together)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield f"ws://127.0.0.1:{server.stdout.readline().strip()}"
        finally:
            server.kill()


class Crowd:
    """Calls that wait until they are aborted; every other one has an Event."""

    def __init__(self, url: str) -> None:
        self._client = Client(url)
        self._waiting = threading.Semaphore(0)
        self._threads = [threading.Thread(target=self._call, args=(number,)) for number in range(OTHERS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()
        for _ in self._threads:
            assert self._waiting.acquire(timeout=60), "not all calls came to wait"

    def _call(self, number: int) -> None:
        try:
            self._client.invoke(
                invocation(),
                on_assistant_message=lambda message: self._waiting.release(),
                is_cancelled=threading.Event() if number % 2 else None,
            )
        except RuntimeUseError:  # if it is no cancellation, somebody misses that it waits
            pass

    def end(self) -> None:
        self._client.abort()
        for thread in self._threads:
            thread.join()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Where calls wait for ever."""
    with descriptors_for(2 * OTHERS), crowd_server(together=0) as found:
        yield found


@pytest.fixture
def others(url: str) -> Iterator[None]:
    crowd = Crowd(url)
    try:
        crowd.start()
        yield
    finally:
        crowd.end()


def in_thread(function: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=function)
    thread.start()
    return thread


@pytest.fixture
def until_cancelled(scripted_runtime: Start) -> Callable[[bool], float]:
    """Seconds from a cancellation of a silent call, by an Event or ``abort()``, to the runtime's hearing of it."""

    def measure(by_event: bool) -> float:
        runtime = scripted_runtime(generation("0.15", Reply(hangs=True)))
        client, stop = Client(runtime.url), threading.Event()
        asked: list[float] = []

        def cancel() -> None:
            runtime.wait_for(InvocationMessage)
            asked.append(time.monotonic())
            stop.set() if by_event else client.abort()

        thread = in_thread(cancel)
        with pytest.raises(CancelledException):
            client.invoke(invocation(), is_cancelled=stop if by_event else None)
        thread.join()
        return runtime.received_at(CancelMessage) - asked[0]

    return measure


@pytest.mark.usefixtures("others")
@pytest.mark.parametrize(("by_event", "limit"), [(True, 0.1), (False, 0.02)], ids=["Event", "abort"])
def test_a_cancellation_arrives(until_cancelled: Callable[[bool], float], by_event: bool, limit: float) -> None:
    assert is_within(limit, lambda: usual(lambda: until_cancelled(by_event)))


@pytest.mark.usefixtures("others")
def test_a_timeout_holds(scripted_runtime: Start) -> None:
    def measure() -> float:
        runtime = scripted_runtime(generation("0.15", Reply(hangs=True)))
        began = time.monotonic()
        with pytest.raises(InvocationTimeoutError):
            Client(runtime.url).invoke(invocation(), timeout=0.3)
        return time.monotonic() - began

    assert is_within(0.3 + 1.25, lambda: usual(measure))


CALLS = """
    import json, re, sys, threading
    from collections import Counter
    from runtimeuse_sync import Client, InvocationMessage, RuntimeUseError

    client, calls = Client(sys.argv[1]), int(sys.argv[2])
    invocation = InvocationMessage(system_prompt="Be brief.", user_prompt="Hello")
    waiting = threading.Semaphore(0)
    outcomes = []

    def call():
        try:
            outcome = client.invoke(
                invocation, on_assistant_message=lambda message: waiting.release(), timeout=120
            ).text
        except RuntimeUseError as error:
            outcome = f"{type(error).__name__}: {error}"
        outcomes.append(outcome)

    threads = [threading.Thread(target=call, daemon=True) for _ in range(calls)]
    for thread in threads:
        thread.start()
"""

INTERRUPTED = (
    CALLS
    + """
    for _ in threads:
        waiting.acquire()
    client.invoke(invocation, on_assistant_message=lambda message: print("true", flush=True))
"""
)


def test_ctrl_c_ends_the_program(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    def measure() -> float:
        with child(INTERRUPTED, url, str(OTHERS)) as program:
            assert program.read(timeout=60)
            began = time.monotonic()
            os.kill(program.process.pid, signal.SIGINT)
            assert program.process.wait(60) == -signal.SIGINT
            return time.monotonic() - began

    assert is_within(1.5, measure)
    assert capfd.readouterr().err.rstrip().endswith("KeyboardInterrupt")


ENDED = (
    CALLS
    + """
    import resource

    def switches():
        return resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw

    for _ in threads:
        waiting.acquire()
    before = switches()
    print("true", flush=True)
    if sys.stdin.readline() == '"abort"\\n':
        client.abort()
    for thread in threads:
        thread.join()
    kinds = Counter(outcome.partition(":")[0] for outcome in outcomes)
    print(json.dumps({"outcomes": kinds, "switches": switches() - before}))
"""
)

# For each call, from one thread to another, while all of them end: some five are needed. With a thread for each
# connection there were 2,000, since each thread that waits for the GIL wakes up every 5 ms.
SWITCHES = 100


@pytest.mark.parametrize(
    ("how", "outcome"),
    [("result", "all together"), ("lost", "ConnectionLostError"), ("abort", "CancelledException")],
)
def test_two_thousand_that_end_at_the_same_moment(how: str, outcome: str) -> None:
    with descriptors_for(ALL_AT_ONCE), ExitStack() as serving:
        url = serving.enter_context(crowd_server(together=ALL_AT_ONCE if how == "result" else 0))
        with child(ENDED, url, str(ALL_AT_ONCE)) as program:
            assert program.read(timeout=100)
            program.write(how)
            if how == "lost":
                serving.close()
            found = program.read(timeout=100)
    assert found["outcomes"] == {outcome: ALL_AT_ONCE}
    assert found["switches"] < SWITCHES * ALL_AT_ONCE


COUNTED = (
    CALLS
    + """
    for thread in threads:
        thread.join()
    with open("/proc/self/status") as status:
        peak = re.search(r"VmHWM:\\s+(\\d+) kB", status.read())
    print(json.dumps({"outcomes": Counter(outcomes), "peak_mib": int(peak[1]) / 1024}))
"""
)


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs /proc")
def test_two_thousand_at_once() -> None:
    with descriptors_for(ALL_AT_ONCE), crowd_server(together=ALL_AT_ONCE) as url:
        found = result_of(COUNTED, url, str(ALL_AT_ONCE), timeout=200)
    assert found["outcomes"] == {"all together": ALL_AT_ONCE}
    assert found["peak_mib"] < 250
