"""A TCP server for tests that go below what a WebSocket library would send.

>>> def play(conn):
...     conn.accept()
...     conn.send(frame(b"hello")[:-1])  # one byte short
>>> with RawServer(play) as server:
...     server.url.startswith("ws://127.0.0.1:")
True
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import socket
import struct
import threading
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Callable, Optional

# Seconds that a client may take for anything, and a play for its end once it is interrupted.
PATIENCE = 20.0
# Seconds that a play has to finish by itself when the test is over.
GRACE = 5.0
CLOSE = 8
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_MASK = b"\x01\x02\x03\x04"


class ClientLeftError(Exception):
    """The client has left, or the test is over: ends a ``play`` without failing the test."""


def frame(
    payload: bytes, opcode: int = 1, fin: bool = True, mask: bool = False, rsv: int = 0, length: Optional[int] = None
) -> bytes:
    """A frame, legal or not: a server must not mask, ``rsv`` bits must be 0, and ``length`` may promise anything."""
    size = len(payload) if length is None else length
    head = bytes([fin << 7 | rsv << 4 | opcode])
    if size < 126:
        head += bytes([mask << 7 | size])
    elif size < 1 << 16:
        head += struct.pack("!BH", mask << 7 | 126, size)
    else:
        head += struct.pack("!BQ", mask << 7 | 127, size)
    return head + (_MASK + _masked(payload, _MASK) if mask else payload)


def _masked(payload: bytes, key: bytes) -> bytes:
    return bytes(byte ^ key[index % 4] for index, byte in enumerate(payload))


class RawPeer:
    """One connection, seen from the server. Its methods block, for ``PATIENCE`` seconds at most."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.request = b""
        self._unread = b""
        sock.settimeout(PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def read_request(self) -> bytes:
        """The head of the HTTP request, with its empty line."""
        while b"\r\n\r\n" not in self._unread:
            self._unread += self._recv()
        head, _, self._unread = self._unread.partition(b"\r\n\r\n")
        self.request = head + b"\r\n\r\n"
        return self.request

    def accept(self, extra_headers: Iterable[tuple[str, str]] = (), key_override: Optional[str] = None) -> None:
        """Answer 101, after reading the request if need be; ``key_override`` replaces Sec-WebSocket-Accept."""
        request = self.request or self.read_request()
        headers = [
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Accept", key_override or _accept_key(request)),
            *extra_headers,
        ]
        lines = ["HTTP/1.1 101 Switching Protocols", *(f"{name}: {value}" for name, value in headers), "", ""]
        self.send("\r\n".join(lines).encode())

    def send(self, data: bytes) -> None:
        with _client_errors():
            self.sock.sendall(data)

    def trickle(self, data: bytes, delay: float) -> None:
        """Send byte by byte, ``delay`` seconds apart."""
        for position in range(len(data)):
            self.send(data[position : position + 1])
            time.sleep(delay)

    def read_frame(self) -> tuple[int, bytes]:
        """The opcode and the unmasked payload of the next frame; fails if the client did not mask it."""
        first, second = self._read(2)
        assert second & 0x80, "the client did not mask a frame"
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack("!H", self._read(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", self._read(8))
        key = self._read(4)
        return first & 0x0F, _masked(self._read(size), key)

    def wait_closed(self) -> None:
        """Read, and throw away, until the client has closed."""
        give_up = time.monotonic() + PATIENCE
        with contextlib.suppress(ClientLeftError):
            while True:
                assert time.monotonic() < give_up, "the client still sent, when it should have closed"
                self._recv()

    def see_off(self) -> None:
        """Answer the client's Close frame, throwing away what comes before it; the end of the play closes then."""
        opcode, payload = self.read_frame()
        while opcode != CLOSE:
            opcode, payload = self.read_frame()
        self.send(frame(payload, opcode=CLOSE))

    def reset(self) -> None:
        """End with a RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self) -> None:
        """End with a FIN, without a Close frame."""
        self.interrupt()
        self.sock.close()

    def interrupt(self) -> None:
        """Wake whoever is blocked on the socket."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def _read(self, size: int) -> bytes:
        chunks = [self._unread]
        missing = size - len(self._unread)
        while missing > 0:
            chunks.append(self._recv())
            missing -= len(chunks[-1])
        data = b"".join(chunks)
        self._unread = data[size:]
        return data[:size]

    def _recv(self) -> bytes:
        with _client_errors():
            data = self.sock.recv(65536)
        if not data:
            raise ClientLeftError
        return data


def _accept_key(request: bytes) -> str:
    for line in request.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"sec-websocket-key":
            return base64.b64encode(hashlib.sha1(value.strip() + _GUID).digest()).decode()
    raise AssertionError("the client sent no Sec-WebSocket-Key")


@contextlib.contextmanager
def _client_errors() -> Iterator[None]:
    try:
        yield
    except socket.timeout:
        raise AssertionError(f"the client did nothing for {PATIENCE:g} s") from None
    except OSError as error:
        raise ClientLeftError from error


class RawServer:
    """Listens on a loopback port, and plays ``play`` in a thread for each connection.

    What a ``play`` raises is raised at the end of the ``with`` block; if that raises something itself, as a note.
    """

    def __init__(self, play: Callable[[RawPeer], object]) -> None:
        self._play = play
        self._lock = threading.Lock()
        self._failures: list[BaseException] = []  # guarded by _lock
        self._conns: list[tuple[RawPeer, threading.Thread]] = []
        self._over = False

    def __enter__(self) -> RawServer:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"ws://127.0.0.1:{self.port}"
        self._acceptor = threading.Thread(target=self._accept, name="RawServer", daemon=True)
        self._acceptor.start()
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self._over = True
        # Nothing else wakes an accept() on every platform.
        socket.create_connection(("127.0.0.1", self.port)).close()
        self._acceptor.join(PATIENCE)
        self._listener.close()
        for conn, thread in self._conns:
            thread.join(GRACE)
            conn.interrupt()
            thread.join(PATIENCE)
        for failure in self._failures:
            if error is None:
                raise failure
            if hasattr(error, "add_note"):
                error.add_note(f"A play failed as well: {failure!r}")

    def _accept(self) -> None:
        while True:
            conn = RawPeer(self._listener.accept()[0])
            if self._over:
                conn.close()
                return
            name = f"RawServer connection {len(self._conns) + 1}"
            thread = threading.Thread(target=self._run, args=(conn,), name=name, daemon=True)
            self._conns.append((conn, thread))
            thread.start()

    def _run(self, conn: RawPeer) -> None:
        try:
            self._play(conn)
        except ClientLeftError:
            pass
        except BaseException as error:  # noqa: BLE001 - the test gets it
            with self._lock:
                self._failures.append(error)
        finally:
            conn.close()
