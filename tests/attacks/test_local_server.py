"""Clients that take what they can of a runtime: its threads, its connections, its memory, its ear."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Callable

import pytest
from websockets.exceptions import InvalidStatus

from runtimeuse_sync import Client, CommandInterface, ExecuteCommandsOptions, RuntimeUseError
from runtimeuse_sync.local import LocalRuntime

from ..local.conftest import PATIENCE, peer_of, start_runtime
from ..local.test_processes import ends, lives, wait_for
from .runtime_process import runtime_process

__all__ = ["start_runtime"]

StartRuntime = Callable[..., LocalRuntime]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc")

# Bytes that the process of a runtime may take, whatever its clients do.
MOST_MEMORY = 200 * 2**20


class RawClient:
    """A client that says what it likes, and reads when it likes. Its frames are masked with zeros."""

    def __init__(self, port: int, *, receive_buffer: int = 4096) -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(("127.0.0.1", port))
        self.socket.sendall(
            b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        assert self.socket.recv(1000).startswith(b"HTTP/1.1 101")

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def say(self, message_type: str, **fields: Any) -> None:
        self.socket.sendall(frame(1, json.dumps({"message_type": message_type, **fields}).encode()))

    def flood(self, data: bytes, seconds: float) -> int:
        """Send ``data`` over and over, and read nothing; how many bytes went out."""
        sent = 0
        self.socket.settimeout(0.2)
        give_up = time.monotonic() + seconds
        while time.monotonic() < give_up:
            try:
                sent += self.socket.send(data)
            except socket.timeout:
                continue
        return sent


def frame(opcode: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        head = bytes([0x80 | size])
    else:
        head = b"\xfe" + size.to_bytes(2, "big") if size < 2**16 else b"\xff" + size.to_bytes(8, "big")
    return bytes([0x80 | opcode]) + head + b"\0\0\0\0" + payload


def port_of(runtime: LocalRuntime) -> int:
    return int(runtime.url.rpartition(":")[2])


# --- threads and connections -------------------------------------------------------------------------


def refusal(runtime: LocalRuntime) -> int:
    with pytest.raises(InvalidStatus) as caught, peer_of(runtime):
        pass
    return caught.value.response.status_code


@contextmanager
def no_thread(name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Threads of that name cannot start, as when the system has no room for them."""
    start = threading.Thread.start

    def fail(thread: threading.Thread) -> None:
        if thread.name == name:
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        yield


