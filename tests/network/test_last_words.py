"""What leaves, and what arrives, around a Close frame."""

from __future__ import annotations

import threading

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
