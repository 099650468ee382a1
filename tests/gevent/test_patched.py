"""In a process where ``gevent.monkey.patch_all()`` came first: every wait must let the other greenlets run.

The runtime is in the process of the test, which is not patched.
"""

from __future__ import annotations

import json
import ssl
import statistics
import threading
from pathlib import Path
from typing import Any, Callable

import pytest
import trustme

from runtimeuse_sync import (
    AssistantMessageInterface,
    CancelMessage,
    EndSessionMessage,
    InvocationMessage,
)
from runtimeuse_sync.testing import Peer, Reply, ScriptedRuntime, generation

from ..processes.support import result_of
from ..raw_server import RawPeer, RawServer, frame
from ..support import text_result

Start = Callable[..., ScriptedRuntime]

# The longest that the hub may usually be held up, in seconds: a wait of 0.25 s does not pass.
MOMENT = 0.2

# How often that is measured: the machine may stand still.
TIMES = 5

PATCHED = """
    from gevent import monkey
    monkey.patch_all()

    import json, statistics, sys, threading, time
    import gevent
    from runtimeuse_sync import Client, InvocationMessage, QueryOptions, RuntimeUseError

    client = Client(sys.argv[1])
    invocation = InvocationMessage(system_prompt="", user_prompt="hi")

    def outcome(call, *args, **options):
        try:
            return call(*args, **options).text
        except RuntimeUseError as error:
            return type(error).__name__

    def say(*values):
        print(json.dumps(values))

    class Ticker:
        '''A greenlet that notices when it is not let run.'''

        def __enter__(self):
            self.longest = 0.0
            self.greenlet = gevent.spawn(self.tick)
            gevent.sleep(0)
            return self

        def tick(self):
            while True:
                before = time.monotonic()
                gevent.sleep(0.01)
                self.longest = max(self.longest, time.monotonic() - before - 0.01)

        def __exit__(self, *error):
            self.greenlet.kill()

    def longest_of(work):
        with Ticker() as ticker:
            work()
        return ticker.longest

    def held_up(work):
        '''For how long ``work`` usually does so.'''
        return statistics.median(longest_of(work) for _ in range(TIMES))
""".replace("TIMES", str(TIMES))


def patched(source: str, *args: str) -> list[Any]:
    result: list[Any] = result_of(PATCHED + source, *args, timeout=50)
    return result


def test_it_is_patched() -> None:
    source = """
    import socket
    say(socket.socket.__module__, type(threading.Lock()).__module__, threading.Thread.start.__module__)
    """
    assert [name.partition(".")[0] for name in patched(source, "ws://localhost:1")][:2] == ["gevent", "gevent"]


def test_invoke_while_other_greenlets_run(scripted_runtime: Start) -> None:
    def script(peer: Peer) -> None:
        peer.expect(InvocationMessage)
        peer.send(AssistantMessageInterface(text_blocks=["x"]))
        peer.pause(0.4)
        peer.send(text_result("done"))
        peer.silence()

    source = """
    heard = []

    def work():
        heard.append(outcome(client.invoke, invocation, on_assistant_message=lambda m: heard.append(m.text_blocks)))

    say(held_up(work), heard)
    """
    longest, heard = patched(source, scripted_runtime(script).url)
    assert heard == [["x"], "done"] * TIMES
    assert longest < MOMENT


@pytest.mark.parametrize("how", ["event", "abort"])
def test_cancelling_from_another_greenlet(scripted_runtime: Start, how: str) -> None:
    runtime = scripted_runtime(
        generation("0.15", Reply(messages=[AssistantMessageInterface(text_blocks=["x"])], hangs=True))
    )
    source = """
    names = []

    def work():
        stop, begun = threading.Event(), threading.Event()

        def cancel():
            begun.wait(10)
            {"event": stop.set, "abort": client.abort}[sys.argv[2]]()

        gevent.spawn(cancel)
        names.append(outcome(client.invoke, invocation, is_cancelled=stop, on_assistant_message=lambda _: begun.set()))

    say(held_up(work), names)
    """
    longest, names = patched(source, runtime.url, how)
    assert names == ["CancelledException"] * TIMES
    assert longest < MOMENT
    runtime.wait_for(CancelMessage, count=TIMES)


