"""A runtime that says anything at any time: garbage, floods, half frames, and nearly right answers.

Some of its connections lead to a real runtime, whose words it changes now and then: so calls that ask for several
things in turn get far.
"""

from __future__ import annotations

import json
import random
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Callable

from runtimeuse_sync._protocol.frames import FrameDecoder

from ..raw_server import ClientLeftError, RawPeer, frame

MESSAGES: tuple[dict[str, Any], ...] = (
    {"message_type": "assistant_message", "text_blocks": ["hello", "world"]},
    {"message_type": "command_output_message", "stream": "stdout", "text": "out", "command": "ls"},
    {"message_type": "artifact_upload_request_message", "filename": "a", "filepath": "/out/a"},
    {"message_type": "heartbeat_message", "phase": "agent", "elapsed_ms": 15000},
    {"message_type": "result_message", "data": {"type": "text", "text": "s3cret"}, "metadata": {"num_turns": 1}},
    {"message_type": "result_message", "data": {"type": "structured_output", "structured_output": {"n": 1}}},
    {"message_type": "result_message", "structured_output": {"n": 1}, "metadata": {}},
    {
        "message_type": "command_execution_result_message",
        "results": [{"command": "ls", "exit_code": 0, "stdout": "s3cret"}],
    },
    {"message_type": "error_message", "error": "no s3cret", "metadata": {"a": ["s3cret"]}},
    {"message_type": "end_session_confirm_message"},
    {"message_type": "from_the_future", "x": 1},
)

# What anything may be changed into.
SCALARS: tuple[Any, ...] = (
    *(None, True, 0, -1, 2**70, 1e308, float("inf"), float("nan")),
    *("", "x", "\ud800", "\0", "\x1b]0;title\x07", "a\r\nb", "\u202e", "s3cret" * 1000, "x" * 100_000),
    *([], {}, [[]], {"a": None}, ["s3cret"], [{}] * 1000, {"type": "text"}),
)

REASONS = (b"", b"\x03\xe8", b"\x03\xf1too big", b"\x03", b"\xff\xff", b"\x03\xe8\xff", b"\x03\xe8\x1b[2J", b"\x03\xed")


