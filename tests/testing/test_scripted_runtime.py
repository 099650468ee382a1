"""The scripted runtime, tried with an independent client; the pytest plugin; the raw server."""

from __future__ import annotations

import base64
import contextlib
import json
import select
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, Callable, Optional

import attrs
import pytest
import trustme
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from runtimeuse_sync import Client, QueryOptions
from runtimeuse_sync._protocol import codec as _codec
from runtimeuse_sync.exceptions import ProtocolError
from runtimeuse_sync.messages import (
    ArtifactUploadResponseMessageInterface,
    AssistantMessageInterface,
    CancelMessage,
    CommandExecutionMessage,
    CommandInterface,
    CommandResultItem,
    EndSessionMessage,
    InvocationMessage,
)
from runtimeuse_sync.testing import (
    Disconnected,
    Peer,
    Reply,
    Script,
    ScriptedRuntime,
    _generations,
    _loop,
    _peer,
    _server,
    generation,
)

from .. import raw_server
from ..raw_server import RawPeer, RawServer, frame
from ..support import text_result

INVOCATION = InvocationMessage(system_prompt="Be brief.", user_prompt="hello", agent_env={"KEY": "s3cret"})
SERVERS_THREADS = ("ScriptedRuntime", "ScriptedRuntime script 1")
HELLO = AssistantMessageInterface(text_blocks=["hello"])


def command(line: str, **fields: Any) -> CommandInterface:
    return CommandInterface(command=line, **fields)


@contextlib.contextmanager
def dial(url: str, **options: Any) -> Iterator[ClientConnection]:
    with connect(url, compression=None, ping_interval=None, open_timeout=10, close_timeout=10, **options) as client:
        yield client


def tell(client: ClientConnection, *messages: Any) -> None:
    for message in messages:
        client.send(_codec.encode(message).decode())


def hear(client: ClientConnection) -> Any:
    return json.loads(client.recv(5))


def hear_types(client: ClientConnection) -> list[str]:
    """The types of all messages until the end."""
    return [fields["message_type"] for fields in hear_all(client)]


def hear_all(client: ClientConnection) -> Iterator[Any]:
    with contextlib.suppress(ConnectionClosed):
        while True:
            yield hear(client)


def end_of(client: ClientConnection) -> ConnectionClosed:
    with pytest.raises(ConnectionClosed) as caught:
        client.recv(5)
    return caught.value


@contextlib.contextmanager
def conversation(script: Any, **options: Any) -> Iterator[tuple[ClientConnection, ScriptedRuntime]]:
    with ScriptedRuntime(script, **options) as runtime, dial(runtime.url) as client:
        yield client, runtime


def failure(script: Any, act: Callable[[ClientConnection], object] = end_of) -> AssertionError:
    """What fails the test when the client does ``act``."""

    def run() -> None:
        with conversation(script) as (client, _):
            act(client)

    with pytest.raises(AssertionError) as caught:
        run()
    return caught.value


