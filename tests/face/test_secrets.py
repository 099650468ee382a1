"""No secret in a log record, a ``repr``, an exception or its pickle, or a warning, whatever happens to a call.

Every place that takes a secret gets one of its own, so that a failure says which one came out.
"""

from __future__ import annotations

import base64
import contextlib
import copy
import json
import logging
import pickle
import ssl
import subprocess
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable, NoReturn, Optional, Union

import attrs
import pytest
import trustme
import websocket

from runtimeuse_sync import (
    ArtifactUploadResponseMessageInterface,
    ArtifactUploadResult,
    AssistantMessageInterface,
    Client,
    CommandExecutionMessage,
    CommandInterface,
    CommandOutputMessageInterface,
    ConnectionFailedError,
    ErrorMessageInterface,
    ExecuteCommandsOptions,
    InvocationMessage,
    QueryOptions,
    ResultMessageInterface,
    RuntimeEnvironmentDownloadableInterface,
    RuntimeUseError,
    Session,
)
from runtimeuse_sync.testing import Peer, Reply, ScriptedRuntime, generation
from runtimeuse_sync.transports import WebSocketTransport

from .. import marked
from ..raw_server import RawPeer, RawServer, frame
from ..support import ALL, SESSIONS, port_without_listener, text_result

Start = Callable[..., ScriptedRuntime]

PLACES = [
    "header",
    "cookie",
    "user",
    "password",
    "path",
    "query",
    "agent_env",
    "command_env",
    "to_redact",
    "presigned_url",
    "download_url",
    "proxy_user",
    "proxy_password",
    "server_cookie",
    "server_header",
    "server_body",
    "location",
]
SECRET = {place: f"zq9{place.replace('_', '')}zq9" for place in PLACES}
# What must stay out of the logs, though it is no secret to whoever has the object in hand.
PAYLOAD = {name: f"zq8{name}zq8" for name in ("prompt", "answer", "output", "error", "command")}


def basic(user: str, password: str) -> str:
    return base64.b64encode(f"{SECRET[user]}:{SECRET[password]}".encode()).decode()


ENCODED = {"userinfo": basic("user", "password"), "proxy userinfo": basic("proxy_user", "proxy_password")}


def leaks(text: str, forbidden: dict[str, str]) -> list[str]:
    return [name for name, value in forbidden.items() if value in text]


# --- watching ---------------------------------------------------------------------------------------


class Watch(logging.Handler):
    """Everything that is logged anywhere in the process, rendered with all that a handler could show."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        shown = logging.Formatter("%(name)s %(message)s").format(record)
        self.lines.append(f"{shown} {record.args!r} {record.__dict__!r}")


@pytest.fixture(autouse=True)
def logs() -> Iterator[Watch]:
    """All loggers on DEBUG, websocket-client's trace included; at the end, no secret and no payload in any record."""
    watch = Watch()
    root = logging.getLogger()
    level = root.level
    root.addHandler(watch)
    root.setLevel(logging.DEBUG)
    websocket.enableTrace(True, handler=watch)
    try:
        yield watch
    finally:
        websocket.enableTrace(False)
        logging.getLogger("websocket").removeHandler(watch)
        root.removeHandler(watch)
        root.setLevel(level)
    for line in watch.lines:
        assert not leaks(line, {**SECRET, **ENCODED, **PAYLOAD}), line


def chain(error: Optional[BaseException]) -> Iterator[BaseException]:
    """An exception and what is shown with it; ``raise … from None`` hides what was being handled."""
    while error is not None:
        yield error
        yield from chain(error.__cause__)
        error = None if error.__suppress_context__ else error.__context__


def showings(error: BaseException) -> Iterator[str]:
    """All the ways in which an exception ends up in a log, a report or a queue."""
    for link in chain(error):
        yield from (str(link), repr(link), repr(link.args), repr(vars(link)))
        with contextlib.suppress(TypeError):  # a cause that does not pickle: it does not travel
            yield pickle.dumps(link, 0).decode("latin-1")
    yield "".join(traceback.format_exception(type(error), error, error.__traceback__))
    yield repr(copy.copy(error))


def check(error: BaseException) -> BaseException:
    for text in showings(error):
        assert not leaks(text, {**SECRET, **ENCODED}), text
    return error


