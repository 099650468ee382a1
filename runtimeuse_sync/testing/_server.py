"""The scripted runtime: its server, its scripts, and scripts that behave as a release does."""

# How it works: one thread (the loop) owns every socket, so nothing here locks around a socket, and TLS never
# reads and writes at once. A script runs in a thread of its own and hands the loop what it wants done. The WebSocket
# protocol is websockets' sans-I/O layer: its servers leave a pipe behind (releases 15 and 16) and have no way to
# send an empty Close frame, to reset, or to stop in mid-frame.

from __future__ import annotations

import difflib
import json
import logging
import pprint
import queue
import selectors
import socket
import ssl
import struct
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Callable, Optional, TypeVar, Union, cast

import attrs
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from .. import _codec
from .. import messages as m
from ..exceptions import ProtocolError

MessageT = TypeVar("MessageT")
T = TypeVar("T")
Received = Union[m.ClientMessage, _codec.UnknownMessage]
Script = Callable[["Peer"], object]
Step = Union[Script, int]

# Real runtimes take messages up to this size.
_MAX_MESSAGE = 100 * 1024 * 1024
_CHUNK = 256 * 1024
# How many messages the loop is handed at once: it has pings to answer in between.
_BATCH = 1000
# How long the loop may take for a call, a client for its half of a closing handshake, what is under way at the end
# of a test for its arrival, a script for its end.
_CALL_PATIENCE = 10.0
_CLOSE_PATIENCE = 5.0
_SETTLE_PATIENCE = 1.0
_JOIN_PATIENCE = 10.0
# How long a client may leave data unread, and be silently waited for.
_STALL_PATIENCE = 30.0

# websockets logs frames, payload and all, where its logger is enabled: this one belongs to no hierarchy.
_SILENT = logging.Logger("silent", logging.CRITICAL + 1)

# A struct linger: what close() then sends is a RST.
_NO_LINGER = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)

_WANTS: tuple[type[OSError], ...] = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Disconnected(Exception):  # noqa: N818 - no error: how a script normally ends
    """The client has left, or the test is over. A script that lets it pass ends without failing the test."""


# --- the loop's side ----------------------------------------------------------------------------------


class _Loop:
    """One thread that owns all the sockets of a runtime. Other threads hand it calls."""

    def __init__(self, name: str) -> None:
        self._selector = selectors.DefaultSelector()
        self._ready: dict[socket.socket, Callable[[int], None]] = {}
        self._wake, self._alarm = socket.socketpair()
        self._wake.setblocking(False)
        self._alarm.setblocking(False)
        self._lock = threading.Lock()
        self._calls: deque[tuple[Future[Any], Callable[[], Any]]] = deque()  # guarded by _lock
        self._stopped = False  # guarded by _lock
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.watch(self._wake, self._wake_up)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread, then give back what it used. The sockets it watched are their owners' to close."""
        self.call(self._stop)
        self._thread.join(_JOIN_PATIENCE)
        self._selector.close()
        self._wake.close()
        self._alarm.close()

    def call(self, function: Callable[[], T]) -> T:
        """What ``function`` returns or raises, run by the loop's thread."""
        future: Future[T] = Future()
        with self._lock:
            if self._stopped:
                raise Disconnected("the runtime has stopped")
            self._calls.append((future, function))
            self._ring()
        return future.result(_CALL_PATIENCE)

    def _ring(self) -> None:
        try:
            self._alarm.send(b"\0")
        except BlockingIOError:
            pass  # So many rings wait unheard that one more says nothing new.

    # The rest runs on the loop's thread.

    def watch(self, sock: socket.socket, ready: Callable[[int], None], *, writing: bool = False) -> None:
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if writing else 0)
        if sock not in self._ready:
            self._selector.register(sock, events)
        elif self._selector.get_key(sock).events != events:
            self._selector.modify(sock, events)
        self._ready[sock] = ready

    def forget(self, sock: socket.socket) -> None:
        del self._ready[sock]
        self._selector.unregister(sock)

    def settle(self) -> None:
        """Handle all that has come in so far, unless it comes without end."""
        give_up = time.monotonic() + _SETTLE_PATIENCE
        while self._turn(0) and time.monotonic() < give_up:
            pass

    def _run(self) -> None:
        while not self._stopped:
            self._turn(None)

    def _turn(self, timeout: Optional[float]) -> int:
        selected = self._selector.select(timeout)
        for key, events in selected:
            # An earlier one of the same turn may have closed this socket.
            ready = self._ready.get(cast("socket.socket", key.fileobj))
            if ready:
                ready(events)
        return len(selected)

    def _wake_up(self, _: int) -> None:
        self._wake.recv(4096)
        with self._lock:
            calls, self._calls = self._calls, deque()
        for future, function in calls:
            try:
                future.set_result(function())
            except BaseException as error:  # noqa: BLE001 - the thread that asked gets it
                future.set_exception(error)

    def _stop(self) -> None:
        with self._lock:
            self._stopped = True
            late, self._calls = self._calls, deque()
        for future, _ in late:
            future.set_exception(Disconnected("the runtime has stopped"))


