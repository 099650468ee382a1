"""The least that Python can do: one thread, a raw socket, frames split, JSON parsed, the callback called. No classes.

No cancellation, no timeouts, no checks, no pings, no masking (the key is zero).
"""

from __future__ import annotations

import base64
import json
import os
import socket
import ssl
import struct
from collections.abc import Iterator
from typing import Any, Callable
from urllib.parse import urlsplit

from .measuring import Sample, Seen, Watch, check, round_trips

try:
    import orjson
except ImportError:
    _loads: Callable[[Any], Any] = json.loads
else:
    _loads = orjson.loads

_READ_SIZE = 256 * 1024
_REQUEST = {"message_type": "invocation_message", "system_prompt": "", "user_prompt": "go", "secrets_to_redact": []}

Callback = Callable[[dict[str, Any]], Any]


def _connect(url: str) -> socket.socket:
    parts = urlsplit(url)
    sock = socket.create_connection((parts.hostname, parts.port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if parts.scheme == "wss":
        sock = ssl.create_default_context().wrap_socket(sock, server_hostname=parts.hostname)
    key = base64.b64encode(os.urandom(16)).decode()
    sock.sendall(
        f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
    )
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += sock.recv(4096)
    return sock


def _frame(opcode: int, payload: bytes) -> bytes:
    size = len(payload)
    header = bytes([0x80 | opcode, 0x80 | size]) if size < 126 else struct.pack("!BBH", 0x80 | opcode, 0xFE, size)
    return header + b"\0\0\0\0" + payload


def _send(sock: socket.socket, message: dict[str, Any]) -> None:
    sock.sendall(_frame(1, json.dumps(message).encode()))


def _payloads(sock: socket.socket) -> Iterator[Any]:
    data, position = b"", 0
    while True:
        end, missing = len(data), 0
        while position + 2 <= end:
            size, start = data[position + 1], position + 2
            if size >= 126:
                width, code = (2, "!H") if size == 126 else (8, "!Q")
                if start + width > end:
                    break
                (size,) = struct.unpack_from(code, data, start)
                start += width
            if start + size > end:
                missing = start + size - end
                break
            yield data[start : start + size]
            position = start + size
        if missing > _READ_SIZE:
            yield _read_rest(sock, data[start:], missing)
            data = sock.recv(_READ_SIZE)
        else:
            data = data[position:] + sock.recv(_READ_SIZE)
        position = 0


def _read_rest(sock: socket.socket, data: bytes, missing: int) -> bytearray:
    """Of a large frame: straight into its place."""
    payload = bytearray(len(data) + missing)
    payload[: len(data)] = data
    view = memoryview(payload)[len(data) :]
    while view:
        view = view[sock.recv_into(view) :]
    return payload


def _query(url: str, callbacks: dict[str, Callback]) -> Any:
    """One call: connect, ask, hand out the messages, return the result, close."""
    with _connect(url) as sock:
        _send(sock, _REQUEST)
        find = callbacks.get
        for payload in _payloads(sock):
            message = _loads(payload)
            kind = message["message_type"]
            callback = find(kind)
            if callback is not None:
                answer = callback(message)
                if answer is not None:
                    _send(sock, answer)
            elif kind == "result_message":
                sock.sendall(_frame(8, b""))
                return message
        raise AssertionError("unreachable: the payloads do not end")


def _collecting(seen: Seen) -> dict[str, Callback]:
    note, look = seen.note, seen.look

    def on_output(message: dict[str, Any]) -> None:
        note(look(message["text"]))

    def on_assistant(message: dict[str, Any]) -> None:
        note(look(message["text_blocks"][0]))

    return {"command_output_message": on_output, "assistant_message": on_assistant}


def stream(url: str) -> Sample:
    seen = Seen()
    callbacks = _collecting(seen)
    with Watch() as watch:
        answer = _query(url, callbacks)
    seen.check(answer["metadata"])
    return watch.sample()


def result(url: str) -> Sample:
    with Watch() as watch:
        answer = _query(url, {})
    check([answer["data"]["text"]], answer["metadata"])
    return watch.sample()


def one_shot(url: str, calls: int) -> Sample:
    callbacks = _collecting(Seen())
    with Watch() as watch:
        for _ in range(calls):
            answer = _query(url, callbacks)
    check([], answer["metadata"])
    return watch.sample()


def artifacts(url: str) -> Sample:
    urls: list[str] = []

    def on_artifact(request: dict[str, Any]) -> dict[str, Any]:
        urls.append(f"https://storage.example.com/{request['filename']}")
        return {
            "message_type": "artifact_upload_response_message",
            "filename": request["filename"],
            "filepath": request["filepath"],
            "presigned_url": urls[-1],
            "content_type": "text/csv",
        }

    with Watch() as watch:
        answer = _query(url, {"artifact_upload_request_message": on_artifact})
    check(urls, answer["metadata"])
    return watch.sample(**round_trips(answer["metadata"]))
