"""Forked children: gunicorn's way, Celery's way, and in the middle of everything."""

from __future__ import annotations

import os
import threading
from typing import Callable

import pytest

from runtimeuse_sync import AssistantMessageInterface, CancelMessage, InvocationMessage
from runtimeuse_sync.testing import Disconnected, Peer, Reply, ScriptedRuntime, generation

from ..support import text_result
from .support import child, result_of

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

Start = Callable[..., ScriptedRuntime]


def echo(peer: Peer) -> None:
    while True:
        request = peer.receive(timeout=30)
        if isinstance(request, InvocationMessage):
            peer.send(AssistantMessageInterface(text_blocks=["x"]), text_result(request.user_prompt))


# What the programs below share: fork, do something in the child, and hear what came of it.
FORK = """
    import json, os, sys, threading, time
    from runtimeuse_sync import Client, InvocationMessage, QueryOptions, RuntimeUseError

    OPTIONS = QueryOptions(system_prompt="", timeout=10)

    def fork(work, exit=sys.exit):
        pid = os.fork()
        if pid:
            return pid
        try:
            work()
        except BaseException as error:
            print(f"in the child: {error!r}", file=sys.stderr, flush=True)
            os._exit(1)
        exit(0)

    def codes(pids):
        give_up = time.monotonic() + 20
        found = []
        for pid in pids:
            while True:
                done, status = os.waitpid(pid, os.WNOHANG)
                if done:
                    found.append(os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status))
                    break
                if time.monotonic() > give_up:
                    os.kill(pid, 9)
                    os.waitpid(pid, 0)
                    found.append("hung")
                    break
                time.sleep(0.005)
        return found

    def error_of(call):
        began = time.monotonic()
        try:
            call()
        except RuntimeUseError as error:
            assert time.monotonic() - began < 5, "it took too long"
            return str(error)
        return "no error"
"""

GUNICORN = (
    FORK
    + """
    # The master loads the application, which makes the client and looks whether the sandbox is there.
    client = Client(sys.argv[1])
    client.wait_until_ready(timeout=10)
    with client.session() as session:
        session.query("master", OPTIONS)

    def serve():
        answers = []
        def view(number):
            answers.append(client.query(str(number), OPTIONS).data.text)
        threads = [threading.Thread(target=view, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert sorted(answers) == [str(number) for number in range(8)], answers

    print(json.dumps(codes([fork(serve) for _ in range(3)])))
"""
)


def test_workers_forked_from_a_master_that_has_used_the_client(scripted_runtime: Start) -> None:
    assert result_of(GUNICORN, scripted_runtime(echo).url) == [0, 0, 0]


BUSY = (
    FORK
    + """
    client = Client(sys.argv[1])
    stop = threading.Event()
    answers, failures = [], []

    def call_again_and_again():
        while not stop.is_set():
            try:
                answers.append(client.query("parent", OPTIONS).data.text)
            except BaseException as error:
                failures.append(repr(error))

    def in_child():
        assert client.query("child", OPTIONS).data.text == "child"
        with client.session() as own:
            assert own.query("child", OPTIONS).data.text == "child"
        assert "parent process" in error_of(lambda: session.query("x", OPTIONS))
        client.abort()
        session.abort()
        session.__exit__(None, None, None)

    threads = [threading.Thread(target=call_again_and_again) for _ in range(4)]
    for thread in threads:
        thread.start()
    with client.session() as session:
        session.query("before", OPTIONS)
        # Some end like a script, with all its finalizers, and some like multiprocessing's.
        exits = [code for number in range(15) for code in codes([fork(in_child, (sys.exit, os._exit)[number % 2])])]
        after = session.query("after", OPTIONS).data.text
    stop.set()
    for thread in threads:
        thread.join(10)
    print(json.dumps([exits, after, sorted(set(answers)), failures]))
"""
)


@pytest.mark.timeout(120)
def test_forks_while_other_threads_are_in_calls_and_a_session_is_open(scripted_runtime: Start) -> None:
    url = scripted_runtime(echo).url
    assert result_of(BUSY, url, timeout=90) == [[0] * 15, "after", ["parent"], []]


STREAMING = (
    FORK
    + """
    client = Client(sys.argv[1])
    invocation = InvocationMessage(system_prompt="", user_prompt="whole")

    def in_child():
        assert "parent process" in error_of(lambda: next(run)), "iterating"
        assert "parent process" in error_of(lambda: list(run.deliveries())), "deliveries"
        run.cancel()
        began = time.monotonic()
        run.__exit__(None, None, None)
        assert time.monotonic() - began < 4, "leaving took too long"  # to wait for the runtime's answer takes 5 s
        assert client.query("child", OPTIONS).data.text == "child"

    with client.stream(invocation) as run:
        next(run)
        exits = codes([fork(in_child), fork(in_child, os._exit)])
        rest = [type(message).__name__ for message in run]
    print(json.dumps([exits, rest, run.result.text]))
"""
)


def test_a_stream_that_is_under_way_is_the_parents(scripted_runtime: Start) -> None:
    url = scripted_runtime(echo).url
    assert result_of(STREAMING, url) == [[0, 0], ["ResultMessageInterface"], "whole"]