class _Link:
    """The socket and the protocol state of one connection. Only the loop's thread calls its methods."""

    def __init__(self, loop: _Loop, sock: socket.socket, runtime: ScriptedRuntime) -> None:
        self._loop = loop
        self._sock = sock
        self._runtime = runtime
        self._peer: Optional[Peer] = None
        self._protocol = ServerProtocol(max_size=_MAX_MESSAGE, logger=_SILENT)
        self._outbox = bytearray()
        self._fragments: list[bytes] = []
        self._shaking_hands = isinstance(sock, ssl.SSLSocket)
        self._half_close = False  # wanted, once all is written
        self._half_closed = False
        self.closed = False
        # What comes in is thrown away: after our half of the end, and for a client that is to meet a dead host.
        self.deaf = False

    def on_ready(self, events: int) -> None:
        try:
            if self._shaking_hands:
                self._shake_hands()
            elif events & selectors.EVENT_READ:
                self._read()
            if not self._shaking_hands:
                self._flush()
        except OSError as error:
            self.close(f"the connection broke ({type(error).__name__})")
        except Exception as error:  # noqa: BLE001 - a safety net: the loop must outlive a fault of one link
            self._runtime._fail(error)
            self.close("the server failed")

    def _shake_hands(self) -> None:
        try:
            cast("ssl.SSLSocket", self._sock).do_handshake()
        except ssl.SSLWantReadError:
            self._loop.watch(self._sock, self.on_ready)
        except ssl.SSLWantWriteError:
            self._loop.watch(self._sock, self.on_ready, writing=True)
        else:
            self._shaking_hands = False
            self._read()

    def _read(self) -> None:
        # Until nothing is left: what TLS has decrypted already would not wake the selector.
        while not self.closed:
            try:
                data = self._sock.recv(_CHUNK)
            except _WANTS:
                return
            if not data:
                self.close("dropped the connection")
            elif not self.deaf:
                self._feed(data)

    def _feed(self, data: bytes) -> None:
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Request):
                self._answer_handshake(event)
            elif isinstance(event, Frame):
                self._on_frame(event)
        if self._peer and self._protocol.parser_exc:
            self._peer._take(ProtocolError(f"broke the WebSocket protocol: {self._protocol.parser_exc}"))
            self._peer._on_leaving("broke the WebSocket protocol")
        self._emit()

    def _answer_handshake(self, request: Request) -> None:
        self._peer = Peer(self._runtime, self._loop, self, request)
        step = self._runtime._admit(self._peer)
        if isinstance(step, int):
            self._protocol.send_response(self._protocol.reject(step, "Refused by the test.\n"))
        else:
            self._protocol.send_response(self._protocol.accept(request))
        self._emit()
        if not isinstance(step, int) and self._protocol.state is State.OPEN:
            self._runtime._play(self._peer, step)

    def _on_frame(self, frame: Frame) -> None:
        assert self._peer is not None
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            self._fragments.append(bytes(frame.data))
            if frame.fin:
                payload, self._fragments = b"".join(self._fragments), []
                self._peer._on_payload(payload)
        elif frame.opcode is Opcode.PONG:
            self._peer._on_pong(bytes(frame.data))
        elif frame.opcode is Opcode.CLOSE:
            code = struct.unpack("!H", frame.data[:2])[0] if frame.data else 1005
            self._peer._on_leaving(f"closed the WebSocket with code {code}")

    def speak(self, say: Callable[[ServerProtocol], None]) -> None:
        """Send what ``say`` tells the protocol to."""
        if self.closed or self._protocol.state is not State.OPEN:
            raise Disconnected("the client has left")
        say(self._protocol)
        self._emit()
        self._try_to_flush()

    def write(self, data: bytes) -> None:
        """Send ``data`` below the WebSocket framing."""
        if self.closed or self._half_close:
            raise Disconnected("the client has left")
        self._outbox += data
        self._try_to_flush()

    def hang_up(self) -> None:
        """End our direction of the TCP stream, once all is written."""
        self._half_close = True
        self._try_to_flush()

    def reset(self) -> None:
        if not self.closed:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            self.close("was reset")

    def close(self, how: str) -> None:
        if self.closed:
            return
        self.closed = True
        self._loop.forget(self._sock)
        self._sock.close()
        self._runtime._links.discard(self)
        if self._peer:
            self._peer._on_closed(how)

    def _emit(self) -> None:
        data = self._protocol.data_to_send()
        self._outbox += b"".join(data)
        self._half_close = self._half_close or b"" in data

    def _try_to_flush(self) -> None:
        try:
            self._flush()
        except OSError as error:
            self.close(f"the connection broke ({type(error).__name__})")

    def _flush(self) -> None:
        if self.closed:
            return
        try:
            while self._outbox:
                del self._outbox[: self._sock.send(self._outbox[:_CHUNK])]
        except _WANTS:
            pass
        if self._half_close and not self._outbox and not self._half_closed:
            self._half_closed = self.deaf = True
            self._sock.shutdown(socket.SHUT_WR)
        self._loop.watch(self._sock, self.on_ready, writing=bool(self._outbox))
        if self._peer:
            self._peer._on_flushed(not self._outbox)


