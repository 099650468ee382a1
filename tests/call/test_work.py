"""How much is done for many messages, counted rather than timed: a guard against slowness that cannot flake.

What is measured in seconds is in ``benchmarks/``.
"""

from __future__ import annotations

import json
import multiprocessing
import threading
from collections import Counter
from typing import Any, Callable

import pytest

from runtimeuse_sync import CancelledException, CancelMessage, Client, InvocationMessage, InvocationTimeoutError
from runtimeuse_sync._common.wakeup import Waker
from runtimeuse_sync._connection import reader as _reader
from runtimeuse_sync._connection import worker as _worker
from runtimeuse_sync._connection.inbox import Inbox
from runtimeuse_sync._protocol import codec as _codec
from runtimeuse_sync.testing import Peer, ScriptedRuntime

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


def event_set(event: Any, by: ScriptedRuntime) -> Any:
    """``event``, to be set once the runtime has a request."""
    threading.Thread(target=lambda: (by.wait_for(InvocationMessage), event.set())).start()
    return event


CANCELS: dict[str, Callable[[ScriptedRuntime], dict[str, Any]]] = {
    "function": lambda runtime: {"is_cancelled": lambda: bool(runtime.received)},
    "Event": lambda runtime: {"is_cancelled": event_set(threading.Event(), runtime)},
    "Event of another class": lambda runtime: {"is_cancelled": event_set(multiprocessing.Event(), runtime)},
    "timeout": lambda runtime: {"is_cancelled": lambda: False, "timeout": 0.5},
}


@pytest.mark.parametrize("cancel", CANCELS)
def test_waiting_until_a_cancellation_is_confirmed_wakes_nothing_up(
    scripted_runtime: Callable[..., ScriptedRuntime],
    work: Counter[str],
    monkeypatch: pytest.MonkeyPatch,
    cancel: str,
) -> None:
    for limit in ("CANCEL_WAIT", "IMPATIENT_CANCEL_WAIT"):
        monkeypatch.setattr(f"runtimeuse_sync._call.waits.{limit}", 1.0)

    def confirm_nothing(peer: Peer) -> None:
        peer.expect(InvocationMessage)
        peer.expect(CancelMessage)
        work.clear()
        peer.silence()

    runtime = scripted_runtime(confirm_nothing)
    client = Client(runtime.url, cancel_poll_interval=0.05)
    with pytest.raises((CancelledException, InvocationTimeoutError)):
        client.invoke(invocation(), **CANCELS[cancel](runtime))
    # A pulse every 0.4 s; an Event that is looked at would wake the call every 0.05 s, and a function always.
    assert work["get"] <= 10
