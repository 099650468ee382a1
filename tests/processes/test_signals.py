"""Signals whose handlers raise, at random moments of calls in real processes: Ctrl-C, and Celery's soft time limit."""

from __future__ import annotations

import collections
import contextlib
import os
import random
import re
import signal
import threading
import time
from typing import Any, Callable

import attrs
import pytest

from runtimeuse_sync import AssistantMessageInterface, CancelMessage, ErrorMessageInterface, InvocationMessage
from runtimeuse_sync.testing import Disconnected, Peer, ScriptedRuntime

from ..support import is_within, text_result, wait_until
from .support import Child, child

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and POSIX signals")

Start = Callable[..., ScriptedRuntime]

# Seconds from a signal to the end of what it interrupts; and how much longer one may take, for the machine may stand
# still.
LIMIT = 1.5
STANDSTILL = 2.5

# Seconds until a trial that says nothing has failed: longer than it takes one to find that a thread is left behind.
PATIENCE = 30.0

# One trial in so many waits for the runtime to be at work: on a slow machine, all others might be over before that.
CERTAIN = 4

# How many signals may land where CPython throws exceptions away: in the callback of the set that `threading` keeps
# of all threads. Those are tried again.
CPYTHONS_SHARE = 5

# The number of the call that is no trial.
WARM_UP = -1

# A process that has imported everything, and forks one for each trial: a trial is over in a tenth of a second.
TRIALS = """
    import json, os, signal, sys, threading, time, traceback
    from runtimeuse_sync import Client, InvocationMessage, QueryOptions

    class SoftTimeLimitExceeded(Exception):
        '''What Celery raises from its signal handler; it is no BaseException of its own.'''

    def on_soft_time_limit(number, frame):
        raise SoftTimeLimitExceeded

    def again_and_again():
        give_up = time.monotonic() + 5
        while time.monotonic() < give_up:
            yield

    def invoke(client, invocation):
        for _ in again_and_again():
            client.invoke(invocation, on_assistant_message=len_of)

    def in_session(client, invocation):
        with client.session() as session:
            for _ in again_and_again():
                session.invoke(invocation, on_assistant_message=len_of)

    def stream(client, invocation):
        for _ in again_and_again():
            with client.stream(invocation) as run:
                for message in run:
                    pass

    def len_of(message):
        return len(message.text_blocks)

    def say(**what):
        os.write(1, (json.dumps(what) + "\\n").encode())

    def left_behind():
        give_up = time.monotonic() + 10
        while time.monotonic() < give_up:
            left = [t.name for t in threading.enumerate() if t is not threading.main_thread()]
            left += sorted(set(os.listdir("/proc/self/fd")) - before)
            if not left:
                break
            time.sleep(0.005)
        return left

    def note_what_is_lost(what):
        # On Python 3.13 an exception inside Thread.start() makes the new thread trip over its own registration.
        in_thread_start = isinstance(what.exc_value, KeyError) and "runtimeuse-connection" in str(what.exc_value)
        if "WeakSet" in repr(what.object):
            swallowed.append(repr(what.exc_value))
        elif not isinstance(what.exc_value, ResourceWarning) and not in_thread_start:
            lost.append(f"{what.exc_value!r} in {what.object!r}")

    def trial(url, how):
        call = {"invoke": invoke, "session": in_session, "stream": stream}[how]
        invocation = InvocationMessage(system_prompt="", user_prompt="")
        name, where = "nothing", ""
        try:
            say(pid=os.getpid())
            call(Client(url), invocation)
        except BaseException as error:
            name = type(error).__name__
            where = traceback.format_exc()
        ended = time.monotonic()
        say(outcome=name, where=where, ended=ended, left=left_behind(), lost=lost, swallowed=bool(swallowed))

    lost, swallowed = [], []
    sys.unraisablehook = note_what_is_lost
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGUSR1, on_soft_time_limit)
    # What the first call imports is imported here: an import that is interrupted may lose the exception (CPython).
    Client(sys.argv[1]).query("", QueryOptions(system_prompt=""))
    before = set(os.listdir("/proc/self/fd"))
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            trial(*json.loads(line))
            os._exit(0)
        os.waitpid(pid, 0)
"""


@attrs.define
class Seen:
    """What the runtime saw of one connection."""

    trial: int
    asked: bool = False
    answered: bool = False
    cancelled: bool = False


