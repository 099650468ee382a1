"""A TCP proxy that does to a connection what networks do: at a place that a test names, and nowhere else.

>>> from runtimeuse_sync.testing import ScriptedRuntime, generation
>>> with ScriptedRuntime(generation("0.15")) as runtime:
...     with HostileProxy(runtime.url, Fault(Place(DOWN, "result_message"), reset)) as proxy:
...         Client(proxy.url).query("hello", QueryOptions(system_prompt=""))
Traceback (most recent call last):
...
runtimeuse_sync.exceptions.ConnectionLostError: connection lost before the result: connection reset by peer (code 1006)
"""

from __future__ import annotations

import json
import selectors
import socket
import struct
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from typing import Callable, Optional, Union

import attrs

UP, DOWN = "up", "down"  # to the runtime, to the client
_CHUNK = 64 * 1024
# How much waits to be written before the proxy stops reading, in pieces.
_FULL = 64
_CONTROL = {8: "close", 9: "ping", 10: "pong"}


# --- where ------------------------------------------------------------------------------------------


@attrs.frozen
class Place:
    """The point at which ``fraction`` of the ``count``-th ``unit`` has passed, or ``offset`` bytes of all.

    A unit is a message, by its type; a control frame (``close``); the ``head`` of the handshake; a TLS
    ``record``. The unit ``connect`` is before all else.
    """

    way: str
    unit: str = ""
    count: int = 1
    fraction: float = 0.5
    offset: Optional[int] = None

    def cut(self, unit: str, count: int, size: int, begin: int) -> Optional[int]:
        """How much of a unit passes if this place is in it: one of ``size`` bytes that begins at ``begin``."""
        if self.offset is not None:
            return self.offset - begin if begin <= self.offset < begin + size else None
        return round(size * self.fraction) if (unit, count) == (self.unit, self.count) else None


class Units:
    """Cuts one direction's bytes into units."""

    def __init__(self, *, tls: bool = False) -> None:
        self._rest = b""
        self._next = self._record if tls else self._head

    def feed(self, data: bytes) -> Iterator[tuple[str, bytes]]:
        """The units that ``data`` completes, each with its name."""
        self._rest += data
        while True:
            name, size = self._next()
            if not name:
                return
            unit, self._rest = self._rest[:size], self._rest[size:]
            yield name, unit

    def _record(self) -> tuple[str, int]:
        size = 5 + int.from_bytes(self._rest[3:5], "big")
        return ("record", size) if 5 <= size <= len(self._rest) else ("", 0)

    def _head(self) -> tuple[str, int]:
        size = self._rest.find(b"\r\n\r\n") + 4
        if size < 4:
            return "", 0
        is_refusal = self._rest.startswith(b"HTTP/") and b" 101 " not in self._rest[:size]
        self._next = self._body if is_refusal else self._frame
        return "head", size

    def _body(self) -> tuple[str, int]:
        return ("body" if self._rest else ""), len(self._rest)

    def _frame(self) -> tuple[str, int]:
        start, size = _measure(self._rest)
        if len(self._rest) < 2 or len(self._rest) < start + size:
            return "", 0
        opcode = self._rest[0] & 0x0F
        return _CONTROL.get(opcode) or _kind(payload_of(self._rest[: start + size])), start + size


def _measure(frame: bytes) -> tuple[int, int]:
    """The length of a frame's header, and that of its payload."""
    length = frame[1] & 0x7F if len(frame) > 1 else 0
    wide = {126: 2, 127: 8}.get(length, 0)
    size = int.from_bytes(frame[2 : 2 + wide], "big") if wide else length
    return 2 + wide + (4 if frame[1:2] >= b"\x80" else 0), size


def payload_of(frame: bytes) -> bytes:
    """The payload of a whole frame, unmasked."""
    start, size = _measure(frame)
    payload = frame[start : start + size]
    if frame[1] & 0x80:
        key = frame[start - 4 : start]
        payload = bytes(byte ^ key[position % 4] for position, byte in enumerate(payload))
    return payload


def _kind(payload: bytes) -> str:
    return str(json.loads(payload)["message_type"])


# --- what -------------------------------------------------------------------------------------------

Act = Callable[["Link", "Way"], None]
Piece = Union[bytes, float, Act]  # to be sent, to be waited, to be done
Manner = Callable[[bytes], Iterable[Piece]]


@attrs.frozen
class Fault:
    """Something that happens at a place: ``act``, or a ``change`` of the bytes of the unit there."""

    place: Place
    act: Optional[Act] = None
    change: Callable[[bytes, int], bytes] = lambda unit, cut: unit


