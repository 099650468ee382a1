"""What waits to be written, in which order it leaves, and how much of it there can be."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from runtimeuse_sync._connection import outbox as _outbox
from runtimeuse_sync._connection.keepalive import Keepalive
from runtimeuse_sync._connection.outbox import PINGS_ANSWERED, Outbox, Room
from runtimeuse_sync._protocol.frames import Opcode, encode_frame

from ..raw_server import RawPeer


class Line:
    """An outbox, the socket that it writes to, and the peer that reads from it."""

    def __init__(self) -> None:
        self.told = 0  # how often there was room again
        self.breaks = 0
        self.sock, end = socket.socketpair()
        self.sock.setblocking(False)
        self.peer = RawPeer.__new__(RawPeer)  # a socket pair is not of TCP
        self.peer.sock, self.peer._unread = end, b""
        end.settimeout(20)
        self.keepalive = Keepalive(20, 5)
        self.room = Room()
        self.outbox = Outbox(self.keepalive, self.room, on_room=self._on_room, on_break=self._on_break)

    def _on_room(self) -> None:
        self.told += 1

    def _on_break(self) -> None:
        self.breaks += 1

    def flush(self) -> None:
        self.outbox.flush(self.sock)

    def block(self) -> None:
        """Write until the socket takes nothing more."""
        while not self.outbox.is_writing():
            self.outbox.put(text(b"x" * 100_000))
            self.flush()

    def read_to_the_end(self) -> list[tuple[int, bytes]]:
        """All that was written, as opcode and payload; the outbox is empty afterwards."""
        frames: list[tuple[int, bytes]] = []
        self.peer.sock.setblocking(False)
        data = b""
        while True:
            try:
                data += self.peer.sock.recv(1 << 20)
            except BlockingIOError:
                if self.outbox.is_empty():
                    break
                self.flush()
        self.peer._unread = data
        while self.peer._unread:
            frames.append(self.peer.read_frame())
        return frames

    def close(self) -> None:
        self.sock.close()
        self.peer.sock.close()


def text(payload: bytes) -> bytes:
    return encode_frame(Opcode.TEXT, payload)


def queued(outbox: Outbox) -> int:
    """Bytes that it holds."""
    frames = [*outbox._frames, *outbox._last, *outbox._pongs]
    return len(outbox._unsent) + sum(map(len, frames))


@pytest.fixture
def line() -> Iterator[Line]:
    line = Line()
    yield line
    line.close()


def test_frames_leave_in_order(line: Line) -> None:
    for payload in (b"a", b"b", b"c"):
        line.outbox.put(text(payload))
    line.flush()
    assert line.outbox.is_empty()
    assert line.read_to_the_end() == [(1, b"a"), (1, b"b"), (1, b"c")]


def test_nothing_leaves_behind_the_close_frame(line: Line) -> None:
    line.outbox.put(text(b"a"))
    line.outbox.answer(b"early")
    line.outbox.close(1000)
    line.outbox.put(text(b"b"))
    line.outbox.answer(b"late")
    line.flush()
    assert line.outbox.is_empty()
    assert line.read_to_the_end() == [(10, b"early"), (1, b"a"), (8, b"\x03\xe8")]


def test_nor_while_the_socket_takes_nothing(line: Line) -> None:
    line.block()
    line.outbox.close(1000)
    line.outbox.answer(b"late")
    assert [opcode for opcode, _ in line.read_to_the_end()][-1] == 8


def test_a_few_pings_are_answered_each(line: Line) -> None:
    for number in range(PINGS_ANSWERED):
        line.outbox.answer(b"%d" % number)
    line.flush()
    assert line.read_to_the_end() == [(10, b"%d" % number) for number in range(PINGS_ANSWERED)]


def test_of_a_flood_of_pings_the_newest_are(line: Line) -> None:
    line.block()
    before = queued(line.outbox)
    for number in range(100_000):
        line.outbox.answer(b"%0125d" % number)
    assert queued(line.outbox) - before <= PINGS_ANSWERED * 125
    pongs = [payload for opcode, payload in line.read_to_the_end() if opcode == 10]
    assert pongs == [b"%0125d" % number for number in range(100_000 - PINGS_ANSWERED, 100_000)]


def test_room_is_lacking_when_too_much_waits_behind_what_is_written(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_outbox, "OUTBOX_LIMIT", 1000)
    line.block()
    frame = text(b"x" * 94)
    assert len(frame) == 100
    for _ in range(10):
        line.outbox.put(frame)
    assert not line.room.is_lacking()
    line.outbox.put(frame)
    assert line.room.is_lacking()
    line.flush()
    assert (line.room.is_lacking(), line.told) == (True, 0)
    line.read_to_the_end()
    assert (line.room.is_lacking(), line.told) == (False, 1)


def test_room_is_told_only_to_who_waits_for_it(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_outbox, "OUTBOX_LIMIT", 10)
    line.outbox.put(text(b"x" * 100))
    line.flush()
    assert line.told == 0


@pytest.mark.parametrize("how", ["close", "break"])
def test_at_its_end_there_is_room(line: Line, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    monkeypatch.setattr(_outbox, "OUTBOX_LIMIT", 10)
    line.block()
    line.outbox.put(text(b"x" * 100))
    assert line.room.is_lacking()
    if how == "close":
        line.outbox.close(1000)
    else:
        line.peer.sock.close()
        line.flush()
    assert (line.room.is_lacking(), line.told) == (False, 1)


def test_who_waits_for_room_is_always_told() -> None:
    """The race that counts: the caller finds no room while the connection thread makes some."""
    room, has_room, frames = Room(), threading.Event(), threading.Semaphore(0)
    rounds, size = 2_000, _outbox.OUTBOX_LIMIT // 2 + 1

    def write() -> None:
        for _ in range(rounds):
            if frames.acquire(timeout=20) and room.free(size):
                has_room.set()

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    for _ in range(rounds):
        while room.is_lacking():
            assert has_room.wait(20)
            has_room.clear()
        room.fill(size)
        frames.release()
    writer.join(20)


def test_a_large_request_keeps_no_message_from_the_caller(line: Line) -> None:
    """Or a peer that writes before it reads, and this side, would wait for each other."""
    line.outbox.put(text(b"x" * 10_000_000))
    line.flush()
    assert line.outbox.is_writing()
    assert not line.room.is_lacking()


def test_it_knows_the_largest_payload(line: Line) -> None:
    for size in (100, 70_000, 200):
        line.outbox.put(text(b"x" * size))
    line.flush()
    assert line.outbox.largest == 70_000


def test_when_the_peer_is_gone_it_forgets_and_tells_once(line: Line) -> None:
    line.peer.sock.close()
    for _ in range(3):
        line.outbox.put(text(b"a"))
        line.outbox.answer(b"b")
        line.flush()
    assert line.breaks == 1
    assert isinstance(line.outbox.error, BrokenPipeError)
    assert (line.outbox.is_closed, line.outbox.is_empty(), line.outbox.interest()) == (True, True, 0)
