"""The wait for a socket or a wake-up."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Iterator
from selectors import EVENT_READ, EVENT_WRITE

import pytest

from runtimeuse_sync._common.wakeup import Waker
from runtimeuse_sync._connection import watch as _watch
from runtimeuse_sync._connection.watch import Watch, look_at

# Seconds that nothing here should take.
LONG = 30.0


class Watched:
    """A watch over one end of a socket pair."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.waker = Waker()
        self.waker.open()
        self.sock, self.peer = socket.socketpair()
        self.look = Watch(self.selector, self.sock, self.waker).look

    def close(self) -> None:
        self.selector.close()
        self.waker.close()
        self.sock.close()
        self.peer.close()


@pytest.fixture
def watched() -> Iterator[Watched]:
    watched = Watched()
    yield watched
    watched.close()


def test_it_finds_only_what_it_looks_for(watched: Watched) -> None:
    assert watched.look(EVENT_READ, 0.0) == 0
    assert watched.look(EVENT_WRITE, LONG) == EVENT_WRITE
    watched.peer.send(b"x")
    assert watched.look(EVENT_READ | EVENT_WRITE, LONG) == EVENT_READ | EVENT_WRITE
    assert watched.look(0, 0.0) == 0
    assert watched.look(EVENT_READ, None) == EVENT_READ


def test_a_wake_up_ends_the_wait_once(watched: Watched) -> None:
    threading.Timer(0.0, watched.waker.wake).start()
    assert watched.look(EVENT_READ, LONG) == 0
    assert watched.look(0, 0.001) == 0


def test_a_look_at_a_socket_finds_all_that_is_of_interest(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    assert look_at(watched.sock, EVENT_READ | EVENT_WRITE) == EVENT_WRITE
    assert look_at(watched.sock, 0) == 0
    # Bytes that TLS has decrypted do not hide that the peer has read.
    monkeypatch.setattr(_watch, "decrypted", lambda sock, interest: EVENT_READ)
    assert look_at(watched.sock, EVENT_READ | EVENT_WRITE) == EVENT_READ | EVENT_WRITE