def reset(link: Link, way: Way) -> None:
    """RST to both sides."""
    link.reset()


def half_close(link: Link, way: Way) -> None:
    """FIN in this direction; what still comes in it is lost."""
    way.finish()


def stall(link: Link, way: Way) -> None:
    """Nothing passes in this direction any more."""
    way.is_stalled = True


def stall_both(link: Link, way: Way) -> None:
    """Nothing passes any more."""
    for each in link.ways:
        each.is_stalled = True


def stall_up(link: Link, way: Way) -> None:
    """Nothing passes to the runtime any more."""
    link.ways[0].is_stalled = True


def delay(seconds: float) -> Act:
    """What comes in this direction comes later."""

    def act(link: Link, way: Way) -> None:
        way.not_before = time.monotonic() + seconds

    return act


def split(link: Link, way: Way) -> None:
    """From here on, each byte comes alone."""
    way.manner = bytewise
    way.respread()


def join(link: Link, way: Way) -> None:
    """From here on, what comes within a while comes at once."""
    way.joins = True
    way.respread()


def bytewise(data: bytes) -> Iterator[Piece]:
    """Each byte alone."""
    return (data[position : position + 1] for position in range(len(data)))


# --- the proxy --------------------------------------------------------------------------------------


class Way:
    """One direction of a connection."""

    JOIN_WINDOW = 0.03

    def __init__(self, name: str, source: socket.socket, target: socket.socket, proxy: HostileProxy) -> None:
        self.name = name
        self.source = source
        self.manner: Manner = lambda data: (data,)
        self.joins = False
        self.is_stalled = False
        self.is_finished = False  # FIN sent
        self.has_ended = False  # FIN received
        self.not_before = 0.0
        self._target = target
        self._proxy = proxy
        self._units = Units(tls=proxy.tls)
        self._count: Counter[str] = Counter()
        self._queue: deque[Piece] = deque()
        self._begin = 0  # bytes queued so far

    @property
    def wants_read(self) -> bool:
        return not self.has_ended and not self.is_stalled and len(self._queue) < _FULL

    @property
    def wants_write(self) -> bool:
        return bool(self._queue) and not self.is_stalled and self.not_before <= time.monotonic()

    def pause(self) -> float:
        """Seconds until there is something to do without anything coming."""
        return self.not_before - time.monotonic() if self._queue and not self.is_stalled else 60.0

    def read(self) -> None:
        try:
            data = self.source.recv(_CHUNK)
        except BlockingIOError:
            return
        if not data:
            self.has_ended = True
            self._queue.append(half_close)
        elif not self.is_finished:
            for name, unit in self._units.feed(data):
                self._take(name, unit)

    def _take(self, name: str, unit: bytes) -> None:
        self._count[name] += 1
        fault = self._proxy.fault
        cut = fault.place.cut(name, self._count[name], len(unit), self._begin) if self._is_at(fault) else None
        self._begin += len(unit)
        if fault is None or cut is None:
            self._spread(unit)
            return
        unit = fault.change(unit, cut)
        self._spread(unit[:cut])
        self._queue.append(self._proxy.strike)
        self._spread(unit[cut:])

    def _is_at(self, fault: Optional[Fault]) -> bool:
        return fault is not None and fault.place.way == self.name and not self._proxy.struck.is_set()

    def _spread(self, data: bytes) -> None:
        if self.joins and not self._queue:
            self.not_before = time.monotonic() + self.JOIN_WINDOW
        self._queue.extend(self.manner(data))

    def respread(self) -> None:
        """Cut what is queued anew."""
        waiting, self._queue = self._queue, deque()
        for piece in waiting:
            self._spread(piece) if isinstance(piece, bytes) else self._queue.append(piece)

    def write(self, link: Link) -> None:
        """Send and do what is due."""
        while self.wants_write and not link.is_closed:
            piece = self._next()
            if isinstance(piece, bytes):
                if not self._send(piece):
                    return
            elif isinstance(piece, float):
                self.not_before = time.monotonic() + piece
            else:
                piece(link, self)

    def _next(self) -> Piece:
        piece = self._queue.popleft()
        if self.joins and isinstance(piece, bytes):
            while self._queue and isinstance(self._queue[0], bytes):
                piece += self._queue.popleft()
        return piece

    def _send(self, piece: bytes) -> bool:
        """Whether all of it went; what did not is queued again."""
        if self.is_finished:
            return True
        try:
            sent = self._target.send(piece)
        except BlockingIOError:
            sent = 0
        self._proxy.passed[self.name] += piece[:sent]
        if sent < len(piece):
            self._queue.appendleft(piece[sent:])
        return sent == len(piece)

    def finish(self) -> None:
        if not self.is_finished:
            self.is_finished = True
            self._target.shutdown(socket.SHUT_WR)