class HostileRuntime:
    """Listens until it is closed; ``real_port`` is a real runtime's, and no connection goes on after ``seconds``."""

    def __init__(self, real_port: int, seed: int, seconds: float) -> None:
        self._real_port = real_port
        self._seed = seed
        self._deadline = time.monotonic() + seconds
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        """Refuse connections from now on, and wait for those that there are."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive(), "a conversation does not end"

    def _accept(self) -> None:
        while True:
            try:
                sock = self._listener.accept()[0]
            except OSError:
                return
            self.connections += 1
            conversation = Conversation(RawPeer(sock), random.Random(self._seed + self.connections), self._deadline)
            thread = threading.Thread(target=conversation.run, args=(self._real_port,), daemon=True)
            thread.start()
            self._threads = [other for other in self._threads if other.is_alive()] + [thread]


class Conversation:
    """One connection, with a mind of its own."""

    def __init__(self, peer: RawPeer, draws: random.Random, deadline: float) -> None:
        self._peer = peer
        self._draws = draws
        self._deadline = deadline
        peer.sock.settimeout(1)

    def run(self, real_port: int) -> None:
        try:
            if self._happens(0.4):
                self._between(real_port)
            elif self._shakes_hands():
                self._say_anything()
        except (OSError, ClientLeftError, AssertionError):
            pass  # The client has left, or reads nothing for a second.
        finally:
            if self._happens(0.2):
                with suppress(OSError):
                    self._peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._peer.sock.close()

    def _happens(self, probability: float) -> bool:
        return self._draws.random() < probability

    # --- the handshake -----------------------------------------------------------------------------

    def _shakes_hands(self) -> bool:
        self._peer.read_request()
        if self._happens(0.85):
            early = frame(b"\xff") if self._happens(0.1) else b""
            self._peer.send(b"HTTP/1.1 103 Early\r\n\r\n" * self._draws.choice((0, 0, 1, 40)) + early)
            self._peer.accept()
            return True
        answers = (
            b"HTTP/1.1 503 \x1b[2Jbusy\r\nRetry-After: 1e999\r\n\r\n",
            b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n",
            b"HTTP/1.1 401 No\r\nContent-Length: 99999999999\r\n\r\n" + b"x" * 100_000,
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
            b"HTTP/1.1 101 \xff\r\n" + b"A: b\r\n" * 100_000,
            b"HTTP/1.1 200 OK\nA: b\n\n",
            b"HTTP/9.9 -1 x\r\n\r\n",
            b"A" * 200_000,
            b"\x15\x03\x01\x00\x02\x02\x28",
            self._noise(300),
            b"",
        )
        self._peer.send(self._draws.choice(answers))
        time.sleep(self._draws.choice((0, 0.01, 0.5)))
        return False

    # --- words of its own --------------------------------------------------------------------------

    def _say_anything(self) -> None:
        for _ in range(self._draws.randrange(1, 40)):
            if time.monotonic() > self._deadline:
                return
            self._say(self._draws.choice(self._sayings())())
            if self._happens(0.3):
                self._listen(self._draws.choice((0.001, 0.05, 0.3)))

    def _say(self, data: bytes) -> None:
        if self._happens(0.02):
            data = data[: self._draws.randrange(len(data) + 1)]
        if self._happens(0.1):
            cut = self._draws.randrange(len(data) + 1)
            self._peer.send(data[:cut])
            time.sleep(0.01)
            data = data[cut:]
        self._peer.send(data)

    def _listen(self, seconds: float) -> None:
        self._peer.sock.settimeout(seconds)
        with suppress(socket.timeout):
            if not self._peer.sock.recv(1_000_000):
                raise ClientLeftError
        self._peer.sock.settimeout(1)

    def _sayings(self) -> list[Callable[[], bytes]]:
        often = [self._message] * 8 + [self._changed] * 5
        return [*often, self._fragments, self._control, self._illegal, self._no_message, self._flood, self._nothing]

    def _message(self) -> bytes:
        return _text(self._draws.choice(MESSAGES))

    def _changed(self) -> bytes:
        return _text(changed(self._draws.choice(MESSAGES), self._draws))

    def _fragments(self) -> bytes:
        payload = json.dumps(self._draws.choice(MESSAGES)).encode()
        pieces = [payload[at : at + 7] for at in range(0, len(payload), 7)]
        opcodes = [1] + [0] * (len(pieces) - 1)
        between = self._draws.choice((b"", frame(b"", 9), frame(b"x", 1, fin=False)))
        last = len(pieces) - 1
        return between.join(frame(piece, opcodes[n], fin=n == last) for n, piece in enumerate(pieces))

    def _control(self) -> bytes:
        noise = self._noise(125)
        frames = (frame(noise, 9) * 1000, frame(noise, 10) * 100, frame(self._draws.choice(REASONS), 8))
        return self._draws.choice(frames)

    def _illegal(self) -> bytes:
        frames = (
            frame(b"x", 0),
            frame(b"x", 2),
            frame(b"x", 3),
            frame(b"x", rsv=4),
            frame(b"x", mask=True),
            frame(b"x" * 126, 9),
            frame(b"", 9, fin=False),
            frame(b"", length=2**63),
            frame(b"", length=2**40),
            frame(b"x" * 1000, length=60 * 2**20),
            frame(b"\xff\xfe"),
            self._noise(1000),
        )
        return self._draws.choice(frames)

    def _no_message(self) -> bytes:
        texts = (
            *(b"", b"null", b"[]", b"NaN", b'"x"', b"{}", b"{", b'{"message_type": 1}', b"9" * 10_000, b"1e999"),
            b"[" * 100_000,
            b'{"message_type": "error_message", "error": "x", "metadata": {"a": ' + b"[" * 90 + b"]" * 90 + b"}}",
            b'{"message_type": "assistant_message", "message_type": "error_message"}',
            b'{"message_type": "' + b"u" * 1_000_000 + b'"}',
            self._noise(1000),
        )
        return frame(self._draws.choice(texts))

    def _flood(self) -> bytes:
        messages = (
            {"message_type": "assistant_message", "text_blocks": ["x" * 100_000]},
            {"message_type": "assistant_message", "text_blocks": [""] * 50_000},
            {"message_type": "error_message", "error": "x", "metadata": {"a": [{}] * 10_000}},
            {"message_type": "artifact_upload_request_message", "filename": "a" * 10_000, "filepath": "/out/a"},
            {"message_type": "heartbeat_message", "phase": "agent", "elapsed_ms": 1},
            {"message_type": f"unknown {self._draws.random()}", "x": ["y"] * 10_000},
        )
        message = _text(self._draws.choice(messages))
        return message * (2_000_000 // len(message) + 1)

    def _nothing(self) -> bytes:
        time.sleep(self._draws.choice((0.01, 0.3, 1)))
        return b""

    def _noise(self, most: int) -> bytes:
        return bytes(self._draws.choices(range(256), k=self._draws.randrange(most + 1)))

    # --- the words of a real one -------------------------------------------------------------------

    def _between(self, real_port: int) -> None:
        with socket.create_connection(("127.0.0.1", real_port)) as real:
            there = threading.Thread(target=_pass_on, args=(self._peer.sock, real), daemon=True)
            there.start()
            try:
                self._pass_back(real)
            finally:
                for sock in (self._peer.sock, real):
                    with suppress(OSError):
                        sock.shutdown(socket.SHUT_RDWR)
                there.join(30)

    def _pass_back(self, real: socket.socket) -> None:
        change = self._draws.choice((0, 0.01, 0.1))
        head = b""
        while b"\r\n\r\n" not in head:
            head += real.recv(1) or _leave()
        self._peer.send(head)
        decoder = FrameDecoder(None)
        real.settimeout(2)
        while data := real.recv(100_000):
            for event in decoder.feed(data):
                self._say(b"".join(self._heard(event, change)))
        self._peer.send(frame(b"", 8))

    def _heard(self, event: Any, change: float) -> Iterator[bytes]:
        if not isinstance(event, (bytes, bytearray)):
            return
        if self._happens(change / 5):
            yield self._draws.choice(self._sayings())()
        message = json.loads(event)
        for _ in range(self._happens(change) + 1):
            yield _text(changed(message, self._draws) if self._happens(change) else message)


def _leave() -> bytes:
    raise ClientLeftError


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(100_000):
            target.sendall(data)


def _text(message: Any) -> bytes:
    return frame(json.dumps(message).encode())


def changed(value: Any, draws: random.Random) -> Any:
    """``value`` with one place of it changed: removed, doubled, cut, or something else altogether."""
    if draws.random() < 0.2 or not value or not isinstance(value, (dict, list, str)):
        return draws.choice(SCALARS)
    if isinstance(value, str):
        at = draws.randrange(len(value))
        return draws.choice((value[:at], value[at:], value[:at] + "\0" + value[at:], value * 2, value[::-1]))
    keys: list[Any] = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = draws.choice(keys)
    copied = value.copy()
    if draws.random() < 0.15:
        del copied[key]
    else:
        copied[key] = changed(value[key], draws)
    return copied