class Agent:
    """A runtime that works for a moment on each request, and keeps a record of each connection."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.is_at_work = threading.Event()

    def __call__(self, peer: Peer) -> None:
        seen = Seen(int(peer.path[1:]))
        self.seen.append(seen)
        while True:
            request = peer.receive(timeout=30)
            if isinstance(request, InvocationMessage):
                seen.asked, seen.answered = True, False
                self._work(peer, seen)
            elif isinstance(request, CancelMessage):
                seen.cancelled = True

    def _work(self, peer: Peer, seen: Seen) -> None:
        is_certain = seen.trial % CERTAIN == 0
        if is_certain:
            self.is_at_work.set()
        try:
            message = peer.receive(timeout=10 if is_certain else random.choice([0.0001, 0.005, 0.02, 3, 3]))
        except AssertionError:
            seen.answered = True
            say(peer, AssistantMessageInterface(text_blocks=["x"]), text_result("done"))
        else:
            seen.cancelled = isinstance(message, CancelMessage)
            say(peer, ErrorMessageInterface(error="Request cancelled"))


def say(peer: Peer, *messages: Any) -> None:
    """Send, if somebody is there. What a client said before it left is still to be received."""
    with contextlib.suppress(Disconnected):
        peer.send(*messages)


def interrupt(trials: Child, agent: Agent, url: str, index: int, number: int) -> dict[str, Any]:
    """One trial: what the child says of its end, and the seconds that it took to get there."""
    agent.is_at_work.clear()
    trials.write([f"{url}/{index}", ("invoke", "session", "stream")[index % 3]])
    pid = trials.read()["pid"]
    if index % CERTAIN == 0:
        assert agent.is_at_work.wait(10)
    # The moment is what is random here; nothing is synchronised by it.
    time.sleep(random.uniform(0, 0.04))
    began = time.monotonic()
    os.kill(pid, number)
    end: dict[str, Any] = trials.read(PATIENCE)
    return {**end, "trial": index, "took": end["ended"] - began}


def wait_until_gone() -> None:
    """Until the runtime has seen the end of every connection."""
    wait_until(lambda: not any(thread.name.startswith("ScriptedRuntime script") for thread in threading.enumerate()))


def left(end: dict[str, Any]) -> list[str]:
    """What stayed behind; not if the signal landed in Thread.start(), whose records do not survive it."""
    return [] if re.search(r'threading\.py", line \d+, in start\n', end["where"]) else end["left"]


def report(expected: str, ends: list[dict[str, Any]], untold: set[int]) -> None:
    """Print where those signals landed that were not handled as they should be; pytest shows it on failure."""
    for end in ends:
        remarks = [end["outcome"]] * (end["outcome"] != expected) + left(end) + end["lost"]
        remarks += ["took too long"] * (end["took"] > LIMIT) + ["untold"] * (end["trial"] in untold)
        if remarks:
            print(end["trial"], remarks, end["where"], sep="\n")


def try_moments(start: Start, number: int, expected: str, count: int) -> None:
    agent = Agent()
    runtime = start(agent)
    ends: list[dict[str, Any]] = []
    with child(TRIALS, f"{runtime.url}/{WARM_UP}") as trials:
        for index in range(count + CPYTHONS_SHARE):
            end = interrupt(trials, agent, runtime.url, index, number)
            if not end["swallowed"]:
                ends.append(end)
            if len(ends) == count:
                break
    wait_until_gone()
    untold = {seen.trial for seen in agent.seen if seen.asked and not seen.answered and not seen.cancelled}
    report(expected, ends, untold)
    assert collections.Counter(end["outcome"] for end in ends) == {expected: count}
    *_, second, longest = sorted(end["took"] for end in ends)
    assert second < LIMIT
    assert longest < LIMIT + STANDSTILL
    assert [left(end) + end["lost"] for end in ends if left(end) or end["lost"]] == []
    assert untold == set()
    # Otherwise the moments were not where it matters.
    assert sum(seen.cancelled for seen in agent.seen) > count / 10


@pytest.mark.parametrize("count", [12, pytest.param(200, marks=[pytest.mark.slow, pytest.mark.timeout(300)])])
def test_ctrl_c_at_random_moments(scripted_runtime: Start, count: int) -> None:
    try_moments(scripted_runtime, signal.SIGINT, "KeyboardInterrupt", count)


@pytest.mark.parametrize("count", [6, pytest.param(100, marks=[pytest.mark.slow, pytest.mark.timeout(300)])])
def test_a_soft_time_limit_at_random_moments(scripted_runtime: Start, count: int) -> None:
    try_moments(scripted_runtime, signal.SIGUSR1, "SoftTimeLimitExceeded", count)


ABORTABLE = """
    import json, os, signal, sys
    from runtimeuse_sync import CancelledException, Client, InvocationMessage

    client = Client(sys.argv[1])
    if sys.argv[2] == "graceful":
        signal.signal(signal.SIGTERM, lambda number, frame: client.abort())

    def tell(message):
        os.write(1, b'"running"\\n')

    try:
        client.invoke(InvocationMessage(system_prompt="", user_prompt=""), on_assistant_message=tell)
    except CancelledException:
        os.write(1, b'"aborted"\\n')
"""


def test_abort_from_a_signal_handler(scripted_runtime: Start) -> None:
    """The handler runs on the very thread that waits in the call."""

    def script(peer: Peer) -> None:
        peer.expect(InvocationMessage)
        peer.send(AssistantMessageInterface(text_blocks=["x"]))
        peer.expect(CancelMessage)
        peer.send(ErrorMessageInterface(error="Request cancelled"))

    runtime = scripted_runtime(script)

    def seconds_until_the_end() -> float:
        with child(ABORTABLE, runtime.url, "graceful") as running:
            assert running.read() == "running"
            began = time.monotonic()
            running.process.terminate()
            assert running.read() == "aborted"
            assert running.process.wait(5) == 0
            return time.monotonic() - began

    assert is_within(LIMIT, seconds_until_the_end)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
def test_a_killed_process_ends_its_connection(scripted_runtime: Start, number: int) -> None:
    gone = threading.Event()

    def script(peer: Peer) -> None:
        peer.expect(InvocationMessage)
        peer.send(AssistantMessageInterface(text_blocks=["x"]))
        try:
            peer.receive(timeout=10)
        except Disconnected:
            gone.set()

    runtime = scripted_runtime(script)
    with child(ABORTABLE, runtime.url, "") as running:
        assert running.read() == "running"
        os.kill(running.process.pid, number)
        assert gone.wait(5)
        assert running.process.wait(5) == -number
