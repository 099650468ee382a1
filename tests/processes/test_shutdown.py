"""The end of a process in the middle of a call, in the ways in which processes end."""

from __future__ import annotations

import sys
import threading
from typing import Callable

import pytest

from runtimeuse_sync import AssistantMessageInterface, CancelMessage, InvocationMessage
from runtimeuse_sync.testing import Disconnected, Peer, Reply, ScriptedRuntime, generation

from ..support import text_result
from .support import child, run

Start = Callable[..., ScriptedRuntime]

BEGIN = """
    import atexit, os, sys, threading
    from runtimeuse_sync import Client, InvocationMessage, QueryOptions

    client = Client(sys.argv[1])
    invocation = InvocationMessage(system_prompt="", user_prompt="")
    begun = threading.Event()

    def call():
        client.invoke(invocation, on_assistant_message=lambda _: begun.set())

    def in_thread(function, daemon):
        threading.Thread(target=function, daemon=daemon).start()
        assert begun.wait(10)

    def in_session():
        with client.session() as session:
            session.invoke(invocation, on_assistant_message=lambda _: begun.set())

    def in_stream():
        with client.stream(invocation) as run:
            for message in run:
                begun.set()

    def open_stream():
        run = client.stream(invocation).__enter__()
        next(run)
        return run
"""

# name -> (what the program does in the middle of a run that goes on for ever, its exit code)
ENDINGS = {
    "daemon thread, end of the script": ("in_thread(call, daemon=True)", 0),
    "daemon thread in a session": ("in_thread(in_session, daemon=True)", 0),
    "daemon thread in a stream": ("in_thread(in_stream, daemon=True)", 0),
    "many daemon threads": ("for _ in range(10): begun.clear(); in_thread(call, daemon=True)", 0),
    "daemon thread, sys.exit": ("in_thread(call, daemon=True); sys.exit(3)", 3),
    "sys.exit in a callback": ("client.invoke(invocation, on_assistant_message=lambda _: sys.exit(3))", 3),
    "sys.exit in a stream": ("run = open_stream(); sys.exit(3)", 3),
    "os._exit in a callback": ("client.invoke(invocation, on_assistant_message=lambda _: os._exit(3))", 3),
    "a stream nobody left": ("kept = open_stream()", 0),
    "a session nobody left": (
        "kept = client.session().__enter__(); run = kept.stream(invocation).__enter__(); next(run)",
        0,
    ),
    "a stream in a reference cycle": ("kept = open_stream(); kept.itself = [kept]; del kept", 0),
    "a job": ("job = client.submit('x', on_assistant_message=lambda _: begun.set()); assert begun.wait(10)", 0),
    "a map nobody left": (
        "kept = [client.map(['x'] * 9, timeout=1.5)]; next(kept[0]); kept.append(kept)",
        0,
    ),
    "a finished call and a kept error": (
        "kept = []\n    try: client.invoke(invocation, timeout=1.5)\n    except Exception as error: kept.append(error)",
        0,
    ),
}


def hang(peer: Peer) -> None:
    peer.expect(InvocationMessage)
    peer.send(AssistantMessageInterface(text_blocks=["x"]))
    peer.silence()


@pytest.mark.parametrize("how", ENDINGS)
def test_a_process_ends_in_silence_and_so_does_its_connection(scripted_runtime: Start, how: str) -> None:
    source, code = ENDINGS[how]
    done = run(f"{BEGIN}\n    {source}\n", scripted_runtime(hang).url)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


def test_a_thread_that_is_no_daemon_gets_its_result(scripted_runtime: Start) -> None:
    """The interpreter waits for it, with the main thread over."""
    main_is_over = threading.Event()

    def script(peer: Peer) -> None:
        peer.expect(InvocationMessage)
        peer.send(AssistantMessageInterface(text_blocks=["x"]))
        assert main_is_over.wait(10)
        peer.send(text_result("late"))

    def on_second_connection(peer: Peer) -> None:
        main_is_over.set()
        peer.silence()

    source = (
        BEGIN
        + """
    def call_and_print():
        print(client.invoke(invocation, on_assistant_message=lambda _: begun.set()).text)

    in_thread(call_and_print, daemon=False)
    # The last thing that the main thread does.
    client.wait_until_ready(timeout=10)
    """
    )
    done = run(source, scripted_runtime([script, on_second_connection]).url)
    assert (done.returncode, done.stdout, done.stderr) == (0, "late\n", "")


def test_a_call_in_an_exit_handler(scripted_runtime: Start) -> None:
    """From Python 3.12 on no thread can be started any more by then, which is an error of this library's own."""
    source = (
        BEGIN
        + """
    from runtimeuse_sync import RuntimeUseError

    def say_goodbye():
        try:
            print(client.query("", QueryOptions(system_prompt="", timeout=20)).data.text)
        except RuntimeUseError as error:
            print(error)

    atexit.register(say_goodbye)
    """
    )
    done = run(source, scripted_runtime(generation("0.15", Reply(result="goodbye"))).url)
    assert (done.returncode, done.stderr) == (0, "")
    if sys.version_info < (3, 12):
        assert done.stdout == "goodbye\n"
    else:
        assert done.stdout == "goodbye\n" or "interpreter shutdown" in done.stdout


def test_an_exception_in_a_callback_ends_the_script_with_its_own_traceback_alone(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(
        generation("0.15", Reply(messages=[AssistantMessageInterface(text_blocks=["x"])], hangs=True))
    )
    done = run(BEGIN + "\n    client.invoke(invocation, on_assistant_message=lambda _: 1 / 0)", runtime.url)
    assert done.returncode == 1
    assert done.stderr.count("Traceback") == 1
    assert done.stderr.endswith("ZeroDivisionError: division by zero\n")
    runtime.wait_for(CancelMessage)


def test_a_forgotten_stream_is_collected(scripted_runtime: Start) -> None:
    gone = threading.Event()

    def script(peer: Peer) -> None:
        peer.expect(InvocationMessage)
        peer.send(AssistantMessageInterface(text_blocks=["x"]))
        try:
            peer.receive(timeout=30)
        except Disconnected:
            gone.set()

    source = (
        BEGIN
        + """
    import gc

    run = open_stream()
    del run
    gc.collect()
    sys.stdin.read()
    """
    )
    runtime = scripted_runtime(script)
    with child(source, runtime.url):
        assert gone.wait(20)