def upgrade(runtime: ScriptedRuntime, tls: Optional[ssl.SSLContext] = None) -> socket.socket:
    """A bare socket, connected and upgraded: for a client that breaks the rules."""
    sock = socket.create_connection(("127.0.0.1", port_of(runtime.url)), timeout=5)
    sock = tls.wrap_socket(sock, server_hostname="127.0.0.1") if tls else sock
    key = base64.b64encode(b"0123456789abcdef").decode()
    sock.sendall(
        f"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += sock.recv(1)
    assert b" 101 " in head
    return sock


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


# --- what a script says ------------------------------------------------------------------------------


def test_messages_and_dicts_are_sent_in_order() -> None:
    with conversation(lambda peer: peer.send(HELLO, {"message_type": "new", "x": None})) as (client, _):
        assert hear(client) == {"message_type": "assistant_message", "text_blocks": ["hello"]}
        assert hear(client) == {"message_type": "new", "x": None}


def test_text_bytes_and_raw_data_are_sent_as_they_are() -> None:
    def script(peer: Peer) -> None:
        peer.send_text("not JSON")
        peer.send_bytes(b"\0\xff")
        peer.send_raw(frame(b"one") + frame(b"two"))

    with conversation(script) as (client, _):
        assert [client.recv(5) for _ in range(4)] == ["not JSON", b"\0\xff", "one", "two"]


def test_many_messages_at_once() -> None:
    with conversation(lambda peer: peer.send(*({"n": n, "text": "x" * 1000} for n in range(5000)))) as (client, _):
        assert [hear(client)["n"] for _ in range(5000)] == list(range(5000))


def test_send_waits_for_a_slow_reader() -> None:
    sent = threading.Event()

    def script(peer: Peer) -> None:
        peer.send_text("x" * 50_000_000)
        sent.set()

    with ScriptedRuntime(script) as runtime, upgrade(runtime) as sock:
        assert not sent.wait(0.2)
        while not sent.is_set():
            sock.recv(1 << 20)


def test_a_client_that_does_not_read_fails_the_script(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_peer, "_STALL_PATIENCE", 0.1)
    monkeypatch.setattr(_peer, "_CLOSE_PATIENCE", 0.1)

    def run() -> None:
        with ScriptedRuntime(lambda peer: peer.send_text("x" * 50_000_000)) as runtime, upgrade(runtime):
            runtime._server._scripts[0].join(5)

    with pytest.raises(AssertionError, match=r"did not read for 0\.1 s"):
        run()


# --- what a script hears -----------------------------------------------------------------------------


def test_receive_gives_the_message_in_new_names() -> None:
    got = []
    with conversation(lambda peer: got.append(peer.receive())) as (client, _):
        old = {"message_type": "invocation_message", "system_prompt": "", "user_prompt": "x", "preferred_model": "m"}
        client.send(json.dumps(old))
        end_of(client)
    assert got == [InvocationMessage(system_prompt="", user_prompt="x", model="m")]


def test_receive_gives_a_message_of_an_unknown_type() -> None:
    got = []
    with conversation(lambda peer: got.append(peer.receive())) as (client, _):
        client.send('{"message_type": "pause_message"}')
        end_of(client)
    assert got == [_codec.UnknownMessage("pause_message")]


def test_fragments_are_joined() -> None:
    with conversation(lambda peer: peer.expect(CancelMessage)) as (client, _):
        client.send(['{"message_type"', ': "cancel', '_message"}'])
        end_of(client)


def test_expect_returns_the_message() -> None:
    got = []
    with conversation(lambda peer: got.append(peer.expect(InvocationMessage, user_prompt="hello"))) as (client, _):
        tell(client, INVOCATION)
        end_of(client)
    assert got == [INVOCATION]


@pytest.mark.parametrize(
    ("sent", "expected", "complaint"),
    [
        (CancelMessage(), {"message_class": InvocationMessage}, "expected InvocationMessage, received CancelMessage()"),
        (INVOCATION, {"message_class": InvocationMessage, "user_prompt": "hallo"}, "user_prompt:\n  - 'hallo'\n"),
        (INVOCATION, {"message_class": InvocationMessage, "agent_env": {}}, "agent_env:\n  differs; not shown"),
        (None, {"message_class": CancelMessage, "timeout": 0.01}, "expected CancelMessage within 0.01 s, but nothing"),
    ],
)
def test_a_failed_expectation_says_how_it_failed(sent: Any, expected: Any, complaint: str) -> None:
    def act(client: ClientConnection) -> None:
        tell(client, *filter(None, [sent]))
        assert end_of(client).rcvd.code == 1011  # type: ignore[union-attr]

    said = str(failure(lambda peer: peer.expect(**expected), act))
    assert complaint in said
    assert "s3cret" not in said


def test_a_difference_shows_the_fields_that_differ_alone() -> None:
    script = lambda peer: peer.expect(InvocationMessage, system_prompt="Be brief.", user_prompt="hallo")  # noqa: E731
    said = str(failure(script, lambda client: tell(client, INVOCATION)))
    assert "+ 'hello'" in said
    assert "system_prompt" not in said


HIDDEN = "differs; not shown, as it may hold secrets"


@pytest.mark.parametrize(
    ("commands", "difference"),
    [
        ([command("x", env={"A": "1"})], f"  [0].env {HIDDEN}"),
        ([command("x")], f"  [0].env {HIDDEN}"),
        ([command("y", env={"A": "s3cret"})], "  - [CommandInterface(command='y', cwd=None)]\n"),
        ([command("y", env={})], f"                            ^\n  [0].env {HIDDEN}"),
        (None, "  - None\n  + [CommandInterface(command='x', cwd=None)]"),
        ([command("x", env={"A": "s3cret"})] * 2, "CommandInterface(command='x', cwd=None)]"),
    ],
)
def test_a_difference_in_hidden_fields_names_them(commands: Any, difference: str) -> None:
    sent = attrs.evolve(INVOCATION, pre_agent_invocation_commands=[command("x", env={"A": "s3cret"})])
    script = lambda peer: peer.expect(InvocationMessage, pre_agent_invocation_commands=commands)  # noqa: E731
    said = str(failure(script, lambda client: tell(client, sent)))
    assert difference in said
    assert "s3cret" not in said
    assert ("[0].env" in said) == ("[0].env" in difference)


def test_expect_fails_when_the_client_leaves() -> None:
    said = str(failure(lambda peer: peer.expect(CancelMessage), ClientConnection.close))
    assert said == "expected CancelMessage, but the client closed the WebSocket with code 1000"


def test_expect_fails_on_what_is_no_message() -> None:
    said = str(failure(lambda peer: peer.expect(CancelMessage), lambda client: client.send("{")))
    assert said.startswith("expected CancelMessage, but what came is no message: not JSON")


def test_expect_refuses_a_field_that_the_message_has_not() -> None:
    def script(peer: Peer) -> None:
        with pytest.raises(TypeError, match=r"InvocationMessage has no field 'prompt', but .*'user_prompt'"):
            peer.expect(InvocationMessage, prompt="x")

    with conversation(script) as (client, _):
        assert end_of(client).rcvd.code == 1005  # type: ignore[union-attr]


def test_receive_fails_when_nothing_comes() -> None:
    assert str(failure(lambda peer: peer.receive(0.01))) == "expected a message within 0.01 s, but nothing came"


@pytest.mark.parametrize("wait", [Peer.receive, lambda peer: peer.receive(None), Peer.ping])
def test_a_client_that_leaves_ends_the_script_quietly(wait: Callable[[Peer], object]) -> None:
    ended: list[BaseException] = []

    def script(peer: Peer) -> None:
        for _ in range(2):
            with pytest.raises(Disconnected) as caught:
                wait(peer)
            ended.append(caught.value)
        raise caught.value

    with ScriptedRuntime(script) as runtime, upgrade(runtime):
        pass
    assert len(ended) == 2


def test_what_the_client_sent_before_it_left_is_still_heard() -> None:
    def script(peer: Peer) -> None:
        peer.silence()
        peer.expect(CancelMessage)
        peer.expect(EndSessionMessage)

    with conversation(script) as (client, runtime):
        tell(client, CancelMessage(), EndSessionMessage())
    assert len(runtime.received) == 2


@pytest.mark.parametrize("data", ["{", "[]", '{"message_type": "invocation_message"}'])
def test_what_is_no_message_fails_the_test_even_if_unheard(data: str) -> None:
    def run() -> None:
        with conversation(Peer.silence) as (client, _):
            client.send(data)

    with pytest.raises(ProtocolError):
        run()


def test_a_client_that_breaks_the_protocol_fails_the_test() -> None:
    def run() -> None:
        with ScriptedRuntime(Peer.silence) as runtime, upgrade(runtime) as sock:
            sock.sendall(frame(b"{}", mask=False))
            assert sock.recv(65536)[2:4] == b"\x03\xea"
            sock.sendall(frame(b"{}", mask=False))

    with pytest.raises(ProtocolError, match=r"broke the WebSocket protocol: .*mask") as caught:
        run()
    assert not getattr(caught.value, "__notes__", None), "once is enough"


# --- waiting, and pings ------------------------------------------------------------------------------


def test_pause_lasts_as_long_as_it_says() -> None:
    began = time.monotonic()
    with conversation(lambda peer: peer.pause(0.1)) as (client, _):
        end_of(client)
    assert time.monotonic() - began >= 0.1


@pytest.mark.parametrize("wait", [lambda peer: peer.pause(30), Peer.silence, lambda p: p.silence(answer_pings=False)])
@pytest.mark.parametrize("leave", ["close", "drop", "exit"])
def test_waiting_ends_when_the_client_leaves_or_the_test_ends(wait: Script, leave: str) -> None:
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        runtime = stack.enter_context(ScriptedRuntime(wait))
        sock = upgrade(runtime)
        if leave == "close":
            sock.sendall(frame(b"", opcode=8, mask=True))
        if leave != "exit":
            sock.close()
    sock.close()
    assert time.monotonic() - began < 20  # by itself it would end after 30


def test_silence_does_not_last_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_peer, "_STALL_PATIENCE", 0.05)
    assert str(failure(Peer.silence)) == "the client was still there after 0.05 s"


