"""What comes out when a dependency raises: this library's exceptions, and no others, wherever it happens.

Each exception class that ``socket``, ``ssl``, ``websocket``, ``cattrs`` or a JSON parser has, as introspection finds
it (so that a class of a new release is found too), is raised at each place where this library calls them.
"""

from __future__ import annotations

import builtins
import contextlib
import inspect
import json
import os
import selectors
import socket
import ssl
import time
import types
from collections.abc import Iterator
from typing import Any, Callable, Optional

import cattrs.errors
import pytest
import trustme
import websocket
import websocket._exceptions

from runtimeuse_sync import (
    Client,
    ConnectionFailedError,
    ConnectionLostError,
    ProtocolError,
    ResultMessageInterface,
    RuntimeUseError,
)
from runtimeuse_sync._common import wakeup as _waker
from runtimeuse_sync._connection import addresses as _addresses
from runtimeuse_sync._connection import connecting as _handshake
from runtimeuse_sync._connection import connection as _connection
from runtimeuse_sync._connection import ending as _ending
from runtimeuse_sync._connection import worker as _worker
from runtimeuse_sync._connection.thread import ConnectionThread
from runtimeuse_sync._protocol import codec as _codec
from runtimeuse_sync._protocol import structuring as _structuring
from runtimeuse_sync.testing import ScriptedRuntime, generation

from ..raw_server import RawPeer, RawServer, frame
from ..support import invocation, text_result

Start = Callable[..., ScriptedRuntime]

# What a call may do when a part of it breaks, seconds: it must never be the limit that ends it.
LIMIT = 30.0


# --- what can be raised --------------------------------------------------------------------------------


def exceptions_in(module: types.ModuleType, base: type[Exception] = Exception) -> set[type[Exception]]:
    return {
        cls
        for name, cls in vars(module).items()
        if isinstance(cls, type) and issubclass(cls, base) and not name.startswith("_")
    }


# Arguments that one or the other class insists on.
ARGUMENTS: list[tuple[Any, ...]] = [
    ("it broke",),
    (1, "it broke"),
    (),
    ("it broke", dict),
    ("it broke", [ValueError("x")], dict),
    ("it broke", dict, {"x"}),
    ("it broke", "{", 0),
    ("utf-8", b"x", 0, 1, "it broke"),
    ("utf-8", "x", 0, 1, "it broke"),
]


def make(cls: type[Exception]) -> Exception:
    for arguments in ARGUMENTS:
        with contextlib.suppress(TypeError, AttributeError):
            return cls(*arguments)
    raise AssertionError(f"no idea how to make a {cls.__name__}: add to ARGUMENTS")


# What else a call into C or into an operating system may end in.
ANYWHERE: set[type[Exception]] = {MemoryError, ValueError, OverflowError, UnicodeError, UnicodeEncodeError, TypeError}
OF_SOCKET = exceptions_in(builtins, OSError) | exceptions_in(socket) | ANYWHERE
OF_SSL = exceptions_in(ssl) | OF_SOCKET
OF_WEBSOCKET = exceptions_in(websocket) | exceptions_in(websocket._exceptions) | ANYWHERE
OF_CATTRS = {
    cls for cls in exceptions_in(cattrs.errors) | exceptions_in(cattrs) if cls.__module__.startswith("cattrs")
} | {ValueError, TypeError, KeyError, AttributeError}
OF_JSON = exceptions_in(json) | {ValueError, RecursionError, UnicodeDecodeError}

# One of each kind, for a quick look; all of them take a minute.
A_FEW: set[type[Exception]] = {
    OSError,
    ConnectionResetError,
    BlockingIOError,
    socket.gaierror,
    ssl.SSLCertVerificationError,
    ssl.SSLError,
    websocket.WebSocketBadStatusException,
    UnicodeError,
    MemoryError,
}
AMOUNTS = pytest.mark.parametrize("amount", ["a few", pytest.param("all", marks=pytest.mark.slow)])


def chosen(classes: set[type[Exception]], amount: str) -> list[type[Exception]]:
    return sorted(classes if amount == "all" else classes & A_FEW, key=repr)


# They only say "not now", so that the call may go on.
NOT_NOW = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


