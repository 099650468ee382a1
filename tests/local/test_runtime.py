"""The runtime as a server: who gets in, many at once, and how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any, Callable

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from runtimeuse_sync.local import LocalRuntime
from runtimeuse_sync.local._server.latch import Latch

from .conftest import PATIENCE, echo, peer_of
from .test_processes import lives, wait_for

StartRuntime = Callable[..., LocalRuntime]


# --- arguments ---------------------------------------------------------------------------------------


async def coroutine(invocation: Any, sender: Any) -> str:
    return ""


class AsyncAgent:
    async def __call__(self, invocation: Any, sender: Any) -> str:
        return ""


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"handler": None}, TypeError, "handler must be a function"),
        ({"handler": coroutine}, TypeError, "write `def` for `async def`"),
        ({"handler": partial(coroutine)}, TypeError, "write `def` for `async def`"),
        ({"handler": AsyncAgent()}, TypeError, "write `def` for `async def`"),
        ({"handler": "module:function"}, TypeError, r"\(invocation, sender\); got a str$"),
        ({"heartbeat_interval": 0}, ValueError, "heartbeat_interval must be a positive number of seconds; got 0"),
        ({"settle_seconds": float("nan")}, ValueError, "settle_seconds must be a positive number"),
        ({"drain_timeout": True}, TypeError, "drain_timeout must be a positive number"),
        ({"settle_seconds": None}, TypeError, "settle_seconds must be a positive number of seconds; got None"),
        ({"max_download_size": 0}, ValueError, "^max_download_size must be .* number of bytes; got 0$"),
        ({"max_message_size": -1}, ValueError, "^max_message_size must be .* number of bytes; got -1$"),
        ({"max_message_size": "x"}, TypeError, "^max_message_size must be .* number of bytes; got a str$"),
        ({"max_message_size": True}, TypeError, "^max_message_size must be .* number of bytes; got a bool$"),
        ({"max_connections": 0}, ValueError, "^max_connections must be a positive whole number; got 0$"),
        ({"max_connections": None}, TypeError, "^max_connections must be a positive whole number; got None$"),
        ({"max_connections": True}, TypeError, "^max_connections must be a positive whole number; got a bool$"),
        ({"allowed_hosts": "a"}, TypeError, r"^allowed_hosts .* such as \['runtime.internal'\]; got a str$"),
        ({"port": 70000}, ValueError, "^port must be a whole number from 0 to 65535; got 70000$"),
        ({"port": -1}, ValueError, "^port must be"),
        ({"port": "80"}, TypeError, "^port must be a whole number from 0 to 65535; got a str$"),
        ({"host": None}, TypeError, "^host must be a str"),
        ({"token": ""}, ValueError, "token"),
        ({"host": "0.0.0.0"}, ValueError, "give it a token"),
        ({"host": ""}, ValueError, "give it a token"),
        ({"host": "::"}, ValueError, "give it a token"),
        ({"host": "192.168.1.5"}, ValueError, "give it a token"),
        ({"host": "my-machine"}, ValueError, "give it a token"),
        ({"allowed_origins": "https://example.com"}, TypeError, r"such as \['https://app.example.com'\]; got a str$"),
        ({"allowed_origins": [5]}, TypeError, "allowed_origins must be a list of strings.*; it holds a int"),
        ({"allowed_origins": None}, TypeError, "allowed_origins must be a list of strings.*; got None"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_once(options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        LocalRuntime(**{"handler": echo, **options})


@pytest.mark.parametrize("token", ["  ", "tö", "a\r\nX: y", 5])
def test_a_token_is_what_a_header_can_carry(token: Any) -> None:
    with pytest.raises(ValueError, match="visible ASCII"):
        LocalRuntime(echo, token=token)


def test_every_interface_is_fine_with_a_token(start_runtime: StartRuntime) -> None:
    runtime = start_runtime(host="0.0.0.0", token="t0ken")
    with peer_of(runtime, additional_headers={"Authorization": "Bearer t0ken"}) as peer:
        assert runtime.url.startswith("ws://127.0.0.1:")
        assert peer.is_served()


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_the_other_loopback(start_runtime: StartRuntime) -> None:
    try:
        runtime = start_runtime(host="::1")
    except OSError:
        pytest.skip("no IPv6 loopback")
    assert runtime.url.startswith("ws://[::1]:")
    with peer_of(runtime) as peer:
        assert peer.is_served()


def test_a_port_that_is_taken_is_an_error_that_leaves_nothing(start_runtime: StartRuntime) -> None:
    port = int(start_runtime().url.rpartition(":")[2])
    with pytest.raises(OSError, match="in use"):
        LocalRuntime(echo, port=port).start()


def test_the_repr_tells_no_secret() -> None:
    runtime = LocalRuntime(echo, token="s3cret")
    assert repr(runtime) == "<LocalRuntime not running>"
    assert "s3cret" not in repr(vars(runtime))
    with runtime:
        assert repr(runtime) == f"<LocalRuntime {runtime.url}>"


def test_before_and_after_there_is_no_url() -> None:
    runtime = LocalRuntime(echo)
    with pytest.raises(RuntimeError, match="not running"):
        runtime.url  # noqa: B018
    with runtime:
        with pytest.raises(RuntimeError, match="started once"):
            runtime.start()
    with pytest.raises(RuntimeError, match="not running"):
        runtime.url  # noqa: B018
    with pytest.raises(RuntimeError, match="started once"):
        runtime.start()


# --- who gets in -------------------------------------------------------------------------------------


def status_of(runtime: LocalRuntime, headers: Any) -> int:
    try:
        with connect(runtime.url, additional_headers=headers, proxy=None):
            return 101
    except InvalidStatus as refused:
        return refused.response.status_code


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([("Authorization", "Bearer t0ken")], 101),
        ([("Authorization", "bearer t0ken")], 101),
        ([], 401),
        ([("Authorization", "Bearer wrong")], 401),
        ([("Authorization", "Bearer t0ke")], 401),
        ([("Authorization", "Basic t0ken")], 401),
        ([("Authorization", "t0ken")], 401),
        ([("Authorization", "Bearer")], 401),
        ([("Authorization", "Bearer t0ken"), ("Authorization", "Bearer wrong")], 401),
        ([("Authorization", "Bearer tök")], 401),
    ],
)
def test_the_token(start_runtime: StartRuntime, headers: Any, status: int) -> None:
    runtime = start_runtime(token="t0ken")
    assert status_of(runtime, headers) == status
    assert status_of(runtime, [("Authorization", "Bearer t0ken")]) == 101


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([("Origin", "https://ok.example")], 101),
        ([("Origin", "https://evil.example")], 403),
        ([("Origin", "null")], 403),
        ([("Origin", "https://ok.example.evil.example")], 403),
        ([("Origin", "https://ok.example"), ("Origin", "https://evil.example")], 403),
        ([], 101),
    ],
)
def test_the_origin(start_runtime: StartRuntime, headers: Any, status: int) -> None:
    assert status_of(start_runtime(allowed_origins=["https://ok.example"]), headers) == status


def test_without_being_told_no_web_page_gets_in(start_runtime: StartRuntime) -> None:
    assert status_of(start_runtime(), [("Origin", "http://127.0.0.1")]) == 403


@pytest.mark.parametrize(
    ("hosts", "status"),
    [
        (["localhost"], 101),
        (["LOCALHOST:8080"], 101),
        (["agent.localhost:1"], 101),
        (["127.0.0.1:1"], 101),
        (["127.8.8.8"], 101),
        (["[::1]:1"], 101),
        (["runtime.internal"], 101),
        (["Runtime.Internal:80"], 101),
        (["evil.example"], 403),
        (["evil.example:80"], 403),
        (["localhost.evil.example"], 403),
        (["192.168.1.5"], 403),
        (["0.0.0.0"], 403),
        ([""], 403),
        ([], 403),
        (["localhost", "evil.example"], 403),
    ],
)
def test_without_a_token_the_name_it_is_called_by_counts(
    start_runtime: StartRuntime, hosts: list[str], status: int
) -> None:
    """A web page whose name was made to lead here says that name."""
    assert status_for_hosts(start_runtime(allowed_hosts=["Runtime.internal"]), hosts) == status


def test_with_a_token_any_name_will_do(start_runtime: StartRuntime) -> None:
    assert status_for_hosts(start_runtime(token="t0ken"), ["evil.example"], "Authorization: Bearer t0ken\r\n") == 101


def status_for_hosts(runtime: LocalRuntime, hosts: list[str], more: str = "") -> int:
    lines = "".join(f"Host: {host}\r\n" for host in hosts)
    with socket.create_connection(("127.0.0.1", int(runtime.url.rpartition(":")[2]))) as client:
        client.sendall(
            f"GET / HTTP/1.1\r\n{lines}{more}Upgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )
        return int(client.recv(1000).split()[1])


def test_a_client_whose_machine_is_gone_is_noticed(
    start_runtime: StartRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As far as the system is asked to: by SO_KEEPALIVE."""
    accepted: list[socket.socket] = []
    accept = socket.socket.accept

    def remember(listener: socket.socket) -> Any:
        client, address = accept(listener)
        accepted.append(client)
        return client, address

    monkeypatch.setattr(socket.socket, "accept", remember)
    with peer_of(start_runtime()) as peer:
        assert peer.is_served()
        (client,) = accepted
        assert client.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        if sys.platform == "linux":
            options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
            assert [client.getsockopt(socket.IPPROTO_TCP, option) for option in options] == [60, 15, 4]


