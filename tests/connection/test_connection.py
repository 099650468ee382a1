"""The connection thread against servers that misbehave, overflow, or fall silent."""

from __future__ import annotations

import contextlib
import functools
import json
import resource
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any, Callable, Optional
from unittest import mock

import pytest

from runtimeuse_sync import (
    AssistantMessageInterface,
    Client,
    ConnectionLostError,
    InvocationMessage,
    InvocationTimeoutError,
    MessageTooLargeError,
    ProtocolError,
)
from runtimeuse_sync._call.waits import CLOSE_WAIT
from runtimeuse_sync._common.deadline import Deadline
from runtimeuse_sync._connection import ending as _ending
from runtimeuse_sync._connection import reader as _reader
from runtimeuse_sync._connection import worker as _worker
from runtimeuse_sync._connection.connecting import Stream
from runtimeuse_sync._connection.inbox import Inbox
from runtimeuse_sync._connection.keepalive import Keepalive
from runtimeuse_sync._connection.outbox import Outbox
from runtimeuse_sync._connection.traffic import Traffic
from runtimeuse_sync._connection.worker import ConnectionSettings, Worker
from runtimeuse_sync.testing import Peer, ScriptedRuntime

from ..raw_server import ClientLeftError, RawPeer, RawServer, frame
from ..support import invocation, text_result, wait_until

Start = Callable[..., ScriptedRuntime]
GOOD = frame(b'{"message_type":"assistant_message","text_blocks":["good"]}')
RESULT = frame(json.dumps(text_result("done")).encode())


def answer_with(*chunks: bytes) -> Callable[[RawPeer], None]:
    def play(conn: RawPeer) -> None:
        conn.accept()
        conn.read_frame()
        for chunk in chunks:
            conn.send(chunk)
        conn.wait_closed()

    return play


def new_worker(dialer: Any = None, **changes: Any) -> Worker:
    none = {"connect_timeout": None, "ping_interval": None, "ping_timeout": None, "max_message_size": None}
    return Worker(dialer, ConnectionSettings(**{**none, **changes}), bytes, Deadline(None))


# --- bad input --------------------------------------------------------------------------------------