def test_the_classes_are_found() -> None:
    assert {ConnectionResetError, TimeoutError, PermissionError, socket.gaierror, socket.herror} <= OF_SOCKET
    assert {ssl.SSLCertVerificationError, ssl.SSLEOFError, ssl.SSLZeroReturnError} <= OF_SSL
    assert {websocket.WebSocketBadStatusException, websocket.WebSocketTimeoutException} <= OF_WEBSOCKET
    assert {cattrs.errors.ClassValidationError, cattrs.errors.ForbiddenExtraKeysError} <= OF_CATTRS
    assert json.JSONDecodeError in OF_JSON


# --- where it is raised --------------------------------------------------------------------------------


class Fault:
    """Raises an exception at the n-th time that a place is reached, once."""

    def __init__(self, error: BaseException, count: int = 1) -> None:
        self.error = error
        self.left = count
        self.was_reached = False

    def __call__(self, *args: object, **options: object) -> None:
        self.left -= 1
        if self.left == 0:
            self.was_reached = True
            raise self.error

    def before(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def faulty(*args: Any, **options: Any) -> Any:
            self()
            return function(*args, **options)

        return faulty

    def after(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def faulty(*args: Any, **options: Any) -> Any:
            result = function(*args, **options)
            self()
            return result

        return faulty


def faulty(cls: type, method: str, fault: Fault) -> type:
    """A subclass whose ``method`` has a fault; what closes does close, and raises then."""
    place = fault.after if method == "close" else fault.before
    return type(f"Faulty{cls.__name__}", (cls,), {method: place(getattr(cls, method))})


def faulty_after_the_request(cls: type, fault: Fault) -> type:
    """A subclass whose ``recv`` has a fault once two things have been sent: the upgrade and the request."""
    sent: list[int] = []

    def send(self: Any, data: bytes) -> int:
        sent.append(cls.send(self, data))  # type: ignore[attr-defined]
        return sent[-1]

    def recv(self: Any, size: int) -> bytes:
        if len(sent) > 1:
            fault()
        data: bytes = cls.recv(self, size)  # type: ignore[attr-defined]
        return data

    return type(f"Faulty{cls.__name__}", (cls,), {"send": send, "recv": recv})


def copy_of(module: types.ModuleType, **changes: Any) -> types.SimpleNamespace:
    """A stand-in for a module in one place alone: the servers of the test use the real one."""
    return types.SimpleNamespace(**{**vars(module), **changes})


Place = Callable[[pytest.MonkeyPatch, Fault], None]


def of_socket(method: str) -> Place:
    def install(monkeypatch: pytest.MonkeyPatch, fault: Fault) -> None:
        changed = copy_of(socket, socket=faulty(socket.socket, method, fault))
        monkeypatch.setattr(_addresses, "socket", changed)

    return install


def of_last_recv(monkeypatch: pytest.MonkeyPatch, fault: Fault) -> None:
    changed = copy_of(socket, socket=faulty_after_the_request(socket.socket, fault))
    monkeypatch.setattr(_addresses, "socket", changed)


def of_look_up(monkeypatch: pytest.MonkeyPatch, fault: Fault) -> None:
    changed = copy_of(socket, getaddrinfo=fault.before(socket.getaddrinfo))
    monkeypatch.setattr(_handshake, "socket", changed)


def of_wake_up(method: str) -> Place:
    def install(monkeypatch: pytest.MonkeyPatch, fault: Fault) -> None:
        kind = _waker.EventFd if hasattr(os, "eventfd") else _waker.SocketPair
        monkeypatch.setattr(_waker, "_new_signal", faulty(kind, method, fault))

    return install


def of_selector(module: types.ModuleType, method: str) -> Place:
    def install(monkeypatch: pytest.MonkeyPatch, fault: Fault) -> None:
        monkeypatch.setattr(module, "Selector", faulty(selectors.DefaultSelector, method, fault))

    return install


def of_thread_start(monkeypatch: pytest.MonkeyPatch, fault: Fault) -> None:
    monkeypatch.setattr(_connection, "ConnectionThread", faulty(ConnectionThread, "start", fault))


# name -> (place, the time it is reached that counts, what comes of it)
SOCKET_PLACES: dict[str, tuple[Place, int, type[RuntimeUseError]]] = {
    "descriptors of the wake-up": (of_wake_up("__init__"), 1, ConnectionFailedError),
    "getaddrinfo": (of_look_up, 1, ConnectionFailedError),
    "socket()": (of_socket("__init__"), 1, ConnectionFailedError),
    "setblocking": (of_socket("setblocking"), 1, ConnectionFailedError),
    "setsockopt": (of_socket("setsockopt"), 1, ConnectionFailedError),
    "connect": (of_socket("connect"), 1, ConnectionFailedError),
    "getsockopt": (of_socket("getsockopt"), 1, ConnectionFailedError),
    "send the upgrade": (of_socket("send"), 1, ConnectionFailedError),
    "receive the upgrade": (of_socket("recv"), 1, ConnectionFailedError),
    "select in the handshake": (of_selector(_handshake, "select"), 1, ConnectionFailedError),
    "register in the handshake": (of_selector(_handshake, "register"), 1, ConnectionFailedError),
    "send the request": (of_socket("send"), 2, ConnectionLostError),
    "receive the result": (of_last_recv, 1, ConnectionLostError),
    "select": (of_selector(_worker, "select"), 1, ConnectionLostError),
    "register": (of_selector(_worker, "register"), 1, ConnectionLostError),
    "hear a wake-up": (of_wake_up("clear"), 1, RuntimeUseError),
    "wake up": (of_wake_up("set"), 1, RuntimeUseError),
    "close": (of_socket("close"), 1, RuntimeUseError),
}


# What these raise can only be the system's word.
OF_SYSTEM = {"wake up", "close"}

# Calls until a place is reached: connect() may be done at once, and who is awake need not be woken.
ATTEMPTS = 50


@pytest.fixture(autouse=True)
def no_lingering(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failed write the peer has a second to say why; here it has nothing to say."""
    monkeypatch.setattr(_ending, "LINGER", 0.02)


def outcome_of(client: Client, timeout: float = LIMIT) -> Any:
    began = time.monotonic()
    try:
        return client.invoke(invocation(), timeout=timeout)
    except Exception as error:  # noqa: BLE001 - this is what the test looks at
        return error
    finally:
        assert time.monotonic() - began < LIMIT / 2, "it took the timeout to end the call"


def complaint(outcome: Any, wanted: type[RuntimeUseError], error: BaseException) -> Optional[str]:
    """What is wrong with what came of a fault. A call that gets its result all the same is fine."""
    if isinstance(outcome, (wanted, ResultMessageInterface)):
        return None
    if isinstance(error, NOT_NOW) and isinstance(outcome, RuntimeUseError):
        return None
    return f"{error!r} came out as {outcome!r}"


@contextlib.contextmanager
def installed(place: Place, fault: Fault) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        place(monkeypatch, fault)
        yield


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of a socket whose close() was made to fail
@AMOUNTS
@pytest.mark.parametrize("name", SOCKET_PLACES)
def test_what_sockets_raise(scripted_runtime: Start, name: str, amount: str) -> None:
    place, count, wanted = SOCKET_PLACES[name]
    client = Client(scripted_runtime(generation("0.15")).url)
    # A wake-up that is lost, with nobody to tell, makes itself felt when the next one comes.
    timeout = 0.2 if name == "wake up" else LIMIT
    complaints = []
    for cls in chosen(OF_SOCKET - (ANYWHERE if name in OF_SYSTEM else set()), amount):
        for fault in (Fault(make(cls), count) for _ in range(ATTEMPTS)):
            with installed(place, fault):
                outcome = outcome_of(client, timeout)
            complaints.append(complaint(outcome, wanted, fault.error))
            if fault.was_reached:
                break
        else:
            pytest.fail(f"{name} was not reached")
    assert [text for text in complaints if text] == []


@pytest.mark.parametrize("cls", [RuntimeError, MemoryError])
def test_a_thread_that_cannot_be_started(scripted_runtime: Start, cls: type[Exception]) -> None:
    """RuntimeError("can't start new thread"): too many of them, or the interpreter is going down."""
    client = Client(scripted_runtime(generation("0.15")).url)
    fault = Fault(cls("can't start new thread"))
    with installed(of_thread_start, fault):
        assert isinstance(outcome_of(client), ConnectionFailedError)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_even_the_death_of_the_thread_ends_the_call(scripted_runtime: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    class Death(BaseException):  # as GreenletExit is one
        pass

    client = Client(scripted_runtime(generation("0.15")).url)
    of_selector(_worker, "select")(monkeypatch, Fault(Death()))
    assert isinstance(outcome_of(client), RuntimeUseError)


# --- ssl ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def secure(scripted_runtime: Start, authority: trustme.CA) -> ScriptedRuntime:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return scripted_runtime(generation("0.15"), ssl_context=context)


# name -> (method of SSLSocket, the time it is reached that counts, what comes of it)
SSL_PLACES: dict[str, tuple[str, int, type[RuntimeUseError]]] = {
    "do_handshake": ("do_handshake", 1, ConnectionFailedError),
    "send the upgrade": ("send", 1, ConnectionFailedError),
    "receive the upgrade": ("recv", 1, ConnectionFailedError),
    "send the request": ("send", 2, ConnectionLostError),
    "receive the result": ("", 1, ConnectionLostError),
    "pending": ("pending", 1, ConnectionLostError),
    "close": ("close", 1, RuntimeUseError),
}


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@AMOUNTS
@pytest.mark.parametrize("name", SSL_PLACES)
def test_what_tls_raises(secure: ScriptedRuntime, authority: trustme.CA, name: str, amount: str) -> None:
    method, count, wanted = SSL_PLACES[name]
    complaints = []
    reached = 0
    # "Wait until there is something to read": in answer to the client's first word there is nothing.
    classes = OF_SSL - ({ssl.SSLWantReadError} if method in ("do_handshake", "send") else set())
    classes -= ANYWHERE if name in OF_SYSTEM else set()
    for cls in chosen(classes, amount):
        fault = Fault(make(cls), count)
        context = ssl.create_default_context()
        authority.configure_trust(context)
        context.sslsocket_class = (
            faulty(ssl.SSLSocket, method, fault) if method else faulty_after_the_request(ssl.SSLSocket, fault)
        )
        complaints.append(complaint(outcome_of(Client(secure.url, ssl_context=context)), wanted, fault.error))
        reached += fault.was_reached
    assert [text for text in complaints if text] == []
    assert reached > len(chosen(classes, amount)) / 2


class FaultyContext(ssl.SSLContext):
    fault: Fault

    def wrap_socket(self, *args: Any, **options: Any) -> Any:
        self.fault()
        return super().wrap_socket(*args, **options)


@AMOUNTS
def test_what_wrapping_raises(secure: ScriptedRuntime, amount: str) -> None:
    complaints = []
    for cls in chosen(OF_SSL, amount):
        context = FaultyContext(ssl.PROTOCOL_TLS_CLIENT)
        context.fault = Fault(make(cls))
        outcome = outcome_of(Client(secure.url, ssl_context=context))
        complaints.append(complaint(outcome, ConnectionFailedError, context.fault.error))
        assert context.fault.was_reached
    assert [text for text in complaints if text] == []


@AMOUNTS
def test_what_the_default_context_raises(secure: ScriptedRuntime, monkeypatch: pytest.MonkeyPatch, amount: str) -> None:
    """An SSL_CERT_FILE that cannot be read, for one."""
    complaints = []
    for cls in chosen(OF_SSL, amount):
        fault = Fault(make(cls))
        monkeypatch.setattr(_handshake, "default_ssl_context", fault)
        complaints.append(complaint(outcome_of(Client(secure.url)), ConnectionFailedError, fault.error))
        assert fault.was_reached
    assert [text for text in complaints if text] == []


# --- websocket-client -----------------------------------------------------------------------------------


@AMOUNTS
@pytest.mark.parametrize("method", ["__init__", "connect"])
def test_what_websocket_client_raises(
    scripted_runtime: Start, monkeypatch: pytest.MonkeyPatch, method: str, amount: str
) -> None:
    client = Client(scripted_runtime(generation("0.15")).url)
    real = websocket.WebSocket
    complaints = []
    for cls in chosen(OF_WEBSOCKET, amount):
        fault = Fault(make(cls))
        monkeypatch.setattr(websocket, "WebSocket", faulty(real, method, fault))
        complaints.append(complaint(outcome_of(client), ConnectionFailedError, fault.error))
        assert fault.was_reached
    assert [text for text in complaints if text] == []


def test_all_of_websocket_clients_exceptions_have_one_root() -> None:
    """The handshake catches more than that; this tells when there is something new to think about."""
    found = exceptions_in(websocket._exceptions)
    assert all(issubclass(cls, websocket.WebSocketException) for cls in found)


# --- cattrs and the parsers -----------------------------------------------------------------------------


@pytest.fixture
def client() -> Iterator[Client]:
    """Of a server that shares no parser with this library."""

    def play(conn: RawPeer) -> None:
        conn.accept()
        conn.read_frame()
        conn.send(frame(RESULT))
        conn.wait_closed()

    with RawServer(play) as server:
        yield Client(server.url)


RESULT = json.dumps(text_result("done")).encode()


def structure_with(monkeypatch: pytest.MonkeyPatch, cls: type[Exception]) -> None:
    class FaultyConverter:
        def structure(self, *args: Any) -> Any:
            raise make(cls)

    monkeypatch.setattr(_structuring, "_converter", lambda explain: FaultyConverter())


@pytest.mark.parametrize("cls", sorted(OF_CATTRS, key=repr), ids=lambda cls: cls.__name__)
def test_what_cattrs_raises_on_the_callers_thread(
    client: Client, monkeypatch: pytest.MonkeyPatch, cls: type[Exception]
) -> None:
    structure_with(monkeypatch, cls)
    outcome = outcome_of(client)
    # A result class that cattrs cannot serve is the caller's mistake.
    wanted = (ProtocolError, TypeError) if cls is cattrs.errors.StructureHandlerNotFoundError else ProtocolError
    assert isinstance(outcome, wanted)


@pytest.mark.parametrize("cls", sorted(OF_CATTRS, key=repr), ids=lambda cls: cls.__name__)
def test_what_cattrs_raises_on_the_connection_thread(
    client: Client, monkeypatch: pytest.MonkeyPatch, cls: type[Exception]
) -> None:
    monkeypatch.setitem(_codec._FROM_RUNTIME, "result_message", Fault(make(cls)))
    structure_with(monkeypatch, cls)
    assert isinstance(outcome_of(client), RuntimeUseError)


@pytest.mark.parametrize("cls", sorted(OF_JSON, key=repr), ids=lambda cls: cls.__name__)
def test_what_the_standard_parser_raises(client: Client, monkeypatch: pytest.MonkeyPatch, cls: type[Exception]) -> None:
    fault = Fault(make(cls))
    monkeypatch.setattr(_codec, "_parse", _codec._parse_strictly)
    monkeypatch.setattr(_codec, "_scan", fault)
    assert isinstance(outcome_of(client), ProtocolError)
    assert fault.was_reached


def test_what_the_fast_parser_raises(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the standard parser then takes is no fault."""
    orjson = pytest.importorskip("orjson")
    found = exceptions_in(orjson) - {orjson.JSONEncodeError}
    assert orjson.JSONDecodeError in found
    for cls in found:
        fault = Fault(make(cls))
        monkeypatch.setattr(_codec, "orjson", copy_of(orjson, loads=fault))
        assert isinstance(outcome_of(client), ResultMessageInterface)
        assert fault.was_reached


@pytest.mark.parametrize("cls", [ValueError, TypeError])
def test_what_the_encoder_raises(client: Client, monkeypatch: pytest.MonkeyPatch, cls: type[Exception]) -> None:
    """On the caller's thread, for a message that was made wrong behind its class's back."""
    fault = Fault(make(cls))
    monkeypatch.setattr(_codec, "_to_json", fault.before(_codec._to_json))
    outcome = outcome_of(client)
    assert isinstance(outcome, (RuntimeUseError, TypeError, ValueError))
    assert fault.was_reached


# --- host names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["ws", "wss"])
@pytest.mark.parametrize("host", ["a" * 64 + ".example.com", "a..example.com", ".example.com", "256.256.256.256"])
def test_host_names_that_cannot_be(host: str, scheme: str) -> None:
    with pytest.raises((ValueError, ConnectionFailedError)):
        Client(f"{scheme}://{host}/", proxy=None, connect_timeout=5).invoke(invocation())


def test_every_exception_of_this_library_is_one_of_its_own() -> None:
    import runtimeuse_sync

    public = exceptions_in(runtimeuse_sync)
    assert len(public) > 9
    assert all(issubclass(cls, RuntimeUseError) for cls in public)
    assert all(inspect.getdoc(cls) for cls in public)