def test_a_thread_that_cannot_start_is_one_client_s_loss(
    start_runtime: StartRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = start_runtime()
    with no_thread("runtimeuse-connection", monkeypatch):
        assert [refusal(runtime) for _ in range(3)] == [503] * 3
    with peer_of(runtime) as peer:
        assert peer.is_served()


def test_a_request_without_a_thread_is_an_error_and_the_next_one_is_served(
    start_runtime: StartRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    with peer_of(start_runtime()) as peer:
        with no_thread("runtimeuse-request", monkeypatch):
            assert "cannot start a thread" in peer.invoke()[-1]["error"]
        assert peer.is_served()


def test_a_shortage_of_descriptors_passes(
    start_runtime: StartRuntime, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    runtime = start_runtime()
    accept = socket.socket.accept
    shortages = [OSError(errno.EMFILE, "Too many open files"), MemoryError(), OSError(errno.ENOMEM, "")]

    def fail(listener: socket.socket) -> Any:
        if shortages:
            raise shortages.pop()
        return accept(listener)

    monkeypatch.setattr(socket.socket, "accept", fail)
    with peer_of(runtime) as peer:
        assert peer.is_served()
    assert shortages == []
    assert [record.getMessage() for record in caplog.records] == [
        "a connection could not be taken in (OSError); trying again"
    ]


def test_there_are_so_many_connections_and_no_more(start_runtime: StartRuntime) -> None:
    runtime = start_runtime(max_connections=2)
    with peer_of(runtime) as first:
        with peer_of(runtime) as second:
            assert [refusal(runtime) for _ in range(50)] == [503] * 50
            assert first.is_served()
            assert second.is_served()
        assert is_served_at_last(runtime)


def is_served_at_last(runtime: LocalRuntime) -> bool:
    """Whether the place of a client that has left is given away, a moment later."""
    give_up = time.monotonic() + PATIENCE
    while time.monotonic() < give_up:
        try:
            with peer_of(runtime) as peer:
                return peer.is_served()
        except InvalidStatus:
            time.sleep(0.01)
    return False


def test_a_refused_client_that_says_nothing_and_reads_nothing_is_let_go(start_runtime: StartRuntime) -> None:
    runtime = start_runtime(max_connections=1)
    with peer_of(runtime) as peer, ExitStack() as stack:
        idle = [stack.enter_context(socket.create_connection(("127.0.0.1", port_of(runtime)))) for _ in range(100)]
        for client in idle:
            client.settimeout(PATIENCE)
            data = b"".join(iter(lambda client=client: client.recv(1000), b""))  # type: ignore[misc]
            assert data.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        assert peer.is_served()


# --- who is heard, and when --------------------------------------------------------------------------


def chatty_command(client: RawClient, folder: Path) -> None:
    client.say("command_execution_message", commands=[{"command": f"echo $$ > {folder}/pid; exec yes"}])


def chatty_stderr(client: RawClient, folder: Path) -> None:
    client.say("command_execution_message", commands=[{"command": f"echo $$ > {folder}/pid; exec yes >&2"}])


def chatty_handler(client: RawClient, folder: Path) -> None:
    client.say("invocation_message", system_prompt="", user_prompt=str(folder), secrets_to_redact=[])


def chatty_watcher(client: RawClient, folder: Path) -> None:
    many = "i=0; while [ $i -lt 20000 ]; do : > out/$i; i=$((i+1)); done"
    command = f"cd {folder}; mkdir out; echo $$ > pid; {many}; exec yes"
    client.say("command_execution_message", commands=[{"command": command}], artifacts_dirs=[f"{folder}/out"])


@pytest.mark.parametrize("heartbeat_interval", [0.01, 15.0])
@pytest.mark.parametrize("writer", [chatty_command, chatty_stderr, chatty_handler, chatty_watcher])
def test_a_client_that_reads_nothing_is_heard_when_it_cancels(
    start_runtime: StartRuntime,
    tmp_path: Path,
    writer: Callable[[RawClient, Path], None],
    heartbeat_interval: float,
) -> None:
    cancelled_at: list[float] = []

    def handler(invocation: Any, sender: Any) -> str:
        folder = Path(invocation.user_prompt)
        (folder / "pid").write_text(f"{os.getpid()}\n")
        try:
            while True:
                sender.assistant("x" * 1000)
        finally:
            cancelled_at.append(time.monotonic())

    runtime = start_runtime(handler, heartbeat_interval=heartbeat_interval, settle_seconds=0.05)
    with RawClient(port_of(runtime)) as client:
        writer(client, tmp_path)
        child = wait_for(tmp_path / "pid")
        wait_until_blocked(client)
        began = time.monotonic()
        client.say("cancel_message")
        if writer is chatty_handler:
            wait_until(lambda: bool(cancelled_at))
        else:
            assert ends(child)
        assert time.monotonic() - began < 1.0 + BUSY


# Seconds more than the promise, for a machine that is busy: without the mend it took until the client read.
BUSY = 5.0


def wait_until(is_so: Callable[[], bool]) -> None:
    give_up = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < give_up
        time.sleep(0.005)


def wait_until_blocked(client: RawClient) -> None:
    """Until what the runtime can put into the sockets' buffers has stopped to grow."""
    size, seen = 0, -1
    while size > seen or size == 0:
        seen = size
        time.sleep(0.3)
        size = len(client.socket.recv(2**20, socket.MSG_PEEK))


@pytest.mark.alone
def test_abort_reaches_the_runtime_although_the_caller_is_inside_a_callback(
    start_runtime: StartRuntime, tmp_path: Path
) -> None:
    runtime = start_runtime(heartbeat_interval=0.05)
    client = Client(runtime.url)
    over = threading.Event()
    options = ExecuteCommandsOptions(on_command_output=lambda _: over.wait(PATIENCE))
    commands = [CommandInterface(command=f"echo $$ > {tmp_path}/pid; exec yes")]

    def call() -> None:
        with pytest.raises(RuntimeUseError):
            client.execute_commands(commands, options)

    caller = threading.Thread(target=call)
    caller.start()
    child = wait_for(tmp_path / "pid")
    time.sleep(1.0)  # until all buffers between the two are full
    began = time.monotonic()
    client.abort()
    assert ends(child)
    assert time.monotonic() - began < 1.0
    over.set()
    caller.join(PATIENCE)


# --- memory ------------------------------------------------------------------------------------------

FLOODS = {
    "pings": frame(9, b""),
    "large pings": frame(9, b"x" * 125),
    "what is no message": frame(1, b"{}"),
    "unknown types": frame(1, json.dumps({"message_type": "x" * 100}).encode()),
    "cancellations": frame(1, b'{"message_type":"cancel_message"}'),
    "answers to no question": frame(
        1,
        json.dumps(
            {
                "message_type": "artifact_upload_response_message",
                "filename": "a",
                "filepath": "a",
                "presigned_url": "http://127.0.0.1:1/",
                "content_type": "a",
            }
        ).encode(),
    ),
    "empty fragments": frame(1, b"")[:0] + b"\x01\x80\0\0\0\0" + b"\x00\x80\0\0\0\0" * 10_000,
    "requests": frame(1, b'{"message_type":"command_execution_message","secrets_to_redact":[],"commands":[]}'),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_of_a_client_that_reads_nothing_takes_bounded_memory(name: str) -> None:
    flood = FLOODS[name] if name == "empty fragments" else FLOODS[name] * (64 * 1024 // len(FLOODS[name]))
    with runtime_process() as runtime:
        with RawClient(runtime.port) as client:
            client.flood(flood, seconds=1.5)
            assert runtime.peak_memory < MOST_MEMORY
        with RawClient(runtime.port) as other:
            other.say("end_session_message")
            assert b"end_session_confirm_message" in other.socket.recv(1000)
        assert runtime.close() == "[]"
        assert runtime.errors == ""


def test_secrets_without_end_are_refused(start_runtime: StartRuntime) -> None:
    with peer_of(start_runtime()) as peer:
        for n in range(3):
            assert peer.execute("true", secrets_to_redact=[f"{n}" * 300_000])[-1].get("error") is None
        assert "too many, or too long" in peer.execute("true", secrets_to_redact=["x" * 300_000])[-1]["error"]
        assert peer.is_served()


# --- the end -----------------------------------------------------------------------------------------

# A handler that does not listen, and a command that does not either: to end them takes a while.
STUBBORN = """
import os, signal, sys, threading
from runtimeuse_sync.local import LocalRuntime
runtime = LocalRuntime(lambda invocation, sender: threading.Event().wait()).start()
print(runtime.url, flush=True)
sys.stdin.readline()
print("closing", flush=True)
try:
    runtime.close()
except KeyboardInterrupt:
    print("interrupted", flush=True)
print(len([t for t in threading.enumerate() if t.name == "runtimeuse-close"]), flush=True)
"""


def stubborn_command(folder: Path) -> str:
    return f"trap '' TERM; echo $$ > {folder}/pid; while :; do sleep 1000; done"


@pytest.mark.slow
def test_a_close_that_is_interrupted_again_and_again_ends_all_the_same(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STUBBORN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        port = int(process.stdout.readline().rpartition(":")[2])
        with RawClient(port) as command, RawClient(port) as handler:
            command.say("command_execution_message", commands=[{"command": stubborn_command(tmp_path)}])
            handler.say("invocation_message", system_prompt="", user_prompt="", secrets_to_redact=[])
            child = wait_for(tmp_path / "pid")
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == "closing\n"
            for _ in range(10):
                time.sleep(0.1)
                process.send_signal(signal.SIGINT)
            output = process.communicate(timeout=PATIENCE)[0]
        assert not lives(child)
    assert output == "interrupted\n0\n"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_however_the_program_ends_its_processes_end_too(tmp_path: Path, number: int) -> None:
    with runtime_process() as runtime:
        with RawClient(runtime.port) as client:
            background = f"setsid env -i sh -c 'echo $$ > {tmp_path}/background; exec sleep 1000' &"
            client.say(
                "command_execution_message", commands=[{"command": background}, {"command": stubborn_command(tmp_path)}]
            )
            children = [wait_for(tmp_path / name) for name in ("background", "pid")]
            runtime.process.send_signal(number)
            runtime.process.wait(PATIENCE)
            assert all(map(ends, children))
