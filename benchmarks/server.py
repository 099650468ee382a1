"""The server that all contenders are measured against: a process of its own, which sends what it has prepared.

The path of the URL chooses what happens after the request:

``/stream?kind=output&n=100000&size=200``   so many messages, and the result
``/result?size=52428800``                   a result of that size
``/artifacts?n=3000``                       upload requests, each sent when the last has been answered
``/silent?key=…``                           one message, and then nothing; notes when a cancel_message comes
``/times?key=…``                            plain HTTP: what was noted for that key

The result's metadata says how many messages there were and what their checksum is.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hashlib
import json
import select
import socket
import ssl
import struct
import sys
import threading
import time
from collections import defaultdict
from typing import Any, Optional
from urllib.parse import parse_qs, urlsplit

from .frames import artifact_request, assistant_message, burst, dump, error_message, frame, make_text, result_message
from .frames import checksum as checksum_of

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_THREADS = 256  # as many connections at once; started beforehand, so that no call pays for one
PING, PONG, CLOSE, TEXT = 9, 10, 8, 1
_CONFIRM = frame(dump({"message_type": "end_session_confirm_message"}))
_CANCELLED = frame(dump(error_message("Request cancelled")))
_EMPTY_CLOSE = frame(b"", CLOSE)

_times: defaultdict[str, list[float]] = defaultdict(list)


class ClientLeftError(Exception):
    """The client has closed, or is gone."""


class Peer:
    """One connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._unread = b""
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def read_head(self) -> bytes:
        while b"\r\n\r\n" not in self._unread:
            self.receive()
        head, _, self._unread = self._unread.partition(b"\r\n\r\n")
        return head

    def receive(self) -> None:
        """Wait for more bytes."""
        data = self.sock.recv(65536)
        if not data:
            raise ClientLeftError
        self._unread += data

    def read_message(self) -> dict[str, Any]:
        """The next message; pings and the Close frame are answered on the way."""
        while True:
            message = self.read_frame()
            if message is not None:
                return message

    def read_frame(self) -> Optional[dict[str, Any]]:
        first, size = self._take(2)
        size &= 0x7F
        if size == 126:
            (size,) = struct.unpack("!H", self._take(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", self._take(8))
        key = self._take(4)
        payload = unmask(self._take(size), key)
        opcode = first & 0x0F
        if opcode == CLOSE:
            self.sock.sendall(frame(payload, CLOSE))
            raise ClientLeftError
        if opcode == PING:
            self.sock.sendall(frame(payload, PONG))
        return json.loads(payload) if opcode == TEXT else None

    def _take(self, size: int) -> bytes:
        while len(self._unread) < size:
            self.receive()
        data, self._unread = self._unread[:size], self._unread[size:]
        return data

    def send_block(self, block: bytes) -> None:
        """Send, but answer pings first: a burst may take longer than a client waits for a pong."""
        while select.select([self.sock], [], [], 0)[0]:
            self.read_frame()
        self.sock.sendall(block)

    def linger(self) -> None:
        """Until the client goes; a session is drained if it asks for that."""
        while True:
            message = self.read_message()
            if message["message_type"] == "end_session_message":
                self.sock.sendall(_CONFIRM + _EMPTY_CLOSE)


def unmask(payload: bytes, key: bytes) -> bytes:
    size = len(payload)
    mask = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(mask, "big")).to_bytes(size, "big")


# --- what can be asked for ----------------------------------------------------------------------------


def stream(peer: Peer, query: dict[str, str]) -> None:
    ready = burst(query["kind"], int(query["n"]), int(query["size"]))
    for _ in range(ready.times):
        peer.send_block(ready.block)
    metadata = {"count": ready.count, "checksum": ready.checksum, "lengths": ready.lengths}
    peer.sock.sendall(ready.rest + frame(dump(result_message("done", metadata))))


_results: dict[int, bytes] = {}


def result(peer: Peer, query: dict[str, str]) -> None:
    size = int(query["size"])
    if size not in _results:
        text = make_text("all tests passed, see /srv/app/out/report.html\n", size, 0)
        _results[size] = frame(dump(result_message(text, {"count": 1, "checksum": checksum_of([text])})))
    peer.sock.sendall(_results[size])


def artifacts(peer: Peer, query: dict[str, str]) -> None:
    count = int(query["n"])
    requests = [frame(dump(artifact_request(number))) for number in range(count)]
    times, answers = [], []
    for request in requests:
        start = time.perf_counter()
        peer.sock.sendall(request)
        peer.receive()
        times.append(time.perf_counter() - start)
        answers.append(peer.read_message()["presigned_url"])
    times.sort()
    metadata = {"count": count, "checksum": checksum_of(answers), "p50": times[count // 2], "p99": times[-count // 100]}
    peer.sock.sendall(frame(dump(result_message("done", metadata))))


def silent(peer: Peer, query: dict[str, str]) -> None:
    peer.sock.sendall(frame(dump(assistant_message("ready"))))
    while True:
        message = peer.read_message()
        if message["message_type"] == "cancel_message":
            _times[query.get("key", "")].append(time.monotonic())
            peer.sock.sendall(_CANCELLED)


_SCENES = {"/stream": stream, "/result": result, "/artifacts": artifacts, "/silent": silent}


# --- connections ---------------------------------------------------------------------------------------


def serve(sock: socket.socket) -> None:
    peer = Peer(sock)
    lines = peer.read_head().split(b"\r\n")
    target = urlsplit(lines[0].split()[1].decode())
    query = {name: values[-1] for name, values in parse_qs(target.query).items()}
    if target.path == "/times":
        body = json.dumps(_times.pop(query["key"], [])).encode()
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body))
        return
    sock.sendall(upgrade(lines))
    peer.read_message()
    _SCENES[target.path](peer, query)
    peer.linger()


def upgrade(lines: list[bytes]) -> bytes:
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines[1:])}
    accept = base64.b64encode(hashlib.sha1(headers[b"sec-websocket-key"] + _GUID).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )


def accept_for_ever(listener: socket.socket, context: Optional[ssl.SSLContext]) -> None:
    while True:
        sock, _ = listener.accept()
        with sock, contextlib.suppress(ClientLeftError, OSError):
            if context is None:
                serve(sock)
            else:
                with context.wrap_socket(sock, server_side=True) as secure:
                    serve(secure)


def listen(context: Optional[ssl.SSLContext]) -> int:
    listener = socket.create_server(("127.0.0.1", 0), backlog=_THREADS)
    for _ in range(_THREADS if context is None else 4):
        threading.Thread(target=accept_for_ever, args=(listener, context), daemon=True).start()
    port: int = listener.getsockname()[1]
    return port


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("certificate", help="PEM file with key and chain, for the TLS port")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(parser.parse_args().certificate)
    print(json.dumps({"plain": listen(None), "tls": listen(context)}), flush=True)
    sys.stdin.read()  # until the benchmark is over, or gone


if __name__ == "__main__":
    main()
