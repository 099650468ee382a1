from __future__ import annotations

from runtimeuse_sync.local._server.outgoing import Outgoing


def drained(outgoing: Outgoing, piece: int) -> bytes:
    """What is written, ``piece`` bytes at a time."""
    written = []
    while outgoing:
        written.append(outgoing.head()[:piece])
        outgoing.remove(len(written[-1]))
    return b"".join(written)


def test_bytes_come_out_as_they_went_in_however_they_are_written() -> None:
    for piece in (101, 1009, 100_000):
        outgoing = Outgoing()
        chunks = [bytes([n]) * (n * n) for n in range(1, 40)] + [b"x" * 200_000, b"end"]
        for n, chunk in enumerate(chunks):
            outgoing.add(chunk, is_reply=n % 2 == 0)
        assert drained(outgoing, piece) == b"".join(chunks)
        assert outgoing.has_room
        assert outgoing.has_room_for_replies


def test_small_chunks_are_written_in_one_go() -> None:
    outgoing = Outgoing()
    for _ in range(10):
        outgoing.add(b"abc", is_reply=False)
    assert outgoing.head() == b"abc" * 10


def test_a_large_chunk_is_written_piece_by_piece_and_copied_once() -> None:
    outgoing = Outgoing()
    outgoing.add(b"x" * 50 * 2**20, is_reply=False)
    assert len(outgoing.head()) == 64 * 1024
    assert len(drained(outgoing, 2**20)) == 50 * 2**20


def test_room_for_messages_is_bytes_of_all() -> None:
    outgoing = Outgoing()
    outgoing.add(b"x" * 2**19, is_reply=False)
    assert outgoing.has_room
    outgoing.add(b"x" * 2**19, is_reply=True)
    assert not outgoing.has_room
    outgoing.remove(2**18)
    assert outgoing.has_room


def test_room_for_replies_is_that_of_replies_alone() -> None:
    outgoing = Outgoing()
    outgoing.add(b"x" * 2**24, is_reply=False)
    assert outgoing.has_room_for_replies
    outgoing.add(b"x" * 2**20, is_reply=True)
    assert not outgoing.has_room_for_replies
    outgoing.remove(2**24 + 2**10)
    assert outgoing.has_room_for_replies


def test_many_small_replies_weigh_what_they_take_in_memory() -> None:
    outgoing = Outgoing()
    count = 0
    while outgoing.has_room_for_replies:
        outgoing.add(b"\x8a\x00", is_reply=True)
        count += 1
    assert count < 5000