def test_pings_are_answered_while_the_script_is_silent() -> None:
    with conversation(Peer.silence) as (client, _):
        assert client.ping().wait(5)


def test_a_dead_host_answers_no_ping() -> None:
    def pinged(sock: socket.socket) -> bytes:
        sock.sendall(frame(b"", opcode=9, mask=True))
        return sock.recv(65536)

    def act(sock: socket.socket) -> None:
        while pinged(sock):  # The first ones may find the host alive.
            pass

    with ScriptedRuntime(lambda peer: peer.silence(answer_pings=False)) as runtime, upgrade(runtime) as sock:
        sock.settimeout(0.2)
        with pytest.raises(socket.timeout):
            act(sock)


def test_ping_waits_for_the_pong() -> None:
    with conversation(lambda peer: peer.ping()) as (client, _):
        assert end_of(client).rcvd.code == 1005  # type: ignore[union-attr]


def test_a_missing_pong_fails_the_script() -> None:
    def run() -> None:
        with ScriptedRuntime(lambda peer: peer.ping(0.05)) as runtime, upgrade(runtime) as sock:
            with sock.makefile("rb") as stream:  # the two may come in one go
                assert stream.read(10)[:2] == b"\x89\x08"
                assert stream.read(2)[:1] == b"\x88"
            sock.sendall(frame(b"", opcode=8, mask=True))

    with pytest.raises(AssertionError, match=r"expected a pong within 0\.05 s"):
        run()


# --- how it ends -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "code", "reason"),
    [
        (lambda peer: None, 1005, ""),
        (Peer.close_empty, 1005, ""),
        (Peer.close, 1000, ""),
        (lambda peer: peer.close(4001, "tired"), 4001, "tired"),
    ],
)
def test_close_sends_the_code(script: Script, code: int, reason: str) -> None:
    with conversation(script) as (client, _):
        received = end_of(client).rcvd
    assert received is not None
    assert (received.code, received.reason) == (code, reason)


@pytest.mark.parametrize("script", [Peer.drop, Peer.cut, Peer.reset])
def test_an_end_without_a_close_frame(script: Script) -> None:
    with conversation(script) as (client, _):
        assert end_of(client).rcvd is None


def test_reset_is_a_reset_and_drop_is_none() -> None:
    with ScriptedRuntime([Peer.reset, Peer.drop]) as runtime:
        with upgrade(runtime) as sock, pytest.raises(ConnectionResetError):
            sock.recv(1)
        with upgrade(runtime) as sock:
            assert sock.recv(1) == b""


def test_cut_promises_more_than_it_sends() -> None:
    with ScriptedRuntime(Peer.cut) as runtime, upgrade(runtime) as sock, sock.makefile("rb") as stream:
        data = stream.read()
    assert int.from_bytes(data[2:4], "big") > len(data) - 4 > 0


@pytest.mark.parametrize("end", [Peer.drop, Peer.reset, Peer.close, Peer.cut])
def test_a_script_may_end_what_the_client_has_ended(end: Script) -> None:
    def script(peer: Peer) -> None:
        peer.silence()
        end(peer)

    with conversation(script) as (client, _):
        client.close()


@pytest.mark.parametrize("end", [Peer.close, Peer.close_empty, Peer.drop, Peer.reset, Peer.cut])
def test_after_its_end_a_script_can_say_nothing(end: Script) -> None:
    outcomes = []

    def script(peer: Peer) -> None:
        end(peer)
        for again in (peer.close, peer.ping, lambda: peer.send(HELLO), lambda: peer.send_raw(b"x")):
            with pytest.raises(Disconnected):
                again()
            outcomes.append("refused")

    with conversation(script) as (client, _):
        end_of(client)
    assert outcomes == ["refused"] * 4


