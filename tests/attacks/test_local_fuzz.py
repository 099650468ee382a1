"""A client that says anything at any time, for as long as ``RUNTIMEUSE_FUZZ_SECONDS`` says (default: five seconds)."""

from __future__ import annotations

import json
import os
import random
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any, Callable

import pytest

from .runtime_process import PATIENCE, RuntimeProcess, runtime_process
from .test_local_server import MOST_MEMORY, frame

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="/proc"),
    pytest.mark.slow,
    pytest.mark.timeout(0),
]

SECONDS = float(os.environ.get("RUNTIMEUSE_FUZZ_SECONDS", "5"))
SEED = int(os.environ.get("RUNTIMEUSE_FUZZ_SEED", "0")) or random.randrange(2**32)

CLIENTS = 8

# What a second look at the runtime's memory and descriptors may show more than the first, when all clients are gone.
SLACK = 10

COMMANDS = (
    "true",
    "exit 3",
    "yes",
    "yes >&2",
    "sleep 1000",
    "sleep 0.05; echo done",
    "head -c 300000 /dev/urandom",
    "setsid env -i sleep 1000 &",
    "trap '' TERM; sleep 1000",
    "kill -9 $$",
    "kill -9 $PPID",
    "mkdir -p out/a; for n in 1 2 3; do head -c 1000 /dev/zero > out/a/$RANDOM$n; done",
    "ln -s /etc/passwd out/link; mkfifo out/fifo",
    "nowhere",
    "\0",
)

SCALARS: tuple[Any, ...] = (None, True, 0, -1, 1e308, "", "x", "\ud800", "\0", "a" * 10_000, [], {}, [[]], {"a": None})


