"""Waiting for a sandbox that is still starting: what is tried again, how soon, and what fails at once."""

from __future__ import annotations

import threading
import time
from typing import Callable

import pytest

from runtimeuse_sync import CancelledException, Client, ConnectionFailedError
from runtimeuse_sync.testing import ScriptedRuntime

from ..raw_server import RawPeer, RawServer
from ..support import port_without_listener

Start = Callable[..., ScriptedRuntime]


def test_wait_until_ready_retries_what_a_starting_sandbox_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.uniform", lambda *_: 0.01)
    statuses = iter([404, 425, 429, 500, 502, 503, 504, 520, 525, 530])

    def play(conn: RawPeer) -> None:
        status = next(statuses, None)
        if status is None:
            conn.accept()
            conn.wait_closed()
        else:
            conn.read_request()
            conn.send(f"HTTP/1.1 {status} Not Yet\r\n\r\n".encode())

    with RawServer(play) as server:
        Client(server.url).wait_until_ready(timeout=20)
    assert list(statuses) == []


def test_it_waits_as_long_as_it_is_told_to() -> None:
    attempts: list[float] = []

    def play(conn: RawPeer) -> None:
        attempts.append(time.monotonic())
        conn.read_request()
        if len(attempts) == 1:
            conn.send(b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\n\r\n")
        else:
            conn.send(b"HTTP/1.1 401 Unauthorized\r\n\r\n")

    with RawServer(play) as server, pytest.raises(ConnectionFailedError, match="401"):
        Client(server.url).wait_until_ready(timeout=30)
    assert attempts[1] - attempts[0] >= 1.0


def test_if_that_is_too_long_it_says_so_at_once() -> None:
    def play(conn: RawPeer) -> None:
        conn.read_request()
        conn.send(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 3600\r\n\r\n")

    with RawServer(play) as server, pytest.raises(ConnectionFailedError, match="not ready within 30 s") as caught:
        Client(server.url).wait_until_ready(timeout=30)
    assert (caught.value.status, caught.value.retry_after) == (503, 3600.0)


def test_wait_until_ready_retries_connections_that_are_reset_or_closed() -> None:
    attempts: list[RawPeer] = []

    def play(conn: RawPeer) -> None:
        attempts.append(conn)
        if len(attempts) == 1:
            conn.reset()
        elif len(attempts) == 2:
            conn.close()
        else:
            conn.accept()
            conn.wait_closed()

    with RawServer(play) as server:
        Client(server.url).wait_until_ready(timeout=30)
    assert len(attempts) == 3


def test_wait_until_ready_retries_those_that_are_refused_and_tells_of_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses = iter([0.1, 60.0])  # a second attempt, that has time enough, and no third
    monkeypatch.setattr("random.uniform", lambda *_: next(pauses))
    said = r"not ready within 20 s; the last attempt: .*refused"
    with port_without_listener() as port, pytest.raises(ConnectionFailedError, match=said):
        Client(f"ws://127.0.0.1:{port}").wait_until_ready(timeout=20)
    assert list(pauses) == []


@pytest.mark.parametrize("status", [400, 401, 403])
def test_wait_until_ready_fails_at_once_where_waiting_is_of_no_use(scripted_runtime: Start, status: int) -> None:
    runtime = scripted_runtime(refuse=status)
    with pytest.raises(ConnectionFailedError, match=f"it answered {status}") as caught:
        Client(runtime.url).wait_until_ready()
    assert caught.value.status == status
    assert len(runtime.connections) == 1


def test_wait_until_ready_can_be_aborted(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(refuse=503)
    client = Client(runtime.url)

    def abort() -> None:
        runtime.wait_for_connections(3)
        client.abort()

    thread = threading.Thread(target=abort)
    thread.start()
    with pytest.raises(CancelledException):
        client.wait_until_ready()
    thread.join()


def test_wait_until_ready_ends_with_an_event(scripted_runtime: Start) -> None:
    runtime, given_up = scripted_runtime(refuse=503), threading.Event()

    def give_up() -> None:
        runtime.wait_for_connections(3)
        given_up.set()

    thread = threading.Thread(target=give_up)
    thread.start()
    with pytest.raises(CancelledException):
        Client(runtime.url).wait_until_ready(is_cancelled=given_up)
    thread.join()


def test_wait_until_ready_asks_a_function(scripted_runtime: Start) -> None:
    answers = iter([False, True])
    with pytest.raises(CancelledException):
        Client(scripted_runtime(refuse=503).url, cancel_poll_interval=0.01).wait_until_ready(
            is_cancelled=lambda: next(answers)
        )
