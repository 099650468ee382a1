"""Records that are wrong, or come by half: what is said before counts, and nothing waits for the rest."""

from __future__ import annotations

import ssl
import statistics
import threading
import time
from typing import Any, Callable

import pytest

from runtimeuse_sync import CancelledException, Client, ConnectionLostError, InvocationTimeoutError

from ..raw_server import RawPeer, RawServer, frame
from ..support import invocation, is_within, usual
from .secured import Secured

GOOD = frame(b'{"message_type":"assistant_message","text_blocks":["good"]}')
RESULT = frame(b'{"message_type":"result_message","data":{"type":"text","text":"done"}}')
CLOSE = frame(b"\x03\xe8", opcode=8)
CANCEL = b'{"message_type":"cancel_message"}'
Play = Callable[[RawPeer, Secured], None]


def over_tls(context: ssl.SSLContext, play: Play) -> Callable[[RawPeer], None]:
    """Play once the client has sent its invocation."""

    def secured_play(conn: RawPeer) -> None:
        tls = Secured(conn.sock, context)
        peer = RawPeer(tls)  # type: ignore[arg-type]
        peer.accept()
        peer.read_frame()
        play(peer, tls)

    return secured_play


def wss(server: RawServer) -> str:
    return server.url.replace("ws://", "wss://")


# --- wrong ------------------------------------------------------------------------------------------


def corrupted(record: bytes) -> bytes:
    return record[:-1] + bytes([record[-1] ^ 1])


def test_what_comes_before_a_corrupt_record_is_delivered(server_context: ssl.SSLContext, trust: ssl.SSLContext) -> None:
    def play(peer: RawPeer, tls: Secured) -> None:
        tls.sock.sendall(tls.records(GOOD) + tls.records(GOOD) + corrupted(tls.records(GOOD)))
        tls.sock.recv(1)

    heard: list[Any] = []
    with RawServer(over_tls(server_context, play)) as server:
        with pytest.raises(ConnectionLostError, match="bad record mac") as caught:
            Client(wss(server), ssl_context=trust).invoke(invocation(), on_assistant_message=heard.append)
    assert caught.value.code == 1006
    assert "_ssl.c" not in caught.value.reason
    assert isinstance(caught.value.__cause__, ssl.SSLError)
    assert len(heard) == 2


def test_a_result_before_a_corrupt_record_is_the_result(server_context: ssl.SSLContext, trust: ssl.SSLContext) -> None:
    def play(peer: RawPeer, tls: Secured) -> None:
        tls.sock.sendall(tls.records(RESULT) + corrupted(tls.records(GOOD)))
        tls.sock.recv(1)

    with RawServer(over_tls(server_context, play)) as server:
        assert Client(wss(server), ssl_context=trust).invoke(invocation()).text == "done"


# --- half -------------------------------------------------------------------------------------------


class Stalled:
    """A server that sends a message and the beginning of a record, and then only listens."""

    def __init__(self, context: ssl.SSLContext, part: int) -> None:
        self.cancelled = threading.Event()
        self.cancelled_at = 0.0
        self._part = part
        self.server = RawServer(over_tls(context, self._play))

    def _play(self, peer: RawPeer, tls: Secured) -> None:
        tls.sock.sendall(tls.records(GOOD) + tls.records(GOOD)[: self._part])
        while peer.read_frame() != (1, CANCEL):
            pass
        self.cancelled_at = time.monotonic()
        self.cancelled.set()
        peer.wait_closed()


# In a record's header, and in its body.
PARTS = [3, 40]


@pytest.mark.alone
@pytest.mark.parametrize("part", PARTS)
def test_half_a_record_does_not_hold_up_a_cancellation(
    server_context: ssl.SSLContext, trust: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    monkeypatch.setattr("runtimeuse_sync._call.waits.CANCEL_WAIT", 0.3)
    seconds_until_the_end = []

    def seconds_until_it_is_told() -> float:
        stalled = Stalled(server_context, part)
        heard = threading.Event()
        aborted: list[float] = []

        def abort() -> None:
            assert heard.wait(5)
            aborted.append(time.monotonic())
            client.abort()

        with stalled.server as server:
            client = Client(wss(server), ssl_context=trust)
            thread = threading.Thread(target=abort)
            thread.start()
            with pytest.raises(CancelledException):
                client.invoke(invocation(), on_assistant_message=lambda _: heard.set())
            thread.join()
            seconds_until_the_end.append(time.monotonic() - aborted[0])
            assert stalled.cancelled.wait(5)
        return stalled.cancelled_at - aborted[0]

    assert usual(seconds_until_it_is_told) < 0.1
    assert statistics.median(seconds_until_the_end) < 0.3 + 1.0


@pytest.mark.alone
@pytest.mark.parametrize("part", PARTS)
def test_half_a_record_does_not_hold_up_a_timeout(
    server_context: ssl.SSLContext, trust: ssl.SSLContext, part: int
) -> None:
    timeout = 0.8  # time enough to connect, or there is nobody to be told of it

    def measure() -> float:
        stalled = Stalled(server_context, part)
        with stalled.server as server:
            began = time.monotonic()
            with pytest.raises(InvocationTimeoutError):
                Client(wss(server), ssl_context=trust).invoke(invocation(), timeout=timeout)
            ended = time.monotonic()
            assert stalled.cancelled.wait(5)
        return ended - began

    assert is_within(timeout + 1.25, measure)


@pytest.mark.parametrize("part", PARTS)
def test_half_a_record_is_no_sign_of_life(server_context: ssl.SSLContext, trust: ssl.SSLContext, part: int) -> None:
    with Stalled(server_context, part).server as server:
        client = Client(wss(server), ssl_context=trust, ping_interval=0.1, ping_timeout=0.2)
        with pytest.raises(ConnectionLostError, match=r"a ping was not answered within 0\.2 s"):
            client.invoke(invocation())


# --- much -------------------------------------------------------------------------------------------


def test_what_tls_has_decrypted_waits_for_a_slow_caller_and_is_not_forgotten(
    server_context: ssl.SSLContext, trust: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server has long fallen silent when the caller goes on: nothing on the wire wakes the thread."""
    monkeypatch.setattr("runtimeuse_sync._connection.worker.BACKLOG_LIMIT", 10_000)
    sent = threading.Event()

    def play(peer: RawPeer, tls: Secured) -> None:
        tls.sock.sendall(tls.records(GOOD * 5000) + tls.records(RESULT + CLOSE))
        sent.set()
        peer.wait_closed()

    heard: list[Any] = []

    def slow_at_first(message: Any) -> None:
        if not heard:
            assert sent.wait(5)
        heard.append(message)

    with RawServer(over_tls(server_context, play)) as server:
        client = Client(wss(server), ssl_context=trust, ping_interval=None)
        assert client.invoke(invocation(), on_assistant_message=slow_at_first, timeout=10).text == "done"
    assert len(heard) == 5000