def test_close_waits_for_the_clients_half() -> None:
    closed = threading.Event()

    def script(peer: Peer) -> None:
        peer.close()
        closed.set()

    with ScriptedRuntime(script) as runtime, upgrade(runtime) as sock:
        assert sock.recv(4) == b"\x88\x02\x03\xe8"
        assert not closed.wait(0.1)
        sock.sendall(frame(b"\x03\xe8", opcode=8, mask=True))
        assert sock.recv(1) == b""
        sock.close()
        assert closed.wait(5)


def test_a_client_that_ignores_the_close_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_peer, "_CLOSE_PATIENCE", 0.05)
    with ScriptedRuntime(Peer.close) as runtime, upgrade(runtime) as sock:
        assert sock.recv(65536) == b"\x88\x02\x03\xe8"
        assert sock.recv(1) == b""


# --- what the test sees ------------------------------------------------------------------------------


def test_path_and_headers() -> None:
    with ScriptedRuntime(Peer.silence) as runtime:
        with dial(runtime.url + "/agent?token=x", additional_headers={"Authorization": "Bearer y"}):
            (peer,) = runtime.wait_for_connections(1)
        assert peer.path == "/agent?token=x"
        assert peer.request_headers["authorization"] == "Bearer y"


def test_what_comes_is_seen_while_the_script_is_busy() -> None:
    seen = threading.Event()
    with conversation(lambda peer: seen.wait(5)) as (client, runtime):
        tell(client, CancelMessage())
        before = time.monotonic()
        assert runtime.wait_for(CancelMessage) == CancelMessage()
        assert runtime.received_at(CancelMessage) <= time.monotonic()
        assert runtime.received_at(CancelMessage) > before - 5
        seen.set()


def test_what_comes_is_logged_in_order_over_all_connections() -> None:
    with ScriptedRuntime(Peer.silence) as runtime:
        with dial(runtime.url) as one, dial(runtime.url) as two:
            tell(one, CancelMessage())
            runtime.wait_for(CancelMessage)
            tell(two, EndSessionMessage())
            runtime.wait_for(EndSessionMessage)
            tell(one, CancelMessage())
            runtime.wait_for(CancelMessage, count=2)
        assert [type(message) for message in runtime.received] == [CancelMessage, EndSessionMessage, CancelMessage]
        assert len(runtime.connections) == 2


def test_wait_for_with_count_gives_that_one() -> None:
    with conversation(Peer.silence) as (client, runtime):
        for prompt in ("one", "two", "three"):
            tell(client, InvocationMessage(system_prompt="", user_prompt=prompt))
        assert runtime.wait_for(InvocationMessage, count=2).user_prompt == "two"


def test_waiting_in_vain_says_for_what() -> None:
    with ScriptedRuntime(Peer.silence) as runtime:
        with pytest.raises(AssertionError, match=r"waited 0.01 s for 2 CancelMessage in vain"):
            runtime.wait_for(CancelMessage, 0.01, count=2)
        with pytest.raises(AssertionError, match=r"waited 0.01 s for 1 connections in vain"):
            runtime.wait_for_connections(1, 0.01)
        with pytest.raises(LookupError, match="no CancelMessage came"):
            runtime.received_at(CancelMessage)


def test_waiting_ends_when_the_script_fails() -> None:
    began = time.monotonic()

    def run() -> None:
        with (
            conversation(failing) as (_, runtime),
            pytest.raises(AssertionError, match=r"script failed: .the script"),
        ):
            runtime.wait_for(CancelMessage, 30)

    with pytest.raises(KeyError):
        run()
    assert time.monotonic() - began < 10


def test_a_client_that_sends_without_end_does_not_keep_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_loop, "_SETTLE_PATIENCE", 0.05)

    def flood(sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock.sendall(frame(b"x", opcode=9, mask=True) * 1000)
                sock.recv(1 << 20)

    with contextlib.ExitStack() as stack:
        with ScriptedRuntime(Peer.silence) as runtime:
            sock = stack.enter_context(upgrade(runtime))
            thread = threading.Thread(target=flood, args=(sock,))
            thread.start()
            assert sock.recv(1)  # it is under way; the thread hears the rest
        thread.join(5)
        assert not thread.is_alive()


def test_what_came_can_be_asked_for_after_the_end() -> None:
    with conversation(Peer.silence) as (client, runtime):
        tell(client, CancelMessage())
    assert runtime.received == [CancelMessage()]
    assert runtime.wait_for(CancelMessage) == CancelMessage()


def test_what_is_under_way_when_the_test_ends_still_counts() -> None:
    held = threading.Event()

    def send_at_the_end() -> None:
        held.set()
        while not runtime._server._loop._calls:
            time.sleep(0.001)
        sock.sendall(frame(_codec.encode(CancelMessage()), mask=True))
        (link,) = runtime._server._links
        select.select([link._sock], [], [], 5)  # a busy system may take its time even on the way to itself

    with contextlib.ExitStack() as stack:
        with ScriptedRuntime(Peer.silence) as runtime:
            sock = stack.enter_context(upgrade(runtime))
            # While the loop is kept busy, the end of the block is put in line: what comes then comes after it.
            busy = threading.Thread(target=runtime._server._loop.call, args=(send_at_the_end,))
            busy.start()
            assert held.wait(5)
        busy.join(5)
        assert runtime.received == [CancelMessage()]


# --- scripts, one a connection -----------------------------------------------------------------------


def test_scripts_are_used_in_order_and_the_last_repeats() -> None:
    scripts = [lambda peer, n=n: peer.send({"n": n}) for n in range(2)]
    with ScriptedRuntime(scripts) as runtime:
        for n in (0, 1, 1):
            with dial(runtime.url) as client:
                assert hear(client) == {"n": n}


def test_a_status_refuses_the_handshake() -> None:
    with ScriptedRuntime([503, 401, Peer.silence]) as runtime:
        for status in (503, 401):
            with pytest.raises(InvalidStatus) as caught, dial(runtime.url):
                pass
            assert caught.value.response.status_code == status
        with dial(runtime.url):
            assert len(runtime.wait_for_connections(3)) == 3


def test_refuse_refuses_every_handshake() -> None:
    with ScriptedRuntime(refuse=403) as runtime:
        for _ in range(2):
            with pytest.raises(InvalidStatus, match="403"), dial(runtime.url):
                pass


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({}, "a script or refuse=STATUS"),
        ({"script": Peer.silence, "refuse": 503}, "one of the two"),
        ({"script": []}, "at least one script"),
    ],
)
def test_bad_arguments_are_refused(arguments: Any, complaint: str) -> None:
    with pytest.raises((TypeError, ValueError), match=complaint):
        ScriptedRuntime(**arguments)


