"""What leaves, and what arrives, around a Close frame."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest

from runtimeuse_sync import ArtifactUploadRequestMessageInterface, Client, ConnectionLostError, ProtocolError

from ..raw_server import ClientLeftError, RawPeer, RawServer, frame
from ..support import invocation

REQUEST = frame(b'{"message_type":"artifact_upload_request_message","filename":"a","filepath":"/a"}')
ENDS = {
    "the runtime closes": (frame(b"\x03\xe8", opcode=8), ConnectionLostError),
    "the runtime breaks the protocol": (frame(b"{}", rsv=4), ProtocolError),
}


@pytest.mark.parametrize("end", ENDS)
def test_nothing_follows_the_close_frame(end: str) -> None:
    last, error = ENDS[end]
    closed = threading.Event()
    opcodes: list[int] = []

    def play(conn: RawPeer) -> None:
        conn.accept()
        conn.read_frame()
        conn.send(REQUEST + last)
        try:
            while True:
                opcodes.append(conn.read_frame()[0])
                closed.set()
        except ClientLeftError:
            pass

    def answer_too_late(request: ArtifactUploadRequestMessageInterface) -> tuple[str, str]:
        assert closed.wait(5)
        return "https://example.com/put", "text/plain"

    with RawServer(play) as server, pytest.raises(error):
        Client(server.url).invoke(invocation(artifacts_dirs=["/out"]), on_artifact_upload_request=answer_too_late)
    assert opcodes == [8]


def close(code: int, reason: bytes = b"") -> bytes:
    return frame(code.to_bytes(2, "big") + reason, opcode=8)


def lost(last: bytes, **fields: Any) -> tuple[ConnectionLostError, int]:
    """How a call ends whose runtime says this last, and the size of the request that it got."""
    sizes: list[int] = []

    def play(conn: RawPeer) -> None:
        conn.accept()
        sizes.append(len(conn.read_frame()[1]))
        conn.send(last)
        conn.read_frame()

    with RawServer(play) as server, pytest.raises(ConnectionLostError) as caught:
        Client(server.url).invoke(invocation(**fields))
    return caught.value, sizes[0]


@pytest.mark.parametrize("size", [10, 1_000, 100_000])
def test_a_message_that_is_too_large_for_the_runtime_is_named_with_its_size(size: int) -> None:
    error, sent = lost(close(1009, b"Max payload size exceeded"), user_prompt="x" * size)
    assert sent > size
    assert str(error) == (
        f"connection lost before the result: the message was larger than the runtime takes ({sent} bytes were sent): "
        "Max payload size exceeded (code 1009)"
    )
    assert (error.code, error.reason) == (1009, "Max payload size exceeded")


def test_it_is_also_when_the_runtime_says_so_while_the_rest_is_sent() -> None:
    """As runtimes do: they judge a message by its header."""

    def play(conn: RawPeer) -> None:
        conn.accept()
        conn._read(14)  # the header of a long frame
        conn.send(close(1009))
        conn.sock.shutdown(socket.SHUT_WR)
        conn.wait_closed()

    with RawServer(play) as server, pytest.raises(ConnectionLostError, match=r"\(30000\d\d\d bytes were sent\)"):
        Client(server.url).invoke(invocation(user_prompt="x" * 30_000_000))


def test_a_close_reason_is_made_harmless() -> None:
    error, _ = lost(close(1011, b"a\x1b[2Jb\r\nERROR forged"))
    assert error.reason == "ab ERROR forged"
    assert str(error).endswith(": ab ERROR forged (code 1011)")