# --- the script's side --------------------------------------------------------------------------------


@attrs.frozen
class _Entry:
    """A message that came, and when."""

    at: float
    message: Received


class Peer:
    """The runtime's side of one connection: what a script is given.

    Each method raises ``Disconnected`` once the client has left; a script that lets it pass just ends.
    When the script returns, the connection is closed with an empty Close frame, as real runtimes do.

    Attributes:
        path (str): what the client asked for, with the query.
        request_headers (Mapping): the handshake's headers, whatever the case of their names.

    >>> def script(peer):
    ...     request = peer.receive()
    ...     peer.send({"message_type": "result_message", "data": {"type": "text", "text": "done"}})
    """

    def __init__(self, runtime: ScriptedRuntime, loop: _Loop, link: _Link, request: Request) -> None:
        self.path = request.path
        self.request_headers: Mapping[str, str] = request.headers
        self._runtime = runtime
        self._loop = loop
        self._link = link
        self._inbox: queue.SimpleQueue[Union[Received, ProtocolError, None]] = queue.SimpleQueue()
        self._pongs: dict[bytes, threading.Event] = {}
        self._gone = threading.Event()
        self._closed = threading.Event()
        self._flushed = threading.Event()
        self._how_it_left = "is still there"

    # What the loop reports.

    def _on_payload(self, payload: bytes) -> None:
        try:
            message = _codec.decode_client_message(payload)
        except ProtocolError as error:
            self._take(error)
        else:
            self._runtime._log(message)
            self._take(message)

    def _take(self, item: Union[Received, ProtocolError]) -> None:
        self._inbox.put(item)

    def _on_pong(self, payload: bytes) -> None:
        waiter = self._pongs.pop(payload, None)
        if waiter:
            waiter.set()

    def _on_flushed(self, flushed: bool) -> None:
        if flushed:
            self._flushed.set()
        else:
            self._flushed.clear()

    def _on_leaving(self, how: str) -> None:
        if not self._gone.is_set():
            self._how_it_left = how
            self._gone.set()
            self._inbox.put(None)
            for waiter in list(self._pongs.values()):
                waiter.set()

    def _on_closed(self, how: str) -> None:
        self._on_leaving(how)
        self._flushed.set()
        self._closed.set()

    def _unread_faults(self) -> Iterator[ProtocolError]:
        """What the client did wrong, and no script has taken note of."""
        while not self._inbox.empty():
            item = self._inbox.get()
            if isinstance(item, ProtocolError):
                yield item

    # What a script says.

    def send(self, *messages: Any) -> None:
        """Send messages, in order; return when they are written.

        Args:
            messages: message objects, or dicts that are sent as they are.

        Raises:
            AssertionError: the client did not read for 30 s.
        """
        for start in range(0, len(messages), _BATCH):
            batch = messages[start : start + _BATCH]
            self._say([_encode(message) for message in batch], ServerProtocol.send_text)

    def send_text(self, text: str) -> None:
        """Send ``text`` in a text frame, whatever it says."""
        self._say([text.encode()], ServerProtocol.send_text)

    def send_bytes(self, payload: bytes) -> None:
        """Send ``payload`` in a binary frame."""
        self._say([payload], ServerProtocol.send_binary)

    def send_raw(self, data: bytes) -> None:
        """Send ``data`` below the WebSocket framing."""
        self._loop.call(lambda: self._link.write(data))
        self._wait_until_flushed()

    def _say(self, payloads: list[bytes], send: Callable[[ServerProtocol, bytes], None]) -> None:
        def say(protocol: ServerProtocol) -> None:
            for payload in payloads:
                send(protocol, payload)

        self._loop.call(lambda: self._link.speak(say))
        self._wait_until_flushed()

    def _wait_until_flushed(self) -> None:
        if not self._flushed.wait(_STALL_PATIENCE):
            raise AssertionError(f"the client did not read for {_STALL_PATIENCE:g} s")

    # What a script hears.

    def receive(self, timeout: Optional[float] = 5.0) -> Received:
        """The next message of the client.

        Args:
            timeout: seconds to wait; None waits until the client leaves. Default 5.

        Raises:
            AssertionError: nothing came in time.
            ProtocolError: what came is no message.
            Disconnected: the client has left.
        """
        message = self._next(timeout)
        if message is None:
            raise AssertionError(f"expected a message within {timeout:g} s, but nothing came")
        return message

    def _next(self, timeout: Optional[float]) -> Optional[Received]:
        """Like ``receive``, but None where nothing came in time."""
        try:
            item = self._inbox.get(timeout=timeout)
        except queue.Empty:
            return None
        if item is None:
            self._inbox.put(None)
            raise Disconnected(f"the client {self._how_it_left}")
        if isinstance(item, ProtocolError):
            raise item
        return item

    def expect(self, message_class: type[MessageT], timeout: Optional[float] = 5.0, **fields: Any) -> MessageT:
        """The next message, which must be a ``message_class`` with these ``fields``.

        Args:
            message_class: one of the classes that a client sends.
            timeout: seconds to wait; None waits until the client leaves. Default 5.
            fields: what the message's fields must equal.

        Raises:
            AssertionError: another message came, or none: it says how it differs.
        """
        __tracebackhide__ = True  # pytest shows the script's line instead.
        _check_fields(message_class, fields)
        name = message_class.__name__
        try:
            message = self.receive(timeout)
        except AssertionError:
            raise AssertionError(f"expected {name} within {timeout:g} s, but nothing came") from None
        except Disconnected:
            raise AssertionError(f"expected {name}, but the client {self._how_it_left}") from None
        except ProtocolError as error:
            raise AssertionError(f"expected {name}, but what came is no message: {error}") from None
        if not isinstance(message, message_class):
            raise AssertionError(f"expected {name}, received {message!r}")
        difference = _difference(message, fields)
        if difference:
            raise AssertionError(f"{name} came, but not as expected (- expected, + received):\n{difference}")
        return message

    def ping(self, timeout: float = 5.0) -> None:
        """Send a ping and wait for its pong; raises ``AssertionError`` after ``timeout`` seconds without."""
        pong = threading.Event()
        payload = struct.pack("!d", time.monotonic())
        self._pongs[payload] = pong
        self._say([payload], ServerProtocol.send_ping)
        if not pong.wait(timeout):
            raise AssertionError(f"expected a pong within {timeout:g} s, but none came")
        if payload in self._pongs:
            raise Disconnected(f"the client {self._how_it_left}")

    def pause(self, seconds: float) -> None:
        """Do nothing for ``seconds``, or until the client leaves."""
        self._gone.wait(seconds)

    def silence(self, *, answer_pings: bool = True) -> None:
        """Say nothing until the client leaves.

        Args:
            answer_pings: False for a host that is dead: pings stay unanswered, and what comes is not heard.

        Raises:
            AssertionError: the client was still there after 30 s.
        """
        if not answer_pings:
            self._loop.call(self._be_deaf)
        if not self._gone.wait(_STALL_PATIENCE):
            raise AssertionError(f"the client was still there after {_STALL_PATIENCE:g} s")

    def _be_deaf(self) -> None:
        self._link.deaf = True

    # How a script ends it.

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close with ``code`` and ``reason``."""
        self._loop.call(lambda: self._link.speak(lambda protocol: protocol.send_close(code, reason)))
        self._wait_until_closed()

    def close_empty(self) -> None:
        """Close with an empty Close frame, as real runtimes do: code 1005 at the client."""
        self._loop.call(lambda: self._link.speak(lambda protocol: protocol.send_close()))
        self._wait_until_closed()

    def drop(self) -> None:
        """End the TCP connection (FIN) without a Close frame."""
        self._loop.call(self._link.hang_up)
        self._wait_until_closed()

    def reset(self) -> None:
        """Reset the TCP connection (RST)."""
        self._loop.call(self._link.reset)

    def cut(self) -> None:
        """Send half a frame, then drop the connection."""
        self.send_raw(b'\x81\x7e\x10\x00{"message_type":')
        self.drop()

    def _wait_until_closed(self) -> None:
        self._closed.wait(_CLOSE_PATIENCE)
        self._loop.call(lambda: self._link.close("was closed"))


def _encode(message: Any) -> bytes:
    if isinstance(message, dict):
        return json.dumps(message).encode()
    return _codec.encode(message)


def _check_fields(message_class: type, fields: Iterable[str]) -> None:
    known = {field.name for field in attrs.fields(message_class)}
    for name in fields:
        if name not in known:
            raise TypeError(f"{message_class.__name__} has no field {name!r}, but {sorted(known)}")


def _difference(message: Any, expected: Mapping[str, Any]) -> str:
    hidden = {field.name for field in attrs.fields(type(message)) if not field.repr}
    lines: list[str] = []
    for name, value in expected.items():
        actual = getattr(message, name)
        if actual == value:
            continue
        lines.append(f"{name}:")
        lines += ["  differs; not shown, as it may hold secrets"] if name in hidden else _compare(value, actual)
    return "\n".join(lines)


def _compare(expected: Any, actual: Any) -> list[str]:
    before, after = (pprint.pformat(value).splitlines() for value in (expected, actual))
    return ["  " + line.rstrip("\n") for line in difflib.ndiff(before, after)]


# --- the test's side ----------------------------------------------------------------------------------


class ScriptedRuntime:
    """A real WebSocket server on a loopback port that plays scripts. A context manager.

    Args:
        script: what to do on a connection: a function that takes a ``Peer``, or an HTTP status to refuse the
            handshake with; or a list of these, for one connection after the other, the last repeating.
        refuse: an HTTP status to refuse every handshake with, in place of a script.
        ssl_context: a server context, for ``wss://``. Default: plain ``ws://``.
        host: the name to listen on. Default: 127.0.0.1.

    Leaving the ``with`` block closes all connections, and raises what a script raised (an
    ``AssertionError`` for a failed expectation). If the block itself raises, its own error stays, with the
    script's as a note.

    >>> with ScriptedRuntime(refuse=503) as runtime:
    ...     runtime.received
    []
    """

    def __init__(
        self,
        script: Union[Step, Sequence[Step], None] = None,
        *,
        refuse: Optional[int] = None,
        ssl_context: Optional[ssl.SSLContext] = None,
        host: str = "127.0.0.1",
    ) -> None:
        self._steps = _steps(script, refuse)
        self._ssl_context = ssl_context
        self._host = host
        self._changed = threading.Condition()
        self._peers: list[Peer] = []  # guarded by _changed
        self._entries: list[_Entry] = []  # guarded by _changed
        self._failures: list[BaseException] = []  # guarded by _changed
        self._scripts: list[threading.Thread] = []
        self._links: set[_Link] = set()
        self._port: Optional[int] = None

    def __enter__(self) -> ScriptedRuntime:
        self._listener = socket.create_server((self._host, 0), backlog=128)
        self._listener.setblocking(False)
        self._port = self._listener.getsockname()[1]
        self._loop = _Loop("ScriptedRuntime")
        self._loop.watch(self._listener, self._accept)
        self._loop.start()
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self._loop.call(self._shut_down)
        self._join_scripts()
        self._loop.stop()
        for peer in self._peers:
            self._failures += peer._unread_faults()
        if not self._failures:
            return
        first, *others = self._failures
        for failure in self._failures if error else others:
            _attach(error or first, failure)
        if error is None:
            raise first

    @property
    def url(self) -> str:
        """Where it listens: ``ws://127.0.0.1:PORT``, or ``wss://`` with an ``ssl_context``."""
        if self._port is None:
            raise RuntimeError("it listens inside of a with block: with ScriptedRuntime(script) as runtime: …")
        return f"{'wss' if self._ssl_context else 'ws'}://{self._host}:{self._port}"

    @property
    def connections(self) -> list[Peer]:
        """A peer for each handshake so far, refused ones included, in order."""
        with self._changed:
            return list(self._peers)

    @property
    def received(self) -> list[Received]:
        """Every message received so far, of all connections, in order."""
        with self._changed:
            return [entry.message for entry in self._entries]

    def received_at(self, message_class: type) -> float:
        """When the first ``message_class`` came (``time.monotonic()``); raises ``LookupError`` if none did."""
        with self._changed:
            for entry in self._entries:
                if isinstance(entry.message, message_class):
                    return entry.at
        raise LookupError(f"no {message_class.__name__} came")

    def wait_for(self, message_class: type[MessageT], timeout: float = 5.0, *, count: int = 1) -> MessageT:
        """Wait until a ``message_class`` has come, on any connection.

        Args:
            message_class: one of the classes that a client sends.
            timeout: seconds to wait. Default 5.
            count: wait for this many of them. Default 1.

        Returns:
            The message; with ``count``, the last of so many.

        Raises:
            AssertionError: none came in time, or a script failed meanwhile.
        """

        def matching() -> list[Any]:
            return [entry.message for entry in self._entries if isinstance(entry.message, message_class)]

        self._wait(lambda: len(matching()) >= count, f"{count} {message_class.__name__}", timeout)
        with self._changed:
            return cast("MessageT", matching()[count - 1])

    def wait_for_connections(self, count: int, timeout: float = 5.0) -> list[Peer]:
        """Wait until there were ``count`` handshakes; raises ``AssertionError`` after ``timeout`` seconds."""
        self._wait(lambda: len(self._peers) >= count, f"{count} connections", timeout)
        return self.connections

    def _wait(self, condition: Callable[[], bool], what: str, timeout: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: condition() or self._failures, timeout)
            if condition():
                return
            failure = self._failures[0] if self._failures else None
        if failure:
            raise AssertionError(f"waited for {what}, but the script failed: {failure}") from failure
        raise AssertionError(f"waited {timeout:g} s for {what} in vain")

    # What the loop does and reports.

    def _accept(self, _: int) -> None:
        try:
            sock = self._prepare(self._listener.accept()[0])
        except OSError:
            return  # The client has left again.
        link = _Link(self._loop, sock, self)
        self._links.add(link)
        self._loop.watch(sock, link.on_ready)

    def _prepare(self, sock: socket.socket) -> socket.socket:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._ssl_context is None:
            return sock
        return self._ssl_context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)

    def _admit(self, peer: Peer) -> Step:
        with self._changed:
            step = self._steps[min(len(self._peers), len(self._steps) - 1)]
            self._peers.append(peer)
            self._changed.notify_all()
        return step

    def _log(self, message: Received) -> None:
        with self._changed:
            self._entries.append(_Entry(time.monotonic(), message))
            self._changed.notify_all()

    def _play(self, peer: Peer, script: Script) -> None:
        name = f"ScriptedRuntime script {len(self._scripts) + 1}"
        thread = threading.Thread(target=self._run_script, args=(script, peer), name=name, daemon=True)
        self._scripts.append(thread)
        thread.start()

    def _shut_down(self) -> None:
        self._loop.settle()
        self._loop.forget(self._listener)
        self._listener.close()
        for link in list(self._links):
            link.close("was still there when the test ended")

    # What the scripts' threads do.

    def _run_script(self, script: Script, peer: Peer) -> None:
        try:
            script(peer)
            peer.close_empty()
        except Disconnected:
            pass
        except BaseException as error:  # noqa: BLE001 - the test gets it; pytest's own failures are BaseExceptions
            self._fail(error)
            self._end_failed(peer)

    def _end_failed(self, peer: Peer) -> None:
        try:
            peer.close(1011, "the script failed")
        except Disconnected:
            pass

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self._failures.append(error)
            self._changed.notify_all()

    def _join_scripts(self) -> None:
        deadline = time.monotonic() + _JOIN_PATIENCE
        for thread in self._scripts:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                self._fail(AssertionError(f"a script still ran {_JOIN_PATIENCE:g} s after the end of the test"))