def test_url_outside_of_the_block_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="with ScriptedRuntime"):
        _ = ScriptedRuntime(Peer.silence).url


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_the_other_loopback() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 loopback")
    with conversation(lambda peer: peer.send(HELLO), host="::1") as (client, runtime):
        assert runtime.url.startswith("ws://[::1]:")
        assert hear(client) == {"message_type": "assistant_message", "text_blocks": ["hello"]}


def test_many_connections_at_once() -> None:
    with ScriptedRuntime(lambda peer: peer.send(HELLO)) as runtime, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(dial(runtime.url)) for _ in range(30)]
        assert [hear(client)["text_blocks"] for client in clients] == [["hello"]] * 30


# --- failures of scripts -----------------------------------------------------------------------------


def failing(peer: Peer) -> None:
    raise KeyError("the script's")


def fail_here(script: Script, act: Callable[[ClientConnection], object] = end_of) -> None:
    with conversation(script) as (client, _):
        act(client)


def test_what_a_script_raises_is_raised_at_the_end() -> None:
    with pytest.raises(KeyError, match="the script's") as caught:
        fail_here(failing)
    assert caught.traceback[-1].name == "failing"


def test_pytests_own_failures_count() -> None:
    with pytest.raises(pytest.fail.Exception, match="not so"):
        fail_here(lambda peer: pytest.fail("not so"))


def test_the_error_of_the_block_stays_and_shows_the_scripts() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        fail_here(failing, lambda client: 1 / (end_of(client) is None))
    if sys.version_info >= (3, 11):
        assert 'KeyError: "the script\'s"' in "".join(caught.value.__notes__)
    else:
        assert isinstance(caught.value.__context__, KeyError)


def test_the_first_failure_is_raised_and_shows_the_others() -> None:
    def second(peer: Peer) -> None:
        raise IndexError("the second")

    def run() -> None:
        with ScriptedRuntime([failing, second]) as runtime:
            for _ in range(2):
                with dial(runtime.url) as client:
                    end_of(client)

    with pytest.raises(KeyError) as caught:
        run()
    if sys.version_info >= (3, 11):
        assert "IndexError: the second" in "".join(caught.value.__notes__)
    else:
        assert isinstance(caught.value.__context__, IndexError)


def test_a_script_that_does_not_end_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_server, "JOIN_PATIENCE", 0.05)
    released = threading.Event()
    try:
        said = str(failure(lambda peer: released.wait(30), ClientConnection.close))
    finally:
        released.set()
    assert said == "a script still ran 0.05 s after the end of the test"


def test_its_threads_are_told_from_the_clients_by_name() -> None:
    def script(peer: Peer) -> None:
        peer.expect(InvocationMessage)
        named.extend(thread.name for thread in threading.enumerate())
        peer.send(text_result("done"))

    before = {thread.name for thread in threading.enumerate()}
    named: list[str] = []
    with ScriptedRuntime(script) as runtime:
        Client(runtime.url).query("x", QueryOptions(system_prompt=""))
    new = sorted(set(named) - before)
    assert [name for name in new if name.startswith("ScriptedRuntime")] == new[:2] == list(SERVERS_THREADS)
    assert len(new) == 3


# --- nothing is left behind (the guard in conftest.py looks) -------------------------------------------


def test_a_client_that_is_still_there_at_the_end_is_closed() -> None:
    with contextlib.ExitStack() as stack:
        with ScriptedRuntime(Peer.silence) as runtime:
            client = stack.enter_context(dial(runtime.url))
        assert end_of(client).rcvd is None