BAD = {
    "not JSON": (frame(b"hello"), "not JSON", 1007),
    "no object": (frame(b"[1]"), "expected an object, got an array at $", 1007),
    "no message_type": (frame(b"{}"), "required field missing at $.message_type", 1007),
    "wrong field": (
        frame(b'{"message_type":"assistant_message","text_blocks":[null]}'),
        "expected a string, got null at $.text_blocks[0]",
        1007,
    ),
    "invalid UTF-8": (frame(b'{"message_type":"\xff"}'), "invalid UTF-8", 1007),
    "binary": (frame(b"{}", opcode=2), "binary message", 1003),
    "masked": (frame(b"{}", mask=True), "masked", 1002),
    "reserved bits": (frame(b"{}", rsv=4), "reserved bits", 1002),
    "reserved opcode": (frame(b"{}", opcode=3), "reserved opcode 3", 1002),
    "fragmented control": (frame(b"", opcode=9, fin=False), "fragmented control frame", 1002),
    "long control": (frame(b"x" * 126, opcode=9), "control frame of 126 bytes", 1002),
    "continuation out of the blue": (frame(b"x", opcode=0), "no message to continue", 1002),
    "message in a message": (frame(b"x", fin=False) + frame(b"x"), "inside a fragmented one", 1002),
    "close of one byte": (frame(b"x", opcode=8), "Close frame of one byte", 1002),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_a_clear_error_and_loses_nothing_before_it(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtimeuse_sync._call.waits.IMPATIENT_CLOSE_WAIT", 10.0)  # or who is held up says no goodbye
    bad, text, code = BAD[kind]
    told: list[tuple[int, bytes]] = []

    def play(conn: RawPeer) -> None:
        conn.accept()
        conn.read_frame()
        conn.send(GOOD + bad + GOOD)
        told.append(conn.read_frame())

    heard: list[AssistantMessageInterface] = []
    with RawServer(play) as server, pytest.raises(ProtocolError) as caught:
        Client(server.url).invoke(invocation(), on_assistant_message=heard.append)
    assert text in str(caught.value)
    assert len(heard) == 1
    assert told[0][0] == 8
    assert int.from_bytes(told[0][1][:2], "big") == code == caught.value.close_code


def test_a_result_of_the_wrong_shape_names_the_path() -> None:
    bad = frame(b'{"message_type":"result_message","data":{"type":"text","text":1}}')
    with RawServer(answer_with(bad)) as server, pytest.raises(ProtocolError, match=r"got a number at \$\.data\.text$"):
        Client(server.url).invoke(invocation())


def test_a_message_over_the_limit_is_refused_from_its_header() -> None:
    with RawServer(answer_with(frame(b"", length=1 << 40))) as server:
        with pytest.raises(MessageTooLargeError, match=r"of 1099511627776 bytes is over max_message_size \(1000 "):
            Client(server.url, max_message_size=1000).invoke(invocation())


def test_frames_may_be_cut_anywhere() -> None:
    payload = json.dumps(text_result("häppy 🎉"), ensure_ascii=False).encode()
    data = GOOD + frame(b"", opcode=9) + frame(payload[:40], fin=False) + frame(b"", opcode=9) + frame(payload[40:], 0)

    def play(conn: RawPeer) -> None:
        conn.accept()
        conn.read_frame()
        conn.trickle(data, 0.0)
        conn.see_off()

    with RawServer(play) as server:
        assert Client(server.url).invoke(invocation()).text == "häppy 🎉"


def test_frames_that_come_with_the_handshake_are_not_lost() -> None:
    def play(conn: RawPeer) -> None:
        answer: list[bytes] = []
        conn.send = answer.append  # type: ignore[method-assign,assignment]
        conn.accept()
        del conn.send
        conn.send(answer[0] + RESULT)
        conn.see_off()

    with RawServer(play) as server:
        assert Client(server.url).invoke(invocation()).text == "done"


# --- size -------------------------------------------------------------------------------------------


def test_a_result_of_50_mib_arrives_whole() -> None:
    text = "0123456789abcdef" * (50 * 1024 * 1024 // 16)
    with RawServer(answer_with(frame(json.dumps(text_result(text)).encode()))) as server:
        assert Client(server.url).invoke(invocation()).text == text


def test_a_prompt_of_several_megabytes_is_sent_whole(scripted_runtime: Start) -> None:
    prompt = "x" * 8_000_000

    def script(peer: Peer) -> None:
        peer.send(text_result(str(len(peer.expect(InvocationMessage, timeout=10).user_prompt))))

    assert Client(scripted_runtime(script).url).invoke(invocation(user_prompt=prompt)).text == "8000000"


@pytest.mark.slow
def test_a_slow_callback_bounds_memory_and_keeps_pings_answered() -> None:
    count = 200_000
    pong = threading.Event()

    def play(conn: RawPeer) -> None:
        conn.sock.settimeout(30)
        conn.accept()
        conn.read_frame()
        conn.send(GOOD + frame(b"are you there", opcode=9))
        assert conn.read_frame() == (10, b"are you there")
        pong.set()
        for begin in range(0, count, 1000):
            texts = (b"%d" % number for number in range(begin, begin + 1000))
            conn.send(
                b"".join(
                    frame(b'{"message_type":"assistant_message","text_blocks":["' + b"%6s" % t + b'"]}') for t in texts
                )
            )
        conn.send(RESULT)
        conn.see_off()

    heard: list[str] = []
    grown: list[int] = []

    def slow_at_first(message: AssistantMessageInterface) -> None:
        if not heard:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            assert pong.wait(5)  # sent during this callback
            time.sleep(3)
            grown.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
        heard.append(message.text_blocks[0])

    with RawServer(play) as server:
        Client(server.url).invoke(invocation(), on_assistant_message=slow_at_first)
    assert heard[0] == "good"
    assert [int(text) for text in heard[1:]] == list(range(count))
    assert grown[0] < 40 * 1024


# --- dead and dying peers ---------------------------------------------------------------------------


def test_a_ping_that_is_not_answered_loses_the_connection() -> None:
    def play(conn: RawPeer) -> None:
        conn.accept()
        conn.read_frame()
        assert conn.read_frame() == (9, b"")
        conn.wait_closed()

    with RawServer(play) as server, pytest.raises(ConnectionLostError, match=r"a ping was not answered within 0\.2 s"):
        Client(server.url, ping_interval=0.1, ping_timeout=0.2).invoke(invocation())


def test_pings_go_on_while_a_callback_blocks(scripted_runtime: Start) -> None:
    pinged = threading.Event()

    def play(conn: RawPeer) -> None:
        conn.accept()
        conn.read_frame()
        conn.send(GOOD)
        for _ in range(3):
            opcode, payload = conn.read_frame()
            assert opcode == 9
            conn.send(frame(payload, opcode=10))
        pinged.set()
        conn.send(RESULT)
        conn.see_off()

    with RawServer(play) as server:
        client = Client(server.url, ping_interval=0.05, ping_timeout=10)
        assert client.invoke(invocation(), on_assistant_message=lambda _: pinged.wait(10)).text == "done"


def test_what_was_said_before_the_connection_broke_is_delivered() -> None:
    """The server reports and closes while the client is still sending."""

    def play(conn: RawPeer) -> None:
        conn.accept()
        conn.read_frame()
        conn.send(GOOD + frame(b'{"message_type":"error_message","error":"going down"}') + frame(b"\x03\xe9", opcode=8))
        conn.wait_closed()

    heard: list[Any] = []
    with RawServer(play) as server, pytest.raises(Exception, match="going down"):
        Client(server.url).invoke(invocation(), on_assistant_message=heard.append)
    assert len(heard) == 1


def test_the_connection_is_closed_with_a_closing_handshake() -> None:
    closing: list[tuple[int, bytes]] = []

    def play(conn: RawPeer) -> None:
        conn.accept()
        conn.read_frame()
        conn.send(RESULT)
        closing.append(conn.read_frame())
        conn.send(frame(closing[0][1], opcode=8))

    with RawServer(play) as server:
        Client(server.url).invoke(invocation())
    assert closing == [(8, b"\x03\xe8")]


def test_the_goodbye_of_a_one_shot_call_does_not_wait_for_its_callbacks() -> None:
    said_goodbye = threading.Event()

    def play(conn: RawPeer) -> None:
        conn.accept()
        conn.read_frame()
        conn.send(GOOD)
        conn.send(RESULT)
        opcode, payload = conn.read_frame()
        said_goodbye.set()
        conn.send(frame(payload, opcode))

    waited: list[bool] = []
    with RawServer(play) as server:
        result = Client(server.url).invoke(
            invocation(), on_assistant_message=lambda message: waited.append(said_goodbye.wait(5))
        )
    assert waited == [True]
    assert result.text == "done"


def test_a_peer_is_not_called_dead_for_what_was_left_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its answers to pings lie behind what a slow caller has not taken yet."""
    monkeypatch.setattr(_worker, "BACKLOG_LIMIT", 1_000_000)
    count = 3_000
    large = frame(b'{"message_type":"assistant_message","text_blocks":["%s"]}' % (b"x" * 1000))

    def play(conn: RawPeer) -> None:
        conn.accept()
        conn.read_frame()
        conn.send(large * count + RESULT)
        while (answered := conn.read_frame())[0] != 8:
            conn.send(frame(answered[1], opcode=10))
        conn.send(frame(answered[1], opcode=8))

    heard: list[Any] = []

    def slow_at_first(message: AssistantMessageInterface) -> None:
        if not heard:
            time.sleep(2)  # longer than the limit, which in turn leaves room for a server that is held up
        heard.append(message)

    with RawServer(play) as server:
        client = Client(server.url, ping_interval=0.05, ping_timeout=1.5)
        assert client.invoke(invocation(), on_assistant_message=slow_at_first).text == "done"
    assert len(heard) == count


def test_every_byte_of_a_message_counts_towards_the_backlog() -> None:
    worker = new_worker()
    reader = worker._reader
    inbox = reader._inbox = mock.create_autospec(Inbox, instance=True)
    reader.take([], 1_000_000)
    reader.take([b"x", b"y"], 10)
    reader.take([b"z"], 5)
    sizes = [call.args[1] - _reader.MESSAGE_OVERHEAD * len(call.args[0]) for call in inbox.put.call_args_list]
    assert sizes == [1_000_010, 5]


# --- a clock that has gone on while this process stood still -----------------------------------------


class Paused:
    """A worker whose loop has come to the moment of judging its peer, by a clock that only moves when told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(_worker, "Keepalive", functools.partial(Keepalive, clock=lambda: self.now))
        self.worker = new_worker(ping_interval=20.0, ping_timeout=5.0)
        self.sock, self.peer = socket.socketpair()
        self.sock.setblocking(False)
        self.traffic = Traffic(
            Stream(self.sock, b""),
            ending=self.worker.ending,
            inbox=self.worker.inbox,
            outbox=self.worker._outbox,
            reader=self.worker._reader,
            keepalive=self.worker._keepalive,
        )

    def judge(self) -> Optional[str]:
        """Why the peer was given up; None if it was not."""
        self.traffic.keep_alive()
        return getattr(self.worker.ending.error, "reason", None)

    def block(self) -> None:
        """Write until the socket takes nothing more."""
        while not self.worker._outbox.is_writing():
            self.worker._outbox.put(bytes(100_000))
            self.traffic.write()

    def close(self) -> None:
        self.sock.close()
        self.peer.close()


@pytest.fixture
def paused(monkeypatch: pytest.MonkeyPatch) -> Iterator[Paused]:
    paused = Paused(monkeypatch)
    yield paused
    paused.close()


def test_an_answer_that_came_during_a_pause_counts(paused: Paused) -> None:
    paused.worker._outbox.ping()
    paused.peer.send(frame(b"", opcode=10))
    paused.now += 3600
    assert paused.judge() is None
    paused.worker._reader.read(paused.sock)
    assert paused.judge() is None


def test_without_an_answer_the_peer_is_dead_after_a_pause_as_well(paused: Paused) -> None:
    paused.worker._outbox.ping()
    paused.now += 3600
    assert paused.judge() == "a ping was not answered within 5 s"


def test_half_an_answer_is_looked_at_once(paused: Paused) -> None:
    """Readable, but no message: as half of a TLS record is."""
    paused.worker._outbox.ping()
    paused.peer.send(b"x")
    paused.now += 3600
    assert paused.judge() is None
    assert paused.sock.recv(1) == b"x"
    assert paused.judge() == "a ping was not answered within 5 s"


def test_what_the_peer_has_read_during_a_pause_counts(paused: Paused) -> None:
    paused.block()
    paused.now += 3600
    with contextlib.suppress(BlockingIOError):
        while paused.peer.recv(1 << 20, socket.MSG_DONTWAIT):
            pass
    assert paused.judge() is None
    paused.traffic.write()
    assert paused.judge() is None


@pytest.mark.parametrize("says", [b"", frame(b"", opcode=9)])
def test_a_peer_that_reads_nothing_is_dead_whatever_it_says(paused: Paused, says: bytes) -> None:
    paused.block()
    paused.peer.send(says)
    paused.now += 3600
    assert paused.judge() == "the peer has read nothing for 25 s"


def test_what_a_peer_said_before_it_broke_is_read_after_a_pause(
    paused: Paused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtimeuse_sync._connection.ending.LINGER", 0.0)
    paused.worker.ending.listen()
    paused.peer.send(GOOD)
    assert not paused.traffic.is_over()
    paused.worker._reader.read(paused.sock)
    assert paused.traffic.is_over()


def test_and_not_while_a_slow_caller_leaves_no_room_to_read(paused: Paused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtimeuse_sync._connection.ending.LINGER", 0.0)
    paused.worker.ending.listen()
    paused.traffic._reads = False
    assert not paused.traffic.is_over()
    assert paused.traffic.pause() is None


# --- what a peer can make this side queue ---------------------------------------------------------------


class Weighed(Outbox):
    """An outbox that notes the most that it ever held, in bytes, behind and in what is being written."""

    most = 0

    def flush(self, sock: Any) -> None:
        frames = [*self._frames, *self._last, *self._pongs]
        Weighed.most = max(Weighed.most, len(self._unsent) + sum(map(len, frames)))
        super().flush(sock)


@pytest.fixture
def weighed(monkeypatch: pytest.MonkeyPatch) -> type[Weighed]:
    """Small limits, and what they hold."""
    monkeypatch.setattr(Weighed, "most", 0)
    monkeypatch.setattr(_worker, "Outbox", Weighed)
    monkeypatch.setattr("runtimeuse_sync._connection.outbox.OUTBOX_LIMIT", SMALL)
    for name in ("READ_SIZE", "BATCH_SIZE"):
        monkeypatch.setattr(_reader, name, SMALL // 10)
    return Weighed


SMALL = 100_000  # bytes
LONG_URL = "https://bucket.example.com/" + "x" * 20_000
REQUEST = frame(b'{"message_type":"artifact_upload_request_message","filename":"a","filepath":"/a"}')
REQUESTS = 1_000  # their answers, 20 MB, are more than the buffers of the two sockets take
IN_A_BATCH = SMALL // 10 // len(REQUEST) + 1
# What is being written, and what waits behind it: each up to its limit, and the answers to one batch beyond it.
MOST = 2 * (SMALL + IN_A_BATCH * (len(LONG_URL) + 200))


def flood(conn: RawPeer) -> None:
    conn.accept()
    conn.read_frame()
    # Sent by a thread, since it ends only when the client reads all of it.
    threading.Thread(target=send_all, args=(conn, REQUEST * REQUESTS), daemon=True).start()


def send_all(conn: RawPeer, data: bytes) -> None:
    with contextlib.suppress(ClientLeftError, OSError, AssertionError):
        conn.send(data)


def answer(request: object) -> tuple[str, str]:
    return LONG_URL, "text/plain"


def asking() -> InvocationMessage:
    return invocation(artifacts_dirs=["/out"])


def test_a_flood_of_pings_from_a_peer_that_does_not_read_takes_no_memory(weighed: type[Weighed]) -> None:
    def play(conn: RawPeer) -> None:
        conn.accept()
        conn.read_frame()
        for _ in range(100):
            conn.send(frame(b"x" * 125, opcode=9) * 1000)
        conn.send(RESULT)
        conn.see_off()

    with RawServer(play) as server:
        assert Client(server.url).invoke(invocation()).text == "done"
    assert weighed.most < 10_000


def test_who_asks_for_much_and_reads_nothing_is_dead_in_time(weighed: type[Weighed]) -> None:
    def play(conn: RawPeer) -> None:
        flood(conn)
        lost.wait(20)

    lost = threading.Event()
    with RawServer(play) as server:
        client = Client(server.url, ping_interval=0.5, ping_timeout=0.5)
        with pytest.raises(ConnectionLostError, match="the peer has read nothing for 1 s"):
            client.invoke(asking(), on_artifact_upload_request=answer)
        lost.set()
    assert weighed.most < MOST


def test_nor_does_it_keep_the_caller(weighed: type[Weighed]) -> None:
    def play(conn: RawPeer) -> None:
        flood(conn)
        left.wait(20)

    left = threading.Event()
    with RawServer(play) as server:
        client = Client(server.url, ping_interval=None)
        with pytest.raises(InvocationTimeoutError):
            client.invoke(asking(), on_artifact_upload_request=answer, timeout=1.0)
        left.set()
    assert SMALL < weighed.most < MOST


def test_who_reads_at_last_gets_every_answer(weighed: type[Weighed]) -> None:
    """Not reading while too much waits to be written is no deadlock."""
    answers: list[int] = []

    def play(conn: RawPeer) -> None:
        flood(conn)
        wait_until(lambda: weighed.most > SMALL)
        for _ in range(REQUESTS):
            head = conn._read(8)  # first and second byte, length, mask
            answers.append(head[0] & 0x0F)
            conn._read(int.from_bytes(head[2:4], "big"))
        conn.send(RESULT)
        conn.read_frame()  # end_session_message
        conn.send(frame(b'{"message_type":"end_session_confirm_message"}'))
        conn.see_off()

    with RawServer(play) as server:
        client = Client(server.url, ping_interval=None)
        assert client.invoke(asking(), on_artifact_upload_request=answer).text == "done"
    assert set(answers) == {1}
    assert weighed.most < MOST


# --- the end --------------------------------------------------------------------------------------------


def test_an_error_keeps_nothing_of_the_connection_alive(scripted_runtime: Start) -> None:
    def play(peer: Peer) -> None:
        peer.expect(InvocationMessage)
        peer.reset()

    with pytest.raises(ConnectionLostError) as caught:
        Client(scripted_runtime(play).url).invoke(invocation())
    assert isinstance(caught.value.__cause__, ConnectionResetError)
    assert caught.value.__cause__.__traceback__ is None


def test_a_goodbye_that_comes_before_the_thread_has_begun_is_not_lost() -> None:
    class Nobody:
        endpoint = "ws://nobody"

        def dial(self, *_: Any) -> Any:
            raise AssertionError("it is not to connect any more")

    worker = new_worker(Nobody())
    worker.close(1.0)
    worker.run()
    with pytest.raises(ConnectionLostError, match="closed before it was open"):
        worker.inbox.get(0)


def test_that_of_one_that_has_artifacts_to_come_does() -> None:
    end_session, closing = [], []

    def play(conn: RawPeer) -> None:
        conn.accept()
        conn.read_frame()
        conn.send(RESULT)
        end_session.append(json.loads(conn.read_frame()[1]))
        conn.send(frame(b'{"message_type":"end_session_confirm_message"}'))
        closing.append(conn.read_frame())
        conn.send(frame(closing[0][1], opcode=8))

    with RawServer(play) as server:
        Client(server.url).invoke(
            invocation(artifacts_dirs=["/out"]), on_artifact_upload_request=lambda request: ("https://x", "text/plain")
        )
    assert end_session == [{"message_type": "end_session_message"}]
    assert closing == [(8, b"\x03\xe8")]


def test_a_peer_that_does_not_answer_the_goodbye_is_left_after_a_second() -> None:
    assert (CLOSE_WAIT, _ending.LINGER) == (1.0, 1.0)
    with RawServer(answer_with(RESULT)) as server:
        began = time.monotonic()
        assert Client(server.url).invoke(invocation()).text == "done"
        assert time.monotonic() - began < 5