def run(call: Callable[[], Any]) -> Any:
    """What ``call`` returns or raises, looked through."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            outcome = call()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is looked through
            outcome = check(error)
        else:
            assert not leaks(repr(outcome), {**SECRET, **ENCODED})
    assert not leaks(" ".join(str(warning.message) for warning in caught), {**SECRET, **ENCODED})
    return outcome


# --- a call that has a secret in every place -----------------------------------------------------------


def address(url: str) -> str:
    user = f"{SECRET['user']}:{SECRET['password']}"
    return url.replace("://", f"://{user}@") + f"/{SECRET['path']}?token={SECRET['query']}"


def headers() -> dict[str, str]:
    return {"X-Token": SECRET["header"], "Cookie": f"id={SECRET['cookie']}"}


def client_of(url: str, **options: Any) -> Client:
    return Client(address(url), headers=headers, **options)


def command() -> CommandInterface:
    return CommandInterface(command=PAYLOAD["command"], env={"TOKEN": SECRET["command_env"]})


def invocation() -> InvocationMessage:
    return InvocationMessage(
        system_prompt=PAYLOAD["prompt"],
        user_prompt=PAYLOAD["prompt"],
        agent_env={"KEY": SECRET["agent_env"]},
        secrets_to_redact=[SECRET["to_redact"]],
        pre_agent_downloadables=[downloadable()],
        pre_agent_invocation_commands=[command()],
        post_agent_invocation_commands=[command()],
        artifacts_dirs=["/out"],
    )


def downloadable() -> RuntimeEnvironmentDownloadableInterface:
    return RuntimeEnvironmentDownloadableInterface(
        download_url=f"https://bucket.example.com/x?sig={SECRET['download_url']}", working_dir="/src"
    )


def presigned(request: object) -> tuple[str, str]:
    return f"https://bucket.example.com/y?sig={SECRET['presigned_url']}", "text/plain"


def invoke(calls: Union[Client, Session], **options: Any) -> Any:
    return run(lambda: calls.invoke(invocation(), on_artifact_upload_request=presigned, **options))


# --- calls that reach a runtime ------------------------------------------------------------------------

TALK = [
    AssistantMessageInterface(text_blocks=[PAYLOAD["answer"]]),
    CommandOutputMessageInterface(stream="stdout", text=PAYLOAD["output"], command=PAYLOAD["command"]),
    {"message_type": "message_of_tomorrow", "text": PAYLOAD["answer"]},
]
REPLIES = {
    "result": Reply(messages=TALK, artifacts=["/out/1"], late_artifacts=["/out/2"]),
    "error": Reply(messages=TALK, error=PAYLOAD["error"]),
    "error after the result": Reply(post_agent_error=PAYLOAD["error"]),
    "hangs": Reply(messages=TALK, hangs=True),
}


@pytest.mark.parametrize("reply", REPLIES)
@pytest.mark.parametrize("release", ALL)
def test_a_whole_call(scripted_runtime: Start, logs: Watch, release: str, reply: str) -> None:
    runtime = scripted_runtime(generation(release, REPLIES[reply]))
    outcome = invoke(client_of(runtime.url), timeout=1.5 if reply == "hangs" else 30)
    assert isinstance(outcome, ResultMessageInterface if reply == "result" else RuntimeUseError)
    peer = runtime.connections[0]
    sent = peer.path + repr(peer.request_headers) + repr([attrs.asdict(message) for message in runtime.received])
    for place in ("header", "cookie", "path", "query", "agent_env", "command_env", "to_redact", "download_url"):
        assert SECRET[place] in sent  # or else this test would find nothing
    assert any(line.startswith("runtimeuse_sync") for line in logs.lines)


@pytest.mark.parametrize("release", SESSIONS)
def test_a_session(scripted_runtime: Start, release: str) -> None:
    runtime = scripted_runtime(generation(release, REPLIES["result"], REPLIES["error"], REPLIES["hangs"]))
    client = client_of(runtime.url)

    def whole() -> None:
        with client.session() as session:
            for limit in (30, 30, 1):
                invoke(session, timeout=limit)
                assert not leaks(repr(session), SECRET)
            with session.stream(invocation(), on_artifact_upload_request=presigned) as stream:
                assert not leaks(repr(stream), SECRET)
                run(lambda: session.query("", QueryOptions(system_prompt="")))  # not its turn

    run(whole)
    run(lambda: client.session().query("", QueryOptions(system_prompt="")))


def test_commands(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(generation("0.15", Reply(messages=TALK)))
    options = ExecuteCommandsOptions(
        secrets_to_redact=[SECRET["to_redact"]], pre_execution_downloadables=[downloadable()]
    )
    run(lambda: client_of(runtime.url).execute_commands([command()], options, check=True))


SAID = SECRET["agent_env"].encode()  # a runtime that repeats what it was told
ENDS: dict[str, Callable[[RawPeer], None]] = {
    "not JSON": lambda conn: conn.send(frame(b"{" + SAID)),
    "wrong type": lambda conn: conn.send(frame(b'{"message_type": "' + SAID)),
    "wrong field": lambda conn: conn.send(frame(b'{"message_type":"assistant_message","text_blocks":"%s"}' % SAID)),
    "wrong result": lambda conn: conn.send(frame(b'{"message_type":"result_message","data":{"type":"%s"}}' % SAID)),
    "wrong 0.4 result": lambda conn: conn.send(
        frame(b'{"message_type":"result_message","structured_output":"%s"}' % SAID)
    ),
    "not UTF-8": lambda conn: conn.send(frame(b'{"message_type":"\xff' + SAID + b'"}')),
    "binary": lambda conn: conn.send(frame(SAID, opcode=2)),
    "reserved bits": lambda conn: conn.send(frame(SAID, rsv=1)),
    "too large": lambda conn: conn.send(frame(SAID * 1000)),
    "half a frame": lambda conn: (conn.send(frame(SAID)[:-5]), conn.close())[0],
    "reset": lambda conn: conn.reset(),
    "silence": lambda conn: conn.wait_closed(),
}


@pytest.mark.parametrize("end", ENDS)
def test_a_runtime_that_breaks_off(end: str) -> None:
    def play(conn: RawPeer) -> None:
        conn.accept()
        conn.read_frame()
        ENDS[end](conn)
        conn.wait_closed()

    with RawServer(play) as server:
        outcome = invoke(client_of(server.url, max_message_size=1000), timeout=0.3 if end == "silence" else 30)
    assert isinstance(outcome, RuntimeUseError)


def test_a_broken_drain(scripted_runtime: Start) -> None:
    def script(peer: Peer) -> None:
        peer.expect(InvocationMessage)
        peer.send(text_result(PAYLOAD["answer"]))
        peer.cut()

    assert isinstance(invoke(client_of(scripted_runtime(script).url), timeout=30), ResultMessageInterface)


class OwnError(Exception):
    pass


def fail(*args: object) -> NoReturn:
    raise OwnError


@pytest.mark.parametrize("callback", ["on_assistant_message", "on_command_output", "on_error_message", "is_cancelled"])
def test_a_callback_that_raises(scripted_runtime: Start, callback: str) -> None:
    talk = [*TALK, ErrorMessageInterface(error=PAYLOAD["error"])]
    runtime = scripted_runtime(generation("0.15", Reply(messages=talk, hangs=True)))
    assert isinstance(invoke(client_of(runtime.url), **{callback: fail}), OwnError)


WRONG_ANSWERS = {
    "str": presigned(None)[0],
    "bytes": (presigned(None)[0].encode(), "text/plain"),
    "three": (*presigned(None), SECRET["presigned_url"]),
    "swapped": (None, presigned(None)[0]),
    "dict": {"presigned_url": presigned(None)[0]},
}


@pytest.mark.parametrize("kind", WRONG_ANSWERS)
def test_a_wrong_answer_to_an_artifact_request(scripted_runtime: Start, kind: str) -> None:
    runtime = scripted_runtime(generation("0.15", REPLIES["result"]))
    client = client_of(runtime.url)
    answer: Any = WRONG_ANSWERS[kind]
    outcome = run(lambda: client.invoke(invocation(), on_artifact_upload_request=lambda request: answer))
    assert isinstance(outcome, TypeError)


# --- calls that reach nobody ---------------------------------------------------------------------------


def refusal(status: str) -> Callable[[RawPeer], None]:
    def play(conn: RawPeer) -> None:
        conn.read_request()
        answer = [
            f"HTTP/1.1 {status}",
            f"Location: http://127.0.0.1:1/?token={SECRET['location']}",
            f"Set-Cookie: id={SECRET['server_cookie']}",
            f"WWW-Authenticate: Bearer error={SECRET['server_header']}",
            "",
            SECRET["server_body"],
        ]
        conn.send("\r\n".join(answer).encode())
        conn.wait_closed()

    return play


@pytest.mark.parametrize("status", ["200 OK", "302 Found", "401 Unauthorized", "403 Forbidden", "503 Unavailable", "x"])
def test_a_refused_handshake(status: str) -> None:
    with RawServer(refusal(status)) as server:
        assert isinstance(invoke(client_of(server.url)), ConnectionFailedError)


def bad_upgrades() -> dict[str, Callable[[RawPeer], None]]:
    cookie = ("Set-Cookie", SECRET["server_cookie"])
    return {
        "wrong key": lambda conn: conn.accept([cookie], key_override="d3Jvbmc="),
        "extension": lambda conn: conn.accept([cookie, ("Sec-WebSocket-Extensions", SECRET["server_header"])]),
        "sub-protocol": lambda conn: conn.accept([cookie, ("Sec-WebSocket-Protocol", SECRET["server_header"])]),
        "no HTTP": lambda conn: (conn.read_request(), conn.send(SECRET["server_body"].encode() + b"\r\n\r\n"))[1],
        "endless": lambda conn: (conn.read_request(), conn.send(SECRET["server_header"].encode() * 9000))[1],
        "hangs up": lambda conn: (conn.read_request(), conn.close())[1],
    }


@pytest.mark.parametrize("how", bad_upgrades())
def test_a_bad_upgrade(how: str) -> None:
    with RawServer(lambda conn: (bad_upgrades()[how](conn), conn.wait_closed())) as server:
        assert isinstance(invoke(client_of(server.url)), ConnectionFailedError)


def test_nobody_listens() -> None:
    with port_without_listener() as port:
        client = client_of(f"ws://127.0.0.1:{port}")
        assert isinstance(invoke(client), ConnectionFailedError)
        assert isinstance(run(lambda: client.wait_until_ready(timeout=0.2)), ConnectionFailedError)


def test_an_unknown_host() -> None:
    assert isinstance(invoke(client_of("ws://nowhere.invalid", proxy=None)), ConnectionFailedError)


def test_a_server_that_says_nothing() -> None:
    with RawServer(lambda conn: conn.wait_closed()) as server:
        assert isinstance(invoke(client_of(server.url, connect_timeout=0.2)), ConnectionFailedError)


def test_a_certificate_that_is_refused(scripted_runtime: Start) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("other.example.com").configure_cert(context)
    runtime = scripted_runtime(generation("0.15"), ssl_context=context)
    assert isinstance(invoke(client_of(runtime.url)), ConnectionFailedError)


# --- through a proxy -----------------------------------------------------------------------------------


def proxy_url(server: RawServer) -> str:
    return f"http://{SECRET['proxy_user']}:{SECRET['proxy_password']}@127.0.0.1:{server.port}"


def tunnel(conn: RawPeer) -> None:
    assert ENCODED["proxy userinfo"].encode() in conn.read_request()
    conn.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
    conn.request = b""
    conn.accept()
    conn.read_frame()
    conn.send(frame(b'{"message_type":"error_message","error":"no"}'))
    conn.wait_closed()


@pytest.mark.parametrize("play", [tunnel, refusal("407 Proxy Authentication Required"), refusal("x")])
@pytest.mark.parametrize("source", ["argument", "environment"])
def test_a_proxy(play: Callable[[RawPeer], None], source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with RawServer(play) as server:
        if source == "environment":
            monkeypatch.setenv("http_proxy", proxy_url(server))
            monkeypatch.delenv("no_proxy", raising=False)
            client = client_of("ws://sandbox.example.com")
        else:
            client = client_of("ws://sandbox.example.com", proxy=proxy_url(server))
        assert not leaks(repr(client), {**SECRET, **ENCODED})
        assert isinstance(invoke(client), RuntimeUseError)


# --- what is refused before anything is sent -----------------------------------------------------------

WRONG: dict[str, Callable[[], Any]] = {
    "secrets_to_redact is a str": lambda: InvocationMessage(
        system_prompt="", user_prompt="", secrets_to_redact=SECRET["to_redact"]
    ),
    "secrets_to_redact has bytes": lambda: InvocationMessage(
        system_prompt="", user_prompt="", secrets_to_redact=[SECRET["to_redact"].encode()]
    ),
    "agent_env has bytes": lambda: InvocationMessage(
        system_prompt="", user_prompt="", agent_env={"KEY": SECRET["agent_env"].encode()}
    ),
    "agent_env is a list": lambda: InvocationMessage(
        system_prompt="", user_prompt="", agent_env=[("KEY", SECRET["agent_env"])]
    ),
    "env is a str": lambda: CommandInterface(command="x", env=f"KEY={SECRET['command_env']}"),
    "env has bytes": lambda: CommandInterface(command="x", env={"KEY": SECRET["command_env"].encode()}),
    "env is set later": lambda: setattr(command(), "env", {"KEY": [SECRET["command_env"]]}),
    "commands of another kind": lambda: CommandExecutionMessage(commands=[{"env": SECRET["command_env"]}]),
    "options, secrets_to_redact": lambda: QueryOptions(
        system_prompt="", secrets_to_redact=SECRET["to_redact"]
    ).invocation(""),
    "options, agent_env": lambda: QueryOptions(system_prompt="", agent_env=SECRET["agent_env"]).invocation(""),
    "command options": lambda: ExecuteCommandsOptions(secrets_to_redact=SECRET["to_redact"]).message([command()]),
    "presigned_url of bytes": lambda: ArtifactUploadResult(
        presigned_url=SECRET["presigned_url"].encode(), content_type="text/plain"
    ),
    "download_url of bytes": lambda: RuntimeEnvironmentDownloadableInterface(
        download_url=SECRET["download_url"].encode(), working_dir=""
    ),
    "downloadables of another kind": lambda: InvocationMessage(
        system_prompt="", user_prompt="", pre_agent_downloadables=[{"download_url": SECRET["download_url"]}]
    ),
    "a port that is none": lambda: Client(f"http://{SECRET['user']}:{SECRET['password']}"),
    "an unreadable host": lambda: Client(f"ws://[{SECRET['user']}/"),
    "an unknown scheme": lambda: Client(f"{SECRET['user']}://host"),
    "no scheme": lambda: Client(f"host/?token={SECRET['query']}"),
    "a fragment": lambda: Client(f"ws://host/?token={SECRET['query']}#x"),
    "a space": lambda: Client(f"ws://host/?token={SECRET['query']} x"),
    "a URL of bytes": lambda: Client(f"ws://host/?token={SECRET['query']}".encode()),
    "a line break in a header": lambda: Client("ws://host", headers={"X": f"{SECRET['header']}\r\nY: 1"}),
    "a header of bytes": lambda: Client("ws://host", headers={"X": SECRET["header"].encode()}),
    "a header that is one str": lambda: Client("ws://host", headers=f"X: {SECRET['header']}"),
    "a list of headers": lambda: Client("ws://host", headers=[("X", SECRET["header"])]),
    "a proxy of another kind": lambda: Client("ws://host", proxy=f"socks5://u:{SECRET['proxy_password']}@p"),
    "an unreadable proxy": lambda: Client("ws://host", proxy=f"http://u:{SECRET['proxy_password']}@[p"),
    "a proxy without scheme": lambda: Client("ws://host", proxy=f"{SECRET['proxy_user']}@p:3128"),
    "artifacts without a directory": lambda: Client("ws://host").invoke(
        InvocationMessage(system_prompt="", user_prompt="", agent_env={"KEY": SECRET["agent_env"]}),
        on_artifact_upload_request=presigned,
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_argument_is_not_repeated(what: str) -> None:
    assert isinstance(run(WRONG[what]), (TypeError, ValueError))


SHOWN: dict[str, Callable[[], object]] = {
    "Client": lambda: client_of("ws://host", proxy=f"http://u:{SECRET['proxy_password']}@p"),
    "Session": lambda: client_of("ws://host").session(),
    "Run": lambda: client_of("ws://host").stream(invocation(), on_artifact_upload_request=presigned),
    "WebSocketTransport": lambda: WebSocketTransport(
        address("ws://host"), headers=headers(), proxy=f"http://u:{SECRET['proxy_password']}@p"
    ),
    "WebSocketConnection": lambda: WebSocketTransport(address("ws://host"), headers=headers()).connection(),
    "InvocationMessage": invocation,
    "CommandExecutionMessage": lambda: CommandExecutionMessage(
        commands=[command()], secrets_to_redact=[SECRET["to_redact"]], pre_execution_downloadables=[downloadable()]
    ),
    "QueryOptions": lambda: QueryOptions(
        system_prompt="",
        agent_env={"KEY": SECRET["agent_env"]},
        secrets_to_redact=[SECRET["to_redact"]],
        pre_agent_downloadables=[downloadable()],
        pre_agent_invocation_commands=[command()],
    ),
    "ExecuteCommandsOptions": lambda: ExecuteCommandsOptions(
        secrets_to_redact=[SECRET["to_redact"]], pre_execution_downloadables=[downloadable()]
    ),
    "ArtifactUploadResult": lambda: ArtifactUploadResult(
        presigned_url=SECRET["presigned_url"], content_type="text/plain"
    ),
    "ArtifactUploadResponseMessageInterface": lambda: ArtifactUploadResponseMessageInterface(
        filename="f", filepath="/f", presigned_url=SECRET["presigned_url"], content_type="text/plain"
    ),
}


@pytest.mark.parametrize("kind", SHOWN)
def test_what_objects_show_of_themselves(kind: str) -> None:
    thing = SHOWN[kind]()
    assert type(thing).__name__ == kind
    for text in (repr(thing), str(thing), f"{thing}", f"{[thing]}"):
        assert not leaks(text, {**SECRET, **ENCODED})


# --- nothing is sent on --------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_so_that_nothing_goes_along(scripted_runtime: Start, status: int) -> None:
    elsewhere = scripted_runtime(generation("0.15"))

    def play(conn: RawPeer) -> None:
        conn.read_request()
        conn.send(f"HTTP/1.1 {status} Elsewhere\r\nLocation: {elsewhere.url}\r\nContent-Length: 0\r\n\r\n".encode())
        conn.wait_closed()

    with RawServer(play) as server:
        error = invoke(client_of(server.url))
    assert (type(error), error.status) == (ConnectionFailedError, status)
    assert elsewhere.connections == []


@pytest.mark.parametrize("accepts", [True, False], ids=["upgraded", "refused"])
def test_a_cookie_of_one_sandbox_never_reaches_another(accepts: bool) -> None:
    requests: list[bytes] = []
    cookies = [
        ("Set-Cookie", f"a={SECRET['server_cookie']}"),
        ("Set-Cookie", f"b={SECRET['server_cookie']}; Domain=127.0.0.1; Path=/"),
        ("Set-Cookie", f"c={SECRET['server_cookie']}; Domain=localhost; Max-Age=3600"),
    ]

    def play(conn: RawPeer) -> None:
        requests.append(conn.read_request())
        if not accepts:
            lines = ["HTTP/1.1 401 No", *(f"{name}: {value}" for name, value in cookies), "", ""]
            conn.send("\r\n".join(lines).encode())
        else:
            conn.accept(cookies)
            conn.read_frame()
            conn.send(frame(b'{"message_type":"error_message","error":"no"}'))
        conn.wait_closed()

    with RawServer(play) as one, RawServer(play) as other:
        # Cookies know no ports: to a jar these are all the same host.
        for url in (one.url, other.url, one.url, other.url.replace("127.0.0.1", "localhost")):
            invoke(Client(url))
    assert len(requests) == 4
    assert not any(b"cookie" in request.lower() for request in requests)


# --- everything that other tests do --------------------------------------------------------------------

TRAFFIC = ["call", "connection", "face/test_session.py", "network"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_traffic_of_the_suite() -> None:
    """Whether its tests pass is not asked here: some look at the very header or query that is added."""
    files = [f"tests/{name}" for name in TRAFFIC]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.marked", "-m", "not slow", *files]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=580, check=False)
    (line,) = (line for line in done.stdout.splitlines() if line.startswith(marked.PREFIX))
    found = json.loads(line[len(marked.PREFIX) :])
    assert found["shown"] == []
    assert found["handshakes"] > 300
    assert found["log_records"] > 5000
    assert found["exceptions"] > 500


# --- the watch itself ----------------------------------------------------------------------------------


def test_the_watch_sees_what_others_would_show() -> None:
    """A guard that catches nothing would look just like a library that leaks nothing."""
    secret = SECRET["header"]
    inner = KeyError(secret)
    outer = RuntimeUseError("no")
    outer.__context__ = inner
    for leak in (ValueError(secret), outer):
        with pytest.raises(AssertionError):
            check(leak)
    watch = Watch()
    logger = logging.Logger("x")
    logger.addHandler(watch)
    logger.debug("%s", secret)
    logger.debug("x", extra={"token": secret})
    logger.debug("x", exc_info=(ValueError, ValueError(secret), None))
    assert [leaks(line, SECRET) for line in watch.lines] == [["header"]] * 3


def test_the_watch_sees_other_threads(logs: Watch) -> None:
    thread = threading.Thread(target=lambda: logging.getLogger("some.library").debug("seen"))
    thread.start()
    thread.join()
    assert any(line.startswith("some.library seen") for line in logs.lines)