@pytest.mark.parametrize("data", [b"", b"GET / HT", b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"])
@pytest.mark.parametrize("tls", [False, True])
def test_clients_that_never_upgrade(data: bytes, tls: bool, server_tls: ssl.SSLContext) -> None:
    with ScriptedRuntime(Peer.silence, ssl_context=server_tls if tls else None) as runtime:
        address = ("127.0.0.1", port_of(runtime.url))
        with socket.create_connection(address, timeout=5) as gone, socket.create_connection(address) as stays:
            gone.sendall(data)
            gone.close()
            stays.sendall(data)
        assert runtime.received == []


# --- TLS (with bare sockets: websockets' client reads and writes at once, which TLS does not bear) ----------


AUTHORITY = trustme.CA()


@pytest.fixture
def server_tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    return context


@pytest.fixture
def client_tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


def test_tls_both_ways_at_once(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    rounds, text = 200, "x" * 100_000
    message = InvocationMessage(system_prompt="", user_prompt=text)

    def script(peer: Peer) -> None:
        for _ in range(rounds):
            peer.send_text(text)
        for _ in range(rounds):
            peer.expect(InvocationMessage, user_prompt=text)

    sent, expected = frame(_codec.encode(message), mask=True), frame(text.encode())
    with ScriptedRuntime(script, ssl_context=server_tls) as runtime, upgrade(runtime, client_tls) as sock:
        assert runtime.url.startswith("wss://127.0.0.1:")
        with sock.makefile("rb") as stream:
            for _ in range(rounds):
                sock.sendall(sent)
                assert stream.read(len(expected)) == expected
            assert stream.read(2) == b"\x88\x00"
    assert len(runtime.received) == rounds


@pytest.mark.parametrize(
    ("script", "received"),
    [(Peer.drop, b""), (Peer.cut, b"\x81\x7e\x10\x00"), (Peer.close_empty, b"\x88\x00"), (Peer.reset, b"")],
)
def test_tls_ends(script: Script, received: bytes, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    with ScriptedRuntime(script, ssl_context=server_tls, host="localhost") as runtime:
        # Python 3.10 to 3.12 report a reset as an end of the stream.
        with upgrade(runtime, client_tls) as sock, contextlib.suppress(ConnectionResetError):
            assert sock.recv(4) == received


def test_a_client_that_distrusts_the_certificate(server_tls: ssl.SSLContext) -> None:
    with ScriptedRuntime(Peer.silence, ssl_context=server_tls) as runtime:
        with pytest.raises(ssl.SSLError):
            upgrade(runtime, ssl.create_default_context())
        assert runtime.connections == []


# --- generations -------------------------------------------------------------------------------------

OLD, NEW = ["0.4", "0.9"], ["0.12", "0.15"]
ALL = [*OLD, *NEW]
COMMANDS = CommandExecutionMessage(commands=[CommandInterface(command="make"), CommandInterface(command="true")])
EVERYTHING = Reply(messages=[HELLO], artifacts=["/out/a"], late_artifacts=["/out/b"])


def serve_uploads(client: ClientConnection) -> list[str]:
    """Answer the upload requests; what was heard until the end, with the names of the files."""
    heard = []
    for fields in hear_all(client):
        heard.append(fields.get("filename") or fields["message_type"])
        if "filename" in fields:
            fields.update(message_type="artifact_upload_response_message", presigned_url="x", content_type="y")
            client.send(json.dumps(fields))
        if fields["message_type"] == "result_message":
            tell(client, EndSessionMessage())
    return heard


@pytest.mark.parametrize(
    ("release", "end"), [("0.4", []), ("0.9", []), ("0.12", []), ("0.15", ["end_session_confirm_message"])]
)
def test_a_request_with_everything(release: str, end: list[str]) -> None:
    with conversation(generation(release, EVERYTHING)) as (client, runtime):
        tell(client, INVOCATION)
        assert serve_uploads(client) == ["assistant_message", "a", "result_message", "b", *end]
    answers = [message for message in runtime.received if isinstance(message, ArtifactUploadResponseMessageInterface)]
    assert [answer.filepath for answer in answers] == ["/out/a", "/out/b"]


@pytest.mark.parametrize("release", ALL)
def test_the_shape_of_a_structured_result(release: str) -> None:
    with conversation(generation(release, Reply(result={"n": 1}, metadata={"cost": 2}))) as (client, _):
        tell(client, INVOCATION)
        fields = hear(client)
    data = {"data": {"type": "structured_output", "structured_output": {"n": 1}}}
    shape = {"structured_output": {"n": 1}} if release == "0.4" else data
    assert fields == {"message_type": "result_message", "metadata": {"cost": 2}, **shape}


def test_the_shape_of_a_result_in_text() -> None:
    with conversation(generation("0.5", Reply(result="done"))) as (client, _):
        tell(client, INVOCATION)
        assert hear(client) == {"message_type": "result_message", "data": {"type": "text", "text": "done"}}


@pytest.mark.parametrize("release", OLD)
@pytest.mark.parametrize(("reply", "said"), [(Reply(), "result_message"), (Reply(error="no"), "error_message")])
def test_old_ones_close_after_a_request(release: str, reply: Reply, said: str) -> None:
    with conversation(generation(release, reply)) as (client, _):
        tell(client, INVOCATION)
        assert hear(client)["message_type"] == said
        assert end_of(client).rcvd.code == 1005  # type: ignore[union-attr]


@pytest.mark.parametrize("release", OLD)
def test_old_ones_refuse_a_second_request(release: str) -> None:
    with conversation(generation(release, linger=30)) as (client, _):
        tell(client, INVOCATION)
        assert hear(client)["message_type"] == "result_message"
        tell(client, INVOCATION)
        assert hear(client)["message_type"] == "error_message"


@pytest.mark.parametrize("release", NEW)
def test_new_ones_take_one_request_after_the_other(release: str) -> None:
    replies = [Reply(error="no"), Reply(result="one"), Reply(result="two")]
    with conversation(generation(release, *replies)) as (client, _):
        said = []
        for _ in range(4):
            tell(client, INVOCATION)
            fields = hear(client)
            said.append(fields.get("error") or fields["data"]["text"])
        assert said == ["no", "one", "two", "two"]


def test_replies_go_on_over_connections() -> None:
    with ScriptedRuntime(generation("0.4", Reply(result={"n": 1}), Reply(result={"n": 2}))) as runtime:
        for n in (1, 2):
            with dial(runtime.url) as client:
                tell(client, INVOCATION)
                assert hear(client)["structured_output"] == {"n": n}


@pytest.mark.parametrize("release", ALL)
def test_a_second_request_in_flight_is_refused(release: str) -> None:
    with conversation(generation(release, Reply(hangs=True))) as (client, _):
        tell(client, INVOCATION, INVOCATION)
        assert hear(client)["message_type"] == "error_message"


@pytest.mark.parametrize("release", OLD)
def test_old_ones_close_when_cancelled(release: str) -> None:
    with conversation(generation(release, Reply(messages=[HELLO], hangs=True))) as (client, _):
        tell(client, INVOCATION, CancelMessage())
        assert hear_types(client) in (["assistant_message"], [])


@pytest.mark.parametrize("release", NEW)
def test_new_ones_say_that_they_were_cancelled_and_stay(release: str) -> None:
    with conversation(generation(release, Reply(hangs=True), Reply(result="next"))) as (client, _):
        tell(client, CancelMessage(), INVOCATION, CancelMessage())
        assert hear(client) == {"message_type": "error_message", "error": "Request cancelled"}
        tell(client, INVOCATION)
        assert hear(client)["data"]["text"] == "next"


@pytest.mark.parametrize("release", NEW)
def test_new_ones_drain_after_the_request_in_flight(release: str) -> None:
    with conversation(generation(release, Reply(hangs=True, late_artifacts=["/out/b"]))) as (client, _):
        tell(client, INVOCATION, EndSessionMessage(), CancelMessage())
        assert hear(client)["error"] == "Request cancelled"
        assert hear_types(client)[-1:] == (["end_session_confirm_message"] if release == "0.15" else [])


@pytest.mark.parametrize("release", NEW)
def test_a_drain_waits_for_the_answers(release: str) -> None:
    answer = ArtifactUploadResponseMessageInterface(
        filename="b", filepath="/out/b", presigned_url="x", content_type="y"
    )
    with conversation(generation(release, Reply(late_artifacts=["/out/b"]))) as (client, _):
        tell(client, INVOCATION, EndSessionMessage())
        assert [hear(client)["message_type"] for _ in range(2)] == ["result_message", "artifact_upload_request_message"]
        with pytest.raises(TimeoutError):
            client.recv(0.1)
        tell(client, answer)
        assert hear_types(client) == (["end_session_confirm_message"] if release == "0.15" else [])


@pytest.mark.parametrize("release", NEW)
def test_a_drain_goes_on_without_answers(release: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_generations, "_ANSWER_PATIENCE", 0.05)
    with conversation(generation(release, EVERYTHING)) as (client, _):
        tell(client, INVOCATION, EndSessionMessage())
        types = hear_types(client)
    assert types.count("artifact_upload_request_message") == 2


@pytest.mark.parametrize("release", ALL)
def test_a_post_agent_error(release: str) -> None:
    with conversation(generation(release, Reply(post_agent_error="post"))) as (client, _):
        tell(client, INVOCATION, *[EndSessionMessage()] * (release in NEW))  # old ones close by themselves
        types = hear_types(client)
    before = ["result_message"] if release in OLD else []
    after = ["end_session_confirm_message"] if release == "0.15" else []
    assert types == [*before, "error_message", *after]


@pytest.mark.parametrize("nonsense", ["{", '{"message_type": "new"}', '{"message_type": "invocation_message"}'])
@pytest.mark.parametrize("release", ALL)
def test_nonsense(release: str, nonsense: str) -> None:
    with conversation(generation(release)) as (client, _):
        client.send(nonsense)
        tell(client, INVOCATION)
        before = ["error_message"] if release in OLD else []
        assert [hear(client)["message_type"] for _ in [*before, 1]] == [*before, "result_message"]


@pytest.mark.parametrize("release", OLD)
def test_old_ones_ignore_the_end_of_a_session_and_nonsense_after_a_request(release: str) -> None:
    with conversation(generation(release, linger=1)) as (client, _):
        tell(client, INVOCATION, EndSessionMessage())
        client.send("{")
        assert hear_types(client) == ["result_message"]


@pytest.mark.parametrize(
    ("release", "results"),
    [
        ("0.8", None),
        ("0.10", [{"command": "make", "exit_code": 2}]),
        ("0.12", [{"command": "make", "exit_code": 2, "stdout": "oh"}]),
    ],
)
def test_a_command_that_fails(release: str, results: Any) -> None:
    ended = [
        CommandResultItem(command="make", exit_code=2, stdout="oh"),
        CommandResultItem(command="true", exit_code=0),
    ]
    with conversation(generation(release, Reply(command_results=ended))) as (client, _):
        tell(client, COMMANDS)
        fields = hear(client)
    assert fields.get("results") == results
    assert fields.get("error") == (None if results else "command failed with exit code: 2")


def test_commands_succeed_by_default() -> None:
    with conversation(generation("0.15")) as (client, _):
        tell(client, COMMANDS)
        assert hear(client) == {
            "message_type": "command_execution_result_message",
            "results": [{"command": "make", "exit_code": 0}, {"command": "true", "exit_code": 0}],
        }


def test_the_oldest_knows_no_commands_and_stays() -> None:
    with conversation(generation("0.4")) as (client, _):
        tell(client, COMMANDS)
        assert hear(client)["message_type"] == "error_message"
        tell(client, INVOCATION)
        assert hear(client)["message_type"] == "result_message"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["0.3"], r"no such release: '0.3', but 0.4, 0.5.*0.15$"),
        (["1.0"], "no such release"),
        (["0.4", Reply(result="text")], "no results in text"),
    ],
)
def test_generations_that_never_were(arguments: Any, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        generation(*arguments)


# --- the extra, and the plugin -----------------------------------------------------------------------


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=False)
    return done.stdout + done.stderr


def test_without_websockets_the_extra_is_named() -> None:
    said = run_python("import sys; sys.modules['websockets'] = None; import runtimeuse_sync.testing")
    assert "ImportError: runtimeuse_sync.testing needs websockets: pip install" in said
    assert 'pip install "runtimeuse-sync[local]"' in said


def test_the_plugin_imports_nothing_that_is_not_asked_for() -> None:
    said = run_python(
        "import sys, _runtimeuse_sync_pytest;"
        "print([name for name in ('websockets', 'runtimeuse_sync') if name in sys.modules])"
    )
    assert said == "[]\n"


PLUGIN = ("-p", "no:runtimeuse_sync", "-p", "_runtimeuse_sync_pytest", "-p", "no:cacheprovider")


def test_the_fixture_starts_runtimes_and_stops_them(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        from websockets.sync.client import connect

        def test_two(scripted_runtime):
            for runtime in (scripted_runtime(lambda peer: peer.send({"n": 1})), scripted_runtime(refuse=503)):
                assert runtime.url
            assert runtime.received == []
        """
    )
    pytester.runpytest(*PLUGIN).assert_outcomes(passed=1)


def test_the_fixture_fails_the_test_for_its_scripts(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        from runtimeuse_sync.messages import CancelMessage
        from websockets.sync.client import connect

        def test_one(scripted_runtime):
            with connect(scripted_runtime(lambda peer: peer.expect(CancelMessage)).url):
                pass
        """
    )
    result = pytester.runpytest(*PLUGIN)
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*AssertionError: expected CancelMessage, but the client closed*"])


def test_the_fixture_of_the_local_runtime(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_one(local_runtime):
            one = local_runtime(lambda invocation, sender: "done")
            two = local_runtime(lambda invocation, sender: "done")
            assert one.url != two.url
        """
    )
    pytester.runpytest(*PLUGIN).assert_outcomes(passed=1)


# --- the raw server ----------------------------------------------------------------------------------


def test_the_raw_server_speaks_websocket() -> None:
    frames = []

    def play(conn: RawPeer) -> None:
        assert conn.read_request().startswith(b"GET /x HTTP/1.1\r\n")
        conn.accept([("X-Test", "1")])
        conn.send(frame(b"hel", fin=False) + frame(b"lo", opcode=0))
        conn.trickle(frame(b"slow"), 0.001)
        frames.extend(conn.read_frame() for _ in range(4))
        conn.send(frame(b"", opcode=8))
        frames.append(conn.read_frame())

    with RawServer(play) as server, dial(server.url + "/x") as client:
        assert client.response is not None
        assert client.response.headers["X-Test"] == "1"
        assert [client.recv(5), client.recv(5)] == ["hello", "slow"]
        for size in (1, 126, 65536):
            client.send(b"x" * size)
        client.ping(b"p")
        end_of(client)
    assert frames == [*((2, b"x" * size) for size in (1, 126, 65536)), (9, b"p"), (8, b"")]


@pytest.mark.parametrize(
    ("options", "head"),
    [
        ({}, b"\x81\x02"),
        ({"mask": True}, b"\x81\x82\x01\x02\x03\x04"),
        ({"rsv": 4, "opcode": 3, "fin": False}, b"\x43\x02"),
        ({"length": 1 << 40}, b"\x81\x7f" + (1 << 40).to_bytes(8, "big")),
        ({"length": 1000}, b"\x81\x7e\x03\xe8"),
    ],
)
def test_frames_legal_and_not(options: Any, head: bytes) -> None:
    built = frame(b"\x01\x02", **options)
    assert built == head + (b"\0\0" if options.get("mask") else b"\x01\x02")


def test_the_raw_server_answers_a_close() -> None:
    def play(conn: RawPeer) -> None:
        conn.accept()
        conn.see_off()

    with RawServer(play) as server, dial(server.url) as client:
        client.send("never mind")
        client.close(4000, "bye")
        assert client.close_code == 4000


def test_the_raw_server_raises_what_a_play_raises() -> None:
    def play(conn: RawPeer) -> None:
        conn.accept()
        assert conn.read_frame() == (1, b"expected")

    def run() -> None:
        with RawServer(play) as server, dial(server.url) as client:
            client.send("sent")
            end_of(client)

    with pytest.raises(AssertionError, match="sent"):
        run()


@pytest.mark.parametrize("end", [RawPeer.reset, RawPeer.close])
def test_the_raw_server_ends(end: Callable[[RawPeer], None]) -> None:
    def play(conn: RawPeer) -> None:
        conn.accept()
        end(conn)

    with RawServer(play) as server, dial(server.url) as client:
        assert end_of(client).rcvd is None


def test_the_raw_server_sees_a_frame_without_a_mask() -> None:
    def run() -> None:
        with RawServer(RawPeer.read_frame) as server, socket.create_connection(("127.0.0.1", server.port)) as sock:
            sock.sendall(frame(b"x"))
            assert sock.recv(1) == b""

    with pytest.raises(AssertionError, match="did not mask"):
        run()


def test_the_raw_server_waits_until_the_client_has_closed() -> None:
    closed = threading.Event()

    def play(conn: RawPeer) -> None:
        conn.wait_closed()
        closed.set()

    with RawServer(play) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as sock:
            sock.sendall(b"x")
            assert not closed.wait(0.05)
        assert closed.wait(5)


def test_the_raw_server_outlasts_clients_that_leave_and_that_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw_server, "GRACE", 0.05)
    begun = threading.Barrier(3)
    with contextlib.ExitStack() as stack, RawServer(lambda conn: (begun.wait(5), conn.read_request())) as server:
        stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
        socket.create_connection(("127.0.0.1", server.port)).close()
        begun.wait(5)