class Link:
    """A connection through the proxy."""

    def __init__(self, client: socket.socket, runtime: socket.socket, proxy: HostileProxy) -> None:
        self.ways = (Way(UP, client, runtime, proxy), Way(DOWN, runtime, client, proxy))
        self.is_closed = False
        for sock in (client, runtime):
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def turn(self) -> None:
        """Move what can be moved."""
        try:
            for way in self.ways:
                if way.wants_read:
                    way.read()
                way.write(self)
                if self.is_closed:
                    return
        except OSError:
            self.reset()
        if all(way.is_finished for way in self.ways):
            self.close()

    def reset(self) -> None:
        for way in () if self.is_closed else self.ways:
            way.source.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        self.is_closed = True
        for way in self.ways:
            way.source.close()

    def interests(self) -> Iterator[tuple[socket.socket, int]]:
        up, down = self.ways
        for way, back in ((up, down), (down, up)):
            events = (selectors.EVENT_READ if way.wants_read else 0) | (
                selectors.EVENT_WRITE if back.wants_write else 0
            )
            if events:
                yield way.source, events


class HostileProxy:
    """Listens on a loopback port, and passes on to the URL ``target``, with at most one fault.

    Attributes:
        url (str): where to go instead of to ``target``.
        passed (dict): way -> the bytes that went on.
        struck (Event): set once the fault has happened.
    """

    def __init__(self, target: str, fault: Optional[Fault] = None, *, manner: Optional[Manner] = None) -> None:
        self.fault = fault
        self.tls = target.startswith("wss")
        self.passed = {UP: bytearray(), DOWN: bytearray()}
        self.struck = threading.Event()
        self._target = target
        self._manner = manner
        self._links: list[Link] = []
        self._held: list[socket.socket] = []
        self._is_over = False

    def __enter__(self) -> HostileProxy:
        self._listener = socket.create_server(("127.0.0.1", 0))
        scheme, host, port = self._target.split(":")
        self.url = f"{scheme}:{host}:{self._listener.getsockname()[1]}"
        self._port = int(port)
        self._alarm, self._bell = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="HostileProxy", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        self._bell.send(b"\0")
        self._thread.join(5.0)
        for link in self._links:
            if not link.is_closed:
                link.close()
        for sock in (*self._held, self._listener, self._alarm, self._bell):
            sock.close()

    def strike(self, link: Link, way: Way) -> None:
        """Let the fault happen."""
        assert self.fault is not None
        if self.fault.act is not None:
            self.fault.act(link, way)
        self.struck.set()

    def units(self, way: str) -> list[tuple[str, bytes]]:
        """What has passed whole: names and bytes."""
        return list(Units(tls=self.tls).feed(bytes(self.passed[way])))

    def _run(self) -> None:
        while not self._is_over:
            links = [link for link in self._links if not link.is_closed]
            with selectors.SelectSelector() as selector:
                selector.register(self._listener, selectors.EVENT_READ)
                selector.register(self._alarm, selectors.EVENT_READ)
                for link in links:
                    for sock, events in link.interests():
                        selector.register(sock, events)
                pauses = [way.pause() for link in links for way in link.ways]
                ready = {key.fileobj for key, _ in selector.select(max(0.0, min(pauses, default=60.0)))}
            if self._listener in ready:
                self._accept(self._listener.accept()[0])
            for link in links:
                link.turn()

    def _accept(self, client: socket.socket) -> None:
        if self.fault is not None and self.fault.place.unit == "connect" and not self.struck.is_set():
            self._meet(client, self.fault)
            self.struck.set()
        else:
            self._connect(client)

    def _meet(self, client: socket.socket, fault: Fault) -> None:
        """The fault is that of a connection that has only just come about."""
        if fault.act is reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
        elif fault.act is half_close:
            client.shutdown(socket.SHUT_WR)
            self._held.append(client)
        elif fault.act in (stall, stall_both):
            self._held.append(client)
        else:
            link = self._connect(client)
            assert fault.act is not None
            for way in link.ways:
                fault.act(link, way)

    def _connect(self, client: socket.socket) -> Link:
        link = Link(client, socket.create_connection(("127.0.0.1", self._port), 5.0), self)
        if self._manner is not None:
            for way in link.ways:
                way.manner = self._manner
        self._links.append(link)
        return link