def _steps(script: Union[Step, Sequence[Step], None], refuse: Optional[int]) -> list[Step]:
    if (script is None) == (refuse is None):
        raise TypeError("ScriptedRuntime takes a script or refuse=STATUS: one of the two")
    if refuse is not None:
        return [refuse]
    steps = list(script) if isinstance(script, (list, tuple)) else [cast("Step", script)]
    if not steps:
        raise ValueError("ScriptedRuntime needs at least one script")
    return steps


def _attach(error: BaseException, failure: BaseException) -> None:
    """Show the script's ``failure`` with the test's own ``error``."""
    if hasattr(error, "add_note"):
        lines = traceback.format_exception(type(failure), failure, failure.__traceback__)
        error.add_note("The script failed as well:\n" + "".join(lines))
    elif error.__context__ is None:
        error.__context__ = failure


# --- whole generations --------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Reply:
    """What a runtime made by ``generation`` says to one request.

    Attributes:
        messages (sequence): what it sends before the result: message objects, or dicts that are sent as they are.
        result (dict or str): structured output, or a text (since 0.5). Default: ``{"success": True}``.
        metadata (dict or None): the result's, or the error's, metadata.
        error (str or None): the request fails with it, in place of a result.
        command_results (sequence of CommandResultItem): how the commands of a ``CommandExecutionMessage`` end.
            Default: each with exit code 0.
        artifacts (sequence of str): paths of files that it asks to upload before the result.
        late_artifacts (sequence of str): paths of files that it notices after the result.
        post_agent_error (str or None): what a failing post-agent command says: after the result until 0.10,
            in its place since 0.11.
        hangs (bool): after the messages it works on until it is cancelled. Default False.

    >>> Reply(result="done", late_artifacts=["/out/report.csv"]).result
    'done'
    """

    messages: Sequence[Any] = ()
    result: Union[dict[str, Any], str] = attrs.field(factory=lambda: {"success": True})
    metadata: Optional[dict[str, Any]] = None
    error: Optional[str] = None
    command_results: Sequence[m.CommandResultItem] = ()
    artifacts: Sequence[str] = ()
    late_artifacts: Sequence[str] = ()
    post_agent_error: Optional[str] = None
    hangs: bool = False


