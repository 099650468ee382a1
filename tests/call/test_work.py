"""How much is done for many messages, counted rather than timed: a guard against slowness that cannot flake.

What is measured in seconds is in ``benchmarks/``.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, Callable

import pytest

from runtimeuse_sync import Client
from runtimeuse_sync._common.wakeup import Waker
from runtimeuse_sync._connection import reader as _reader
from runtimeuse_sync._connection import worker as _worker
from runtimeuse_sync._connection.inbox import Inbox
from runtimeuse_sync._protocol import codec as _codec

from ..raw_server import RawPeer, RawServer, frame
from ..support import invocation, text_result

MESSAGES = 10_000
OUTPUT = {"message_type": "command_output_message", "stream": "stdout", "text": "x" * 120, "command": "make"}
BURST = frame(json.dumps(OUTPUT).encode()) * MESSAGES + frame(json.dumps(text_result("done")).encode())


def burst(conn: RawPeer) -> None:
    conn.accept()
    conn.read_frame()
    conn.send(BURST)
    opcode, payload = conn.read_frame()
    conn.send(frame(payload, opcode))


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """What a call does, by name, while the test runs."""
    done: Counter[str] = Counter()

    def count(owner: Any, name: str) -> None:
        original: Callable[..., Any] = getattr(owner, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            done[name] += 1
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, counted)

    count(_reader, "_receive_into")
    count(_worker.Selector, "select")
    count(Inbox, "put")
    count(Inbox, "get")
    count(Waker, "wake")
    count(_codec, "_decode_slowly")
    return done


def test_a_burst_is_read_queued_and_taken_in_batches(work: Counter[str]) -> None:
    heard: list[Any] = []
    with RawServer(burst) as server:
        client = Client(server.url)
        client.invoke(invocation(), on_command_output=heard.append)  # compiles what is compiled once
        work.clear()
        client.invoke(invocation(), on_command_output=heard.append)
    assert len(heard) == 2 * MESSAGES
    # Two megabytes; a read brings 256 KiB at most and, on a bad day, one segment of the loopback device.
    assert 8 <= work["_receive_into"] <= MESSAGES / 40
    assert work["put"] <= work["_receive_into"]
    assert work["select"] <= 2 * work["_receive_into"] + 50
    assert work["get"] <= 3 * work["put"] + 50
    assert work["wake"] <= 10
    assert work["_decode_slowly"] == 0