@pytest.mark.parametrize(
    "rubbish", [b"", b"GET / HTTP/1.1\r\n", b"\x16\x03\x01\x00", b"GET / HTTP/1.1\r\n\r\n", b"A" * 100_000]
)
def test_what_is_no_handshake_does_no_harm(
    start_runtime: StartRuntime, rubbish: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    runtime = start_runtime()
    port = int(runtime.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(rubbish)
        with peer_of(runtime) as peer:
            assert peer.is_served()
    assert capfd.readouterr().err == ""


def test_a_reset_at_any_moment_does_no_harm(start_runtime: StartRuntime, tmp_path: Path) -> None:
    runtime = start_runtime()
    for what in ("nothing", "request", "end"):
        with peer_of(runtime) as peer:
            if what != "nothing":
                peer.start("sleep 0.05; echo x", artifacts_dirs=[str(tmp_path)])
            if what == "end":
                peer.say("end_session_message")
            raw = peer.connection.socket
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            raw.shutdown(socket.SHUT_RDWR)
    with peer_of(runtime) as peer:
        assert peer.is_served()


# --- many --------------------------------------------------------------------------------------------


def test_a_hundred_clients_at_once(start_runtime: StartRuntime) -> None:
    """All of them are in their handlers at the same time."""
    barrier = threading.Barrier(100)

    def handler(invocation: Any, sender: Any) -> str:
        barrier.wait(PATIENCE)
        sender.assistant("met")
        return str(invocation.user_prompt)

    runtime = start_runtime(handler)
    answers: list[str] = []

    def call(n: int) -> None:
        with peer_of(runtime) as peer:
            answers.append(peer.invoke(str(n))[-1]["data"]["text"])

    threads = [threading.Thread(target=call, args=(n,)) for n in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(answers, key=int) == [str(n) for n in range(100)]


# --- the end -----------------------------------------------------------------------------------------


def test_closing_ends_everything(start_runtime: StartRuntime, tmp_path: Path) -> None:
    runtime = start_runtime()
    with peer_of(runtime) as busy, peer_of(runtime) as idle, peer_of(runtime) as other:
        other.execute(f"sleep 1000 > /dev/null 2>&1 & echo $! > {tmp_path}/background")
        busy.start(f"echo $$ > {tmp_path}/pid; exec sleep 1000")
        children = [wait_for(tmp_path / "pid"), wait_for(tmp_path / "background")]
        runtime.close()
        runtime.close()
        assert not any(map(lives, children))
        assert (busy.hear_close(), idle.hear_close(), other.hear_close()) == (1001, 1001, 1001)


def test_a_background_process_lives_as_long_as_the_runtime(start_runtime: StartRuntime, tmp_path: Path) -> None:
    runtime = start_runtime()
    with peer_of(runtime) as peer:
        peer.execute(f"sleep 1000 & echo $! > {tmp_path}/pid")
    with peer_of(runtime) as peer:
        peer.start("sleep 1000")
        peer.say("cancel_message")
        peer.hear_until("error_message")
        assert lives(wait_for(tmp_path / "pid"))
    runtime.close()
    assert not lives(wait_for(tmp_path / "pid"))


def test_a_client_that_reads_nothing_holds_nothing_up(start_runtime: StartRuntime, tmp_path: Path) -> None:
    """It asked for more output than any buffer takes, and sits there."""
    runtime = start_runtime()
    port = int(runtime.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(
            b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        client.recv(1000)
        command = f"echo $$ > {tmp_path}/pid; exec yes"
        payload = f'{{"message_type":"command_execution_message","commands":[{{"command":"{command}"}}]}}'.encode()
        client.sendall(b"\x81\xfe" + len(payload).to_bytes(2, "big") + b"\0\0\0\0" + payload)
        child = wait_for(tmp_path / "pid")
        with peer_of(runtime) as peer:
            assert peer.is_served()
        began = time.monotonic()
        runtime.close()
        assert time.monotonic() - began < PATIENCE
        assert not lives(child)


def test_serving_in_the_calling_thread_until_closed() -> None:
    runtime = LocalRuntime(echo)
    thread = threading.Thread(target=runtime.serve_forever)
    thread.start()
    deadline = time.monotonic() + PATIENCE
    while "ws://" not in repr(runtime):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    with peer_of(runtime) as peer:
        assert peer.is_served()
    runtime.close()
    thread.join(PATIENCE)
    assert not thread.is_alive()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c_ends_it_cleanly(tmp_path: Path) -> None:
    # It says its URL where it begins to wait for Ctrl-C: one that came earlier would end it less cleanly.
    code = (
        "from runtimeuse_sync.local import LocalRuntime\n"
        "from runtimeuse_sync.local._server.latch import Latch\n"
        "def wait(latch):\n"
        "    Latch.wait = real_wait\n"
        "    print(runtime.url, flush=True)\n"
        "    latch.wait()\n"
        "real_wait, Latch.wait = Latch.wait, wait\n"
        "with LocalRuntime(lambda invocation, sender: '') as runtime:\n"
        "    runtime.serve_forever()\n"
        "print('over')\n"
    )
    with subprocess.Popen(
        [sys.executable, "-X", "dev", "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            with connect(process.stdout.readline().strip(), proxy=None) as client:
                command = f"echo $$ > {tmp_path}/pid; exec sleep 1000"
                client.send(f'{{"message_type":"command_execution_message","commands":[{{"command":"{command}"}}]}}')
                child = wait_for(tmp_path / "pid")
                process.send_signal(signal.SIGINT)
                output = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert output == ("over\n", "")
    assert process.returncode == 0
    assert not lives(child)


def test_ctrl_c_closes_a_runtime_that_serve_forever_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(latch: Latch) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(Latch, "wait", interrupt)
    runtime = LocalRuntime(echo)
    runtime.serve_forever()
    assert repr(runtime) == "<LocalRuntime not running>"


def test_an_extra_that_is_missing_is_named_with_the_command_that_installs_it() -> None:
    code = "import sys; sys.modules['watchfiles'] = None; import runtimeuse_sync.local"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ}, check=False)
    assert 'ImportError: runtimeuse_sync.local needs watchfiles: pip install "runtimeuse-sync[local]"' in done.stderr
