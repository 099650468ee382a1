"""A process that stands still, by SIGSTOP as by a suspended machine: what came meanwhile counts."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from ..processes.support import Child
from ..processes.support import child as started
from ..raw_server import RawPeer, RawServer, frame
from ..support import text_result, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks /proc whether a process is stopped")

# Seconds that a ping's answer may take.
PING_TIMEOUT = 0.5

CHILD = """
    import json, os, signal, sys, time
    from runtimeuse_sync import Client, InvocationMessage, RuntimeUseError
    from runtimeuse_sync._connection.keepalive import Keepalive

    client = Client(sys.argv[1], **json.loads(sys.argv[2]))
    if "--stops-after-ping" in sys.argv:
        pinged, wrote = Keepalive.pinged, Keepalive.wrote
        moments = []

        def stop_once_after_a_ping(keepalive):
            wrote(keepalive)
            if moments == ["pinged"]:
                moments.append("stopped")
                os.kill(os.getpid(), signal.SIGSTOP)
                time.sleep(0.05)  # it may take a moment until this thread stops as well

        Keepalive.pinged = lambda keepalive: (moments or moments.append("pinged"), pinged(keepalive))
        Keepalive.wrote = stop_once_after_a_ping

    try:
        limits = json.loads(sys.argv[3]) if sys.argv[3:] and sys.argv[3][0] == "{" else {}
        outcome = client.invoke(InvocationMessage(system_prompt="", user_prompt=""), **limits).text
    except RuntimeUseError as error:
        outcome = str(error)
    print(json.dumps(outcome), flush=True)
"""
PINGS = json.dumps({"ping_interval": 0.3, "ping_timeout": PING_TIMEOUT})
RESULT = frame(json.dumps(text_result("done")).encode())


def wait_until_stopped(child: Child) -> None:
    stat = Path("/proc", str(child.process.pid), "stat")
    wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T")


def go_on_after(seconds: float, child: Child) -> None:
    time.sleep(seconds)  # what is tested: that the time has passed
    os.kill(child.process.pid, signal.SIGCONT)


def answer_pings_until_the_end(conn: RawPeer) -> None:
    while (received := conn.read_frame())[0] != 8:
        if received[0] == 9:
            conn.send(frame(received[1], opcode=10))
    conn.send(frame(received[1], opcode=8))


def test_a_peer_that_answered_a_ping_meanwhile_lives() -> None:
    def play(conn: RawPeer) -> None:
        conn.accept()
        conn.read_frame()
        assert conn.read_frame() == (9, b"")
        wait_until_stopped(child)
        conn.send(frame(b"", opcode=10))
        go_on_after(2 * PING_TIMEOUT, child)
        conn.send(RESULT)
        answer_pings_until_the_end(conn)

    with RawServer(play) as server:
        with started(CHILD, server.url, PINGS, "--stops-after-ping") as child:
            assert child.read(20) == "done"


def test_and_one_that_did_not_is_dead() -> None:
    def play(conn: RawPeer) -> None:
        conn.accept()
        conn.read_frame()
        assert conn.read_frame() == (9, b"")
        wait_until_stopped(child)
        go_on_after(2 * PING_TIMEOUT, child)
        conn.wait_closed()

    with RawServer(play) as server:
        with started(CHILD, server.url, PINGS, "--stops-after-ping") as child:
            assert "a ping was not answered within 0.5 s" in child.read(20)


def test_what_came_meanwhile_is_no_silence() -> None:
    def play(conn: RawPeer) -> None:
        conn.accept()
        conn.read_frame()
        os.kill(child.process.pid, signal.SIGSTOP)
        wait_until_stopped(child)
        conn.send(RESULT)
        go_on_after(1.0, child)
        answer_pings_until_the_end(conn)

    with RawServer(play) as server:
        with started(CHILD, server.url, "{}", '{"idle_timeout": 1.0}') as child:
            assert child.read(20) == "done"


@pytest.mark.slow
def test_a_handshake_that_was_answered_meanwhile_counts() -> None:
    connect_timeout = 4.0  # time enough to come to the handshake, on a busy machine as well

    def play(conn: RawPeer) -> None:
        conn.read_request()
        os.kill(child.process.pid, signal.SIGSTOP)
        wait_until_stopped(child)
        conn.accept()
        go_on_after(connect_timeout, child)
        conn.read_frame()
        conn.send(RESULT)
        answer_pings_until_the_end(conn)

    with RawServer(play) as server:
        with started(CHILD, server.url, json.dumps({"connect_timeout": connect_timeout})) as child:
            assert child.read(20) == "done"