def generation(release: str, *replies: Reply, linger: float = 0.05) -> Script:
    """A script that behaves on the wire as a runtime of that release does.

    How many requests a connection takes, what follows a result, an error, a ``CancelMessage``, an
    ``EndSessionMessage`` or a bad message, and the shape of a result: all this changed over the releases.

    Args:
        release: ``"0.4"`` to ``"0.15"``.
        replies: what it says to the requests, in the order in which they come, on whatever connection; the last
            repeats. Default: one ``Reply()``.
        linger: seconds from the end of a request until runtimes before 0.11 close (the real ones take 3).

    Raises:
        ValueError: no such release, or a reply that this release cannot give.

    >>> from runtimeuse_sync.testing import Reply, ScriptedRuntime, generation
    >>> with ScriptedRuntime(generation("0.15", Reply(error="rate limited"), Reply(result="done"))) as runtime:
    ...     options = QueryOptions(system_prompt="Be brief.")
    ...     try:
    ...         Client(runtime.url).query("Hello", options)
    ...     except AgentRuntimeError as error:
    ...         print(error)
    ...     Client(runtime.url).query("Hello", options).data.text
    rate limited
    'done'
    """
    minor = _minor(release)
    if minor < _DATA and any(isinstance(reply.result, str) for reply in replies):
        raise ValueError(f"a runtime {release} has no results in text: use a dict")
    source = _Replies(replies or (Reply(),))
    return lambda peer: _Generation(peer, minor, source, linger).live()