IN_CALLBACK = (
    FORK
    + """
    client = Client(sys.argv[1])
    invocation = InvocationMessage(system_prompt="", user_prompt="whole")
    exits = []

    def on_assistant_message(message):
        exits.extend(codes([fork(in_child, os._exit)]))

    def in_child():
        assert client.query("child", OPTIONS).data.text == "child"

    text = client.invoke(invocation, on_assistant_message=on_assistant_message).text
    with client.session() as session:
        in_session = session.invoke(invocation, on_assistant_message=on_assistant_message).text
    print(json.dumps([exits, text, in_session]))
"""
)


def test_a_fork_in_a_callback(scripted_runtime: Start) -> None:
    assert result_of(IN_CALLBACK, scripted_runtime(echo).url) == [[0, 0], "whole", "whole"]


SERVERS = (
    FORK
    + """
    import socket, tempfile
    from runtimeuse_sync.local import ArtifactReceiver, LocalRuntime
    from runtimeuse_sync.testing import ScriptedRuntime

    running, answers, folder = threading.Event(), [], tempfile.mkdtemp()

    def script(peer):
        peer.gone.wait(30)

    def command(url):
        line = f"echo begun; until [ -e {folder}/go ]; do sleep 0.01; done"
        answers.append(Client(url).run(line, on_output=lambda _: running.set(), timeout=20))

    def query(url):
        answers.append(Client(url).query("hi", OPTIONS).data.text)

    exits = []
    with LocalRuntime(lambda invocation, sender: "hello") as runtime:
        caller = threading.Thread(target=command, args=(runtime.url,))
        caller.start()
        assert running.wait(10)
        with ArtifactReceiver(folder), ScriptedRuntime(script) as scripted:
            with socket.create_connection(("127.0.0.1", int(scripted.url.rsplit(":")[-1]))):
                pid = os.fork()
                if pid == 0:
                    sys.exit(0)  # leaves all the blocks
                exits = codes([pid])
        query(runtime.url)
        open(f"{folder}/go", "w").close()
        caller.join(20)
    print(json.dumps([exits, str(answers)]))
"""
)


def test_a_child_that_leaves_the_blocks_of_servers_leaves_them_to_the_parent() -> None:
    exits, answers = result_of(SERVERS)
    assert exits == [0]
    assert "hello" in answers
    assert "exit_code=0" in answers


# Celery's prefork pool in miniature: a child that takes one task after the other, and a signal for its soft time limit.
CELERY = (
    FORK
    + """
    import signal

    class SoftTimeLimitExceeded(Exception):
        pass

    def on_soft_time_limit(number, frame):
        raise SoftTimeLimitExceeded

    client = Client(sys.argv[1])
    signal.signal(signal.SIGUSR1, on_soft_time_limit)

    def task(prompt):
        try:
            return client.query(prompt, QueryOptions(system_prompt="", on_assistant_message=tell)).data.text
        except SoftTimeLimitExceeded:
            return "too long"

    def tell(message):
        os.write(1, b'"running"\\n')

    def work():
        for prompt in ("slow", "quick"):
            os.write(1, json.dumps(task(prompt)).encode() + b"\\n")

    pid = fork(work)
    print(json.dumps(pid), flush=True)
    print(json.dumps(codes([pid])), flush=True)
"""
)


def test_a_soft_time_limit_ends_one_task_and_the_next_one_works(scripted_runtime: Start) -> None:
    slow = Reply(messages=[AssistantMessageInterface(text_blocks=["x"])], hangs=True)
    runtime = scripted_runtime(generation("0.15", slow, Reply(result="done")))
    with child(CELERY, runtime.url) as pool:
        said = [pool.read(), pool.read()]
        (pid,) = (line for line in said if line != "running")
        os.kill(pid, 10)
        assert [pool.read(), pool.read(), pool.read()] == ["too long", "done", [0]]
    runtime.wait_for(CancelMessage)


def test_a_worker_that_is_killed_ends_its_connection_and_no_other(scripted_runtime: Start) -> None:
    gone = threading.Event()

    def script(peer: Peer) -> None:
        peer.expect(InvocationMessage)
        peer.send(AssistantMessageInterface(text_blocks=["x"]))
        try:
            peer.receive(timeout=20)
        except Disconnected:
            gone.set()

    runtime = scripted_runtime(script)
    with child(CELERY, runtime.url) as pool:
        said = [pool.read(), pool.read()]
        (pid,) = (line for line in said if line != "running")
        os.kill(pid, 9)
        assert gone.wait(5)
        assert pool.read() == [-9]


POOL = """
    import json, multiprocessing, sys
    from runtimeuse_sync import Client, QueryOptions

    client = Client(sys.argv[1], headers={"X-Token": "abc"})
    options = QueryOptions(system_prompt="", timeout=20)
    with multiprocessing.get_context(sys.argv[2]).Pool(2) as pool:
        jobs = [(client, str(number), options) for number in range(6)]
        answers = pool.starmap_async(Client.query, jobs).get(40)
        pool.close()
        pool.join()
    print(json.dumps([answer.data.text for answer in answers]))
"""


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_a_client_travels_to_the_workers_of_a_pool(scripted_runtime: Start, method: str) -> None:
    answers = result_of(POOL, scripted_runtime(echo).url, method, timeout=50)
    assert answers == [str(number) for number in range(6)]
