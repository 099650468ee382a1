"""Where it is called from: threads, event loops, many at once; and that nothing is left behind."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import itertools
import os
import pickle
import subprocess
import sys
import textwrap
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any, Callable

import pytest

from runtimeuse_sync import (
    AssistantMessageInterface,
    Client,
    InvocationMessage,
    QueryOptions,
    RuntimeUseError,
)
from runtimeuse_sync.testing import Peer, Reply, ScriptedRuntime, generation

from ..support import invocation, text_result, wait_until

Start = Callable[..., ScriptedRuntime]
OPTIONS = QueryOptions(system_prompt="")


def echo(peer: Peer) -> None:
    prompt = peer.expect(InvocationMessage, timeout=30).user_prompt
    peer.send(AssistantMessageInterface(text_blocks=[prompt]), text_result(prompt))


def test_from_a_thread_whose_event_loop_is_running(scripted_runtime: Start) -> None:
    client = Client(scripted_runtime(echo).url)

    async def cell() -> Any:
        return client.query("hello", OPTIONS).data

    assert asyncio.run(cell()).text == "hello"


def test_from_twenty_threads_sharing_one_client(scripted_runtime: Start) -> None:
    client = Client(scripted_runtime(echo).url)
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda number: client.query(str(number), OPTIONS).data, range(60)))
    assert [answer.text for answer in answers] == [str(number) for number in range(60)]  # type: ignore[union-attr]


def test_contextvars_of_the_caller_are_seen_in_callbacks(scripted_runtime: Start) -> None:
    request_id = contextvars.ContextVar("request_id", default="none")
    request_id.set("abc")
    seen: list[str] = []
    Client(scripted_runtime(echo).url).invoke(
        invocation(), on_assistant_message=lambda _: seen.append(request_id.get())
    )
    assert seen == ["abc"]


def footprint() -> tuple[int, int]:
    gc.collect()
    return threading.active_count(), len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
def test_two_hundred_calls_in_a_row_leave_nothing(scripted_runtime: Start) -> None:
    replies = (Reply(), Reply(error="no"), Reply(messages=[AssistantMessageInterface(text_blocks=["x"])], hangs=True))
    client = Client(scripted_runtime(generation("0.15", *(replies * 70))).url)
    stop = threading.Event()
    stop.set()
    outcomes: list[str] = []
    before = footprint()
    for _ in range(200):
        try:
            client.invoke(invocation(), on_assistant_message=lambda _: client.abort())
            outcomes.append("result")
        except RuntimeUseError as error:
            outcomes.append(type(error).__name__)
    wait_until(lambda: footprint() == before)  # the runtime's side of the last connection ends by itself
    assert outcomes == (["result", "AgentRuntimeError", "CancelledException"] * 67)[:200]


@pytest.mark.parametrize("how", ["lost", "error", "timeout", "callback"])
def test_a_failed_call_leaves_no_cycle_for_the_collector(scripted_runtime: Start, how: str) -> None:
    """What it held, messages and all, is free at once, and not when the collector gets to it."""
    said = {"message_type": "error_message", "error": "no"}

    def script(peer: Peer) -> None:
        peer.expect(InvocationMessage)
        peer.send(AssistantMessageInterface(text_blocks=["x"]))
        if how == "timeout":
            peer.silence()
        elif how == "error":
            peer.send(said)

    def fail(message: AssistantMessageInterface) -> None:
        if how == "callback":
            raise CallbackError

    class CallbackError(Exception):
        pass

    client = Client(scripted_runtime(script).url)
    gc.collect()
    gc.disable()
    try:
        try:
            client.invoke(invocation(), on_assistant_message=fail, timeout=1.5 if how == "timeout" else 30)
        except Exception as error:  # noqa: BLE001 - whichever it is
            reference = weakref.ref(error)
        wait_until(lambda: reference() is None)  # the connection's thread lets go of it when it ends
    finally:
        gc.enable()


def test_fifty_calls_at_once(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(
        [generation("0.15", *reply) for reply in [(Reply(),), (Reply(error="no"),), (Reply(hangs=True),)] * 17]
    )
    client = Client(runtime.url)
    begin = threading.Barrier(50)

    def call() -> str:
        begin.wait(30)
        try:
            client.invoke(invocation())
        except RuntimeUseError as error:
            return type(error).__name__
        return "result"

    with ThreadPoolExecutor(50) as pool:
        calls = [pool.submit(call) for _ in range(50)]
        for _ in itertools.islice(as_completed(calls, timeout=30), 34):
            pass
        client.abort()  # those that hang
        outcomes = [call.result() for call in calls]
    assert {name: outcomes.count(name) for name in set(outcomes)} == {
        "result": 17,
        "AgentRuntimeError": 17,
        "CancelledException": 16,
    }


def test_a_client_travels_to_other_processes(scripted_runtime: Start) -> None:
    client = Client(scripted_runtime(echo).url, headers={"X-Token": "abc"}, connect_timeout=5)
    copy = pickle.loads(pickle.dumps(client))
    assert (copy.ws_url, copy.headers, copy.connect_timeout) == (client.ws_url, client.headers, 5)
    assert copy.query("hello", OPTIONS).data.text == "hello"


EXIT_IN_MID_RUN = """
    import sys, threading
    from runtimeuse_sync import Client, InvocationMessage

    begun = threading.Event()
    threading.Thread(
        target=lambda: Client(sys.argv[1]).invoke(
            InvocationMessage(system_prompt="", user_prompt=""), on_assistant_message=lambda _: begun.set()
        ),
        daemon=True,
    ).start()
    assert begun.wait(30)
"""


def test_the_interpreter_ends_in_the_middle_of_a_daemon_threads_call(scripted_runtime: Start) -> None:
    reply = Reply(messages=[AssistantMessageInterface(text_blocks=["x"])], hangs=True)
    runtime = scripted_runtime(generation("0.15", reply))
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(EXIT_IN_MID_RUN), runtime.url],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
