"""What a process that runs for weeks would notice: memory, descriptors and threads over many calls, and in a long one.

The client is in a process of its own, so that what is measured is the client's.
"""

from __future__ import annotations

import json
import os

import pytest

from ..processes.support import result_of
from ..raw_server import RawPeer, RawServer, frame
from ..support import text_result

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc"),
]

MIB = 1024 * 1024
CLOSE = 8

MEASURED = """
    import gc, json, os, sys, threading, time
    from runtimeuse_sync import CancelledException, Client, InvocationMessage, RuntimeUseError

    client = Client(sys.argv[1])
    invocation = InvocationMessage(system_prompt="Be brief.", user_prompt="Hello")

    def resident():
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def held():
        return len(os.listdir("/proc/self/fd")), threading.active_count()
"""

MANY = (
    MEASURED
    + """
    calls, warm_up = int(sys.argv[2]), int(sys.argv[3])
    outcomes = {}

    def hear(message):
        if len(message.text_blocks[0]) == 3:
            raise KeyError("a callback's own")

    def one_call(number):
        try:
            client.invoke(invocation, on_assistant_message=hear, timeout=30)
            name = "result"
        except (RuntimeUseError, KeyError) as error:
            name = type(error).__name__
        outcomes[name] = outcomes.get(name, 0) + 1

    def wait_for_threads():
        # A call waits for its connection thread, but not for ever.
        give_up = time.monotonic() + 5
        while threading.active_count() > 1 and time.monotonic() < give_up:
            time.sleep(0.01)

    samples, holdings = [], set()
    began = time.monotonic()
    for number in range(calls):
        one_call(number)
        if number >= warm_up and number % 100 == 0:
            wait_for_threads()
            samples.append(resident())
            holdings.add(held())
    print(json.dumps([outcomes, samples, sorted(holdings), time.monotonic() - began]))
"""
)

RESULT = frame(json.dumps(text_result("done")).encode())


def message(text: str) -> bytes:
    return frame(json.dumps({"message_type": "assistant_message", "text_blocks": [text]}).encode())


# Of ten calls, how one after the other goes.
CALLS = [message("x") * 10 + RESULT] * 7 + [
    frame(b'{"message_type":"error_message","error":"no"}'),
    message("x") + b"\x81",  # breaks off in mid-frame
    message("xxx"),  # at which the callback raises
]


def take_leave(conn: RawPeer) -> None:
    """Answer the client's Close, and a cancel_message before it, as a runtime does."""
    opcode, payload = conn.read_frame()
    while opcode != CLOSE:
        conn.send(frame(b'{"message_type":"error_message","error":"Request cancelled"}'))
        opcode, payload = conn.read_frame()
    conn.send(frame(payload, opcode=CLOSE))


def test_ten_thousand_calls() -> None:
    count = 0

    def play(conn: RawPeer) -> None:
        nonlocal count
        said = CALLS[count % len(CALLS)]
        count += 1
        conn.accept()
        conn.read_frame()
        conn.send(said)
        if not said.endswith(b"\x81"):
            take_leave(conn)

    with RawServer(play) as server:
        outcomes, samples, holdings, seconds = result_of(MANY, server.url, "10000", "500", timeout=380)
    assert outcomes == {"result": 7000, "AgentRuntimeError": 1000, "ConnectionLostError": 1000, "KeyError": 1000}
    growth = (max(samples) - samples[0]) / MIB
    print(f"10,000 calls in {seconds:.0f} s, memory grew by {growth:.2f} MiB, {samples[0] / MIB:.1f} MiB at 500")
    assert growth < 5
    assert len(holdings) == 1, "descriptors or threads come and go"


LONG = (
    MEASURED
    + """
    heard, samples, holdings = 0, [], set()

    def hear(message):
        global heard
        heard += 1
        if heard == 1:
            time.sleep(2)  # time enough for all to come that may wait
        if heard % 20_000 == 1:
            samples.append(resident())
            holdings.add(held())

    began = time.monotonic()
    client.invoke(invocation, on_assistant_message=hear)
    print(json.dumps([heard, samples, sorted(holdings), time.monotonic() - began]))
"""
)


def test_one_call_of_two_million_messages() -> None:
    messages, per_chunk = 2_000_000, 2000
    chunk = message("x" * 100) * per_chunk

    def play(conn: RawPeer) -> None:
        conn.accept()
        conn.read_frame()
        conn.sock.settimeout(60)
        for _ in range(messages // per_chunk):
            conn.send(chunk)
        conn.send(RESULT)
        conn.wait_closed()

    with RawServer(play) as server:
        heard, samples, holdings, seconds = result_of(LONG, server.url, timeout=380)
    assert heard == messages
    # How much waits undelivered depends on which thread is faster: at first, as much as may.
    early, late = max(samples[:10]), max(samples[10:])
    print(f"2 million messages in {seconds:.0f} s, at most {early / MIB:.1f} MiB, then {late / MIB:.1f} MiB")
    assert late - early < 5 * MIB
    assert len(holdings) == 1