# The releases (0.x) that brought something.
_OLDEST, _DATA, _COMMANDS, _EXIT_CODES, _SESSIONS, _STDOUT, _CONFIRMATION, _NEWEST = 4, 5, 8, 10, 11, 12, 13, 15

# How long answers to upload requests are waited for.
_ANSWER_PATIENCE = 5.0


def _minor(release: str) -> int:
    known = {f"0.{minor}": minor for minor in range(_OLDEST, _NEWEST + 1)}
    if release not in known:
        raise ValueError(f"no such release: {release!r}, but {', '.join(known)}")
    return known[release]


class _Replies:
    """One reply a request, over all connections; the last repeats."""

    def __init__(self, replies: Sequence[Reply]) -> None:
        self._lock = threading.Lock()
        self._waiting = deque(replies)  # guarded by _lock

    def next(self) -> Reply:
        with self._lock:
            return self._waiting.popleft() if len(self._waiting) > 1 else self._waiting[0]


class _Cancelled(Exception):  # noqa: N818 - unwinds the request in flight
    pass


class _Generation:
    """One connection of a runtime of release 0.``minor``."""

    def __init__(self, peer: Peer, minor: int, replies: _Replies, linger: float) -> None:
        self._peer = peer
        self._minor = minor
        self._replies = replies
        self._linger = linger
        self._served = False
        self._in_flight = False
        self._ending = False
        self._late: list[str] = []
        self._unanswered: set[str] = set()
        self._reactions: dict[type, Callable[[Any], None]] = {
            m.InvocationMessage: self._on_request,
            m.CommandExecutionMessage: self._on_request,
            m.ArtifactUploadResponseMessageInterface: self._on_upload_response,
            m.CancelMessage: self._on_cancel,
            m.EndSessionMessage: self._on_end_session,
        }

    def live(self) -> None:
        while True:
            self._hear(None)

    def _hear(self, timeout: Optional[float]) -> bool:
        """React to the next message; False if none came in time."""
        try:
            message = self._peer._next(timeout)
        except ProtocolError:
            self._on_nonsense()
            return True
        if message is None:
            return False
        reaction = self._reactions.get(type(message))
        if reaction:
            reaction(message)
        else:
            self._on_nonsense()
        return True

    def _hear_for(self, seconds: float, enough: Callable[[], bool] = lambda: False) -> None:
        deadline = time.monotonic() + seconds
        while not enough() and self._hear(max(0.0, deadline - time.monotonic())):
            pass

    def _on_nonsense(self) -> None:
        if self._minor < _SESSIONS and not self._served:
            self._say_error("Invalid message")

    def _on_request(self, request: Union[m.InvocationMessage, m.CommandExecutionMessage]) -> None:
        if self._in_flight or (self._served and self._minor < _SESSIONS):
            self._say_error("A request was received already")
        elif isinstance(request, m.CommandExecutionMessage) and self._minor < _COMMANDS:
            self._say_error("Unknown message type: command_execution_message")
        else:
            self._served = True
            self._run(request)
            self._after_request()

    def _run(self, request: Union[m.InvocationMessage, m.CommandExecutionMessage]) -> None:
        self._in_flight = True
        try:
            self._answer(request, self._replies.next())
        except _Cancelled:
            self._say_error("Request cancelled")
        finally:
            self._in_flight = False

    def _after_request(self) -> None:
        if self._minor < _SESSIONS:
            self._hear_for(self._linger)
            self._peer.close_empty()
        elif self._ending:
            self._drain()

    def _answer(self, request: Union[m.InvocationMessage, m.CommandExecutionMessage], reply: Reply) -> None:
        for message in reply.messages:
            self._hear_for(0)
            self._peer.send(message)
        self._ask_for(reply.artifacts)
        while reply.hangs:
            self._hear(None)
        self._conclude(self._outcome(request, reply), reply)

    def _outcome(self, request: object, reply: Reply) -> dict[str, Any]:
        error = reply.error
        if self._minor >= _SESSIONS:
            error = error or reply.post_agent_error
        if error:
            return _error_message(error, reply.metadata)
        if isinstance(request, m.CommandExecutionMessage):
            return self._command_outcome(request, reply)
        return self._result(reply)

    def _result(self, reply: Reply) -> dict[str, Any]:
        kind = "text" if isinstance(reply.result, str) else "structured_output"
        shape = {"type": kind, kind: reply.result}
        body = {"structured_output": reply.result} if self._minor < _DATA else {"data": shape}
        return _without_none({"message_type": "result_message", "metadata": reply.metadata, **body})

    def _command_outcome(self, request: m.CommandExecutionMessage, reply: Reply) -> dict[str, Any]:
        ended = reply.command_results or [
            m.CommandResultItem(command=command.command, exit_code=0) for command in request.commands
        ]
        failed = next((number for number, item in enumerate(ended) if item.exit_code), None)
        if failed is not None and self._minor < _EXIT_CODES:
            return _error_message(f"command failed with exit code: {ended[failed].exit_code}", reply.metadata)
        ran = ended if failed is None else ended[: failed + 1]
        return {"message_type": "command_execution_result_message", "results": [self._command_item(i) for i in ran]}

    def _command_item(self, item: m.CommandResultItem) -> dict[str, Any]:
        stdout = item.stdout if self._minor >= _STDOUT else None
        return _without_none({"command": item.command, "exit_code": item.exit_code, "stdout": stdout})

    def _conclude(self, outcome: dict[str, Any], reply: Reply) -> None:
        self._hear_for(0)
        self._peer.send(outcome)
        self._late += reply.late_artifacts
        if self._minor < _SESSIONS:
            self._upload_late()
            if reply.post_agent_error and not reply.error:
                self._say_error(reply.post_agent_error)

    def _upload_late(self) -> None:
        late, self._late = self._late, []
        self._ask_for(late)
        self._hear_for(_ANSWER_PATIENCE, lambda: not self._unanswered)

    def _ask_for(self, paths: Iterable[str]) -> None:
        for path in paths:
            self._unanswered.add(path)
            name = path.rpartition("/")[2]
            self._peer.send(m.ArtifactUploadRequestMessageInterface(filename=name, filepath=path))

    def _on_upload_response(self, response: m.ArtifactUploadResponseMessageInterface) -> None:
        self._unanswered.discard(response.filepath)

    def _on_cancel(self, _: m.CancelMessage) -> None:
        if self._minor < _SESSIONS:
            self._peer.close_empty()
        elif self._in_flight:
            raise _Cancelled

    def _on_end_session(self, _: m.EndSessionMessage) -> None:
        if self._minor < _SESSIONS:
            self._on_nonsense()
            return
        self._ending = True
        if not self._in_flight:
            self._drain()

    def _drain(self) -> None:
        self._upload_late()
        if self._minor >= _CONFIRMATION:
            self._peer.send(m.EndSessionConfirmMessage())
        self._peer.close_empty()

    def _say_error(self, error: str) -> None:
        self._peer.send(_error_message(error, None))


def _error_message(error: str, metadata: Optional[dict[str, Any]]) -> dict[str, Any]:
    return _without_none({"message_type": "error_message", "error": error, "metadata": metadata})


def _without_none(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