class Fuzzer:
    """One client after another, each with a mind of its own."""

    def __init__(self, port: int, folder: Path, seed: int) -> None:
        self._port = port
        self._folder = folder
        self._random = random.Random(seed)
        self.connections = 0

    def run(self, deadline: float) -> None:
        while time.monotonic() < deadline:
            self.connections += 1
            with socket.socket() as client:
                client.settimeout(0.2)
                try:
                    self._talk(client, deadline)
                except OSError:
                    pass

    def _talk(self, client: socket.socket, deadline: float) -> None:
        if self._random.random() < 0.3:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", self._port))
        client.sendall(self._handshake())
        reads = self._random.random() < 0.7
        for _ in range(self._random.randrange(30)):
            if time.monotonic() > deadline:
                return
            self._say(client, self._random.choice(self._sayings())())
            if reads:
                self._read(client)
        if self._random.random() < 0.2:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    def _say(self, client: socket.socket, data: bytes) -> None:
        cut = self._random.randrange(len(data) + 1) if self._random.random() < 0.03 else len(data)
        try:
            client.sendall(data[:cut])
        except socket.timeout:
            self._read(client)

    def _read(self, client: socket.socket) -> None:
        client.settimeout(self._random.choice((0.001, 0.01, 0.1)))
        try:
            client.recv(self._random.choice((1, 1000, 100_000)))
        except socket.timeout:
            pass

    # --- what is said --------------------------------------------------------------------------------

    def _handshake(self) -> bytes:
        good = (
            b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        if self._random.random() < 0.9:
            return good
        bad = (good[:-2], good.replace(b"13", b"12"), b"GET /\r\n\r\n", b"\x16\x03\x01", b"A" * 100_000, b"")
        return self._random.choice((*bad, good.replace(b"localhost", b"evil.example"), self._mutated(good)))

    def _sayings(self) -> tuple[Callable[[], bytes], ...]:
        return (
            self._request,
            self._request,
            lambda: self._message("cancel_message"),
            lambda: self._message("end_session_message"),
            self._upload_answer,
            self._anything,
            self._frames,
            lambda: self._mutated(self._request()),
        )

    def _message(self, message_type: str, **fields: Any) -> bytes:
        return frame(1, json.dumps({"message_type": message_type, **fields}).encode(errors="replace"))

    def _request(self) -> bytes:
        fields: dict[str, Any] = {"secrets_to_redact": self._random.sample(["x", "y", "s3cret", "/"], 2)}
        commands = [{"command": self._random.choice(COMMANDS), "cwd": str(self._folder)} for _ in range(2)]
        if self._random.random() < 0.5:
            fields["artifacts_dirs"] = [str(self._folder / "out")]
        if self._random.random() < 0.1:
            fields[self._random.choice((*fields, "commands"))] = self._random.choice(SCALARS)
        if self._random.random() < 0.5:
            return self._message("command_execution_message", **{"commands": commands, **fields})
        prompt = self._random.choice(("", "hi", "!" * 3, "!" * 300, "x" * 100_000))
        around = {"pre_agent_invocation_commands": commands} if self._random.random() < 0.3 else {}
        return self._message("invocation_message", **{"system_prompt": "", "user_prompt": prompt, **around, **fields})

    def _upload_answer(self) -> bytes:
        name = self._random.choice(("a", "1", "link", "fifo"))
        path = str(self._folder / "out" / name)
        return self._message(
            "artifact_upload_response_message",
            filename=name,
            filepath=path,
            presigned_url=self._random.choice(("http://127.0.0.1:1/", "file:///etc/passwd", "", f"ws://{name}")),
            content_type=self._random.choice(("text/plain", "a\r\nb: c")),
        )

    def _anything(self) -> bytes:
        scalar = self._random.choice(SCALARS)
        texts = (
            json.dumps(scalar),
            json.dumps({"message_type": scalar}),
            json.dumps({"message_type": "invocation_message", "user_prompt": scalar}),
            "[" * 10_000,
            '{"a":' * 5_000,
            "NaN",
            "9" * 10_000,
        )
        return frame(self._random.choice((1, 1, 1, 2)), self._random.choice(texts).encode(errors="replace"))

    def _frames(self) -> bytes:
        noise = self._random.randbytes(self._random.choice((0, 1, 125)))
        frames = (
            frame(9, noise) * self._random.choice((1, 1000)),
            frame(10, noise),
            frame(8, self._random.choice((b"", b"\x03\xe8", b"\x03", b"\xff\xff", noise))),
            frame(self._random.randrange(16), noise),
            b"\x01\x80\0\0\0\0" + b"\x00\x80\0\0\0\0" * 1000,
            frame(1, b"\xff\xfe"),
            b"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0",
            noise,
        )
        return self._random.choice(frames)

    def _mutated(self, data: bytes) -> bytes:
        changed = bytearray(data)
        for _ in range(self._random.randrange(1, 4)):
            changed[self._random.randrange(len(changed))] = self._random.randrange(256)
        return bytes(changed)


def has_calmed_down(runtime: RuntimeProcess, threads: int, descriptors: int) -> bool:
    give_up = time.monotonic() + PATIENCE
    while time.monotonic() < give_up:
        if runtime.threads <= threads + SLACK and runtime.descriptors <= descriptors + SLACK:
            return True
        time.sleep(0.1)
    return False


def test_a_client_that_says_anything(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    record_property("seed", SEED)
    (tmp_path / "out").mkdir()
    with runtime_process(options="heartbeat_interval=0.05", seconds=SECONDS + 600) as runtime:
        threads, descriptors = runtime.threads, runtime.descriptors
        fuzzers = [Fuzzer(runtime.port, tmp_path, SEED + n) for n in range(CLIENTS)]
        deadline = time.monotonic() + SECONDS
        running = [threading.Thread(target=fuzzer.run, args=(deadline,)) for fuzzer in fuzzers]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
        told = f"seed {SEED}, {sum(f.connections for f in fuzzers)} connections, {runtime.peak_memory >> 20} MiB"
        print(told)
        assert runtime.peak_memory < MOST_MEMORY, told
        assert has_calmed_down(runtime, threads, descriptors), told
        assert runtime.close() == "[]", told
        assert runtime.process.returncode == 0, told
        assert runtime.errors == "", told
        assert runtime.descendants() == [], told