@pytest.mark.parametrize("how", ["kill", "timeout"])
def test_what_gevent_raises_in_a_greenlet_ends_the_run_and_arrives(scripted_runtime: Start, how: str) -> None:
    runtime = scripted_runtime(
        generation("0.15", Reply(messages=[AssistantMessageInterface(text_blocks=["x"])], hangs=True))
    )
    source = """
    begun = threading.Event()

    def begin(message):
        begun.set()
        if sys.argv[2] == "timeout":
            gevent.Timeout(0.1).start()

    def call():
        try:
            client.invoke(invocation, on_assistant_message=begin)
        except BaseException as error:
            return type(error).__name__

    caller = gevent.spawn(call)
    begun.wait(10)
    before = time.monotonic()
    if sys.argv[2] == "kill":
        caller.kill()
    caller.join(10)
    say(caller.value, time.monotonic() - before)
    """
    name, took = patched(source, runtime.url, how)
    assert name == {"kill": "GreenletExit", "timeout": "Timeout"}[how]
    assert took < 4  # to wait for an answer that does not come takes 5 s
    runtime.wait_for(CancelMessage)


def test_a_timeout(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(generation("0.15", Reply(hangs=True)))
    source = """
    names, took = [], []

    def work():
        before = time.monotonic()
        names.append(outcome(client.invoke, invocation, timeout=0.3))
        took.append(time.monotonic() - before)

    say(held_up(work), names, took)
    """
    longest, names, took = patched(source, runtime.url)
    assert names == ["InvocationTimeoutError"] * TIMES
    assert min(took) >= 0.3
    assert statistics.median(took) < 0.3 + 1.25
    assert longest < MOMENT


def test_fifty_at_once(scripted_runtime: Start) -> None:
    everybody_is_here = threading.Barrier(50)

    def script(peer: Peer) -> None:
        prompt = peer.expect(InvocationMessage, timeout=20).user_prompt
        everybody_is_here.wait(20)
        peer.send(text_result(prompt))
        peer.silence()

    source = """
    def call(number):
        return client.query(str(number), QueryOptions(system_prompt="", timeout=30)).data

    calls = [gevent.spawn(outcome, call, number) for number in range(50)]
    gevent.joinall(calls, timeout=40)
    say(*(call.value for call in calls))
    """
    assert patched(source, scripted_runtime(script).url) == [str(number) for number in range(50)]


def test_a_session_shared_by_greenlets(scripted_runtime: Start) -> None:
    def script(peer: Peer) -> None:
        while True:
            request = peer.receive(timeout=30)
            if isinstance(request, InvocationMessage):
                peer.send(text_result(request.user_prompt))

    source = """
    with client.session() as session:
        def call(number):
            return session.query(str(number), QueryOptions(system_prompt="", timeout=30)).data

        calls = [gevent.spawn(outcome, call, number) for number in range(20)]
        gevent.joinall(calls, timeout=40)
    say(*(call.value for call in calls))
    """
    runtime = scripted_runtime(script)
    assert patched(source, runtime.url) == [str(number) for number in range(20)]
    assert len(runtime.connections) == 1


def test_artifacts(scripted_runtime: Start) -> None:
    reply = Reply(result="done", artifacts=["/out/1", "/out/2"], late_artifacts=["/out/3", "/out/4"])
    runtime = scripted_runtime(generation("0.15", reply))
    source = """
    served = []

    def upload(request):
        served.append(request.filename)
        gevent.sleep(0.01)  # asks a storage service
        return "https://bucket.example.com/" + request.filename, "text/plain"

    invocation = InvocationMessage(system_prompt="", user_prompt="", artifacts_dirs=["/out"])
    say(outcome(client.invoke, invocation, on_artifact_upload_request=upload), served)
    """
    assert patched(source, runtime.url) == ["done", ["1", "2", "3", "4"]]
    runtime.wait_for(EndSessionMessage)


def test_a_stream_that_is_left_early(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(
        generation("0.15", Reply(messages=[AssistantMessageInterface(text_blocks=["x"])], hangs=True))
    )
    source = """
    heard = []

    def work():
        with client.stream(invocation) as run:
            heard.append(next(run).text_blocks)

    say(held_up(work), heard)
    """
    longest, heard = patched(source, runtime.url)
    assert heard == [["x"]] * TIMES
    assert longest < MOMENT
    runtime.wait_for(CancelMessage, count=TIMES)


def test_a_flood_lets_other_greenlets_run() -> None:
    message = frame(b'{"message_type":"assistant_message","text_blocks":["' + b"x" * 200 + b'"]}')

    def flood(conn: RawPeer) -> None:
        conn.accept()
        conn.read_frame()
        conn.sock.settimeout(30)
        conn.send(message * 50_000 + frame(json.dumps(text_result("done")).encode()))
        conn.wait_closed()

    source = """
    heard, texts = [0], []

    def count(message):
        heard[0] += 1

    longest = held_up(lambda: texts.append(outcome(client.invoke, invocation, on_assistant_message=count)))
    say(longest, texts, heard[0])
    """
    with RawServer(flood) as server:
        longest, texts, heard = patched(source, server.url)
    assert (texts, heard) == (["done"] * TIMES, 50_000 * TIMES)
    # One read is about a thousand messages, which are decoded, and handed over, in one go.
    assert longest < MOMENT


def test_over_tls(scripted_runtime: Start, tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    big = [AssistantMessageInterface(text_blocks=["x" * 100_000])] * 20
    runtime = scripted_runtime(generation("0.15", Reply(messages=big, result="done")), ssl_context=context)
    source = """
    import ssl

    client = Client(sys.argv[1], ssl_context=ssl.create_default_context(cafile=sys.argv[2]))
    heard, texts = [], []
    longest = held_up(lambda: texts.append(outcome(client.invoke, invocation, on_assistant_message=heard.append)))
    say(longest, texts, len(heard))
    """
    longest, texts, heard = patched(source, runtime.url, str(tmp_path / "ca.pem"))
    assert (texts, heard) == (["done"] * TIMES, 20 * TIMES)
    assert longest < MOMENT


def test_waiting_for_a_sandbox_that_starts(scripted_runtime: Start) -> None:
    runtime = scripted_runtime([503, 502, generation("0.15")] * TIMES)
    source = """
    say(held_up(lambda: client.wait_until_ready(timeout=20)))
    """
    (longest,) = patched(source, runtime.url)
    assert longest < MOMENT
    assert len(runtime.connections) == 3 * TIMES


def test_a_hundred_calls_leave_nothing(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(generation("0.15", Reply(result="done")))
    source = """
    import gc, os
    from greenlet import greenlet

    def footprint():
        gc.collect()
        alive = [thing for thing in gc.get_objects() if isinstance(thing, greenlet) and not thing.dead]
        return len(alive), len(os.listdir("/proc/self/fd")), threading.active_count()

    outcome(client.invoke, invocation)
    before = footprint()
    for _ in range(100):
        outcome(client.invoke, invocation)
    say(before, footprint())
    """
    before, after = patched(source, runtime.url)
    assert before == after


def test_after_a_fork(scripted_runtime: Start) -> None:
    """gunicorn's workers: the application is loaded before the fork."""
    runtime = scripted_runtime(generation("0.15", Reply(result="done")))
    source = """
    import os

    def work():
        calls = [gevent.spawn(outcome, client.invoke, invocation, timeout=20) for _ in range(5)]
        gevent.joinall(calls, timeout=30)
        return [call.value for call in calls] == ["done"] * 5

    first = outcome(client.invoke, invocation)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if work() else 2
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    say(first, status, work())
    """
    assert patched(source, runtime.url) == ["done", 0, True]


def test_patched_after_the_import(scripted_runtime: Start) -> None:
    """``gunicorn --preload`` loads the application first. gevent warns of that, but nothing hangs."""
    source = """
    import warnings
    import runtimeuse_sync
    warnings.simplefilter("ignore")
    """
    call = """
    texts = []
    say(held_up(lambda: texts.append(outcome(client.invoke, invocation, timeout=10))), texts)
    """
    runtime = scripted_runtime(generation("0.15", Reply(result="done")))
    longest, texts = result_of(source + PATCHED + call, runtime.url)
    assert texts == ["done"] * TIMES
    assert longest < MOMENT
