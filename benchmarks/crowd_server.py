"""The server of silent calls: a process of its own, one event loop, so that thousands of connections cost it little.

``/crowd?hold=10``   one message at once, so that the caller knows that it is connected and waits; so many seconds
                     later the result

A ``cancel_message`` is answered as runtimes do.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import ssl
import struct
import sys
from typing import Any, Optional
from urllib.parse import parse_qs, urlsplit

from .frames import assistant_message, dump, error_message, frame, result_message
from .server import CLOSE, PING, PONG, TEXT, unmask, upgrade

_READY = frame(dump(assistant_message("ready")))
_RESULT = frame(dump(result_message("done", {"count": 1})))
_CANCELLED = frame(dump(error_message("Request cancelled")))


class Peer(asyncio.Protocol):
    """One connection: the bytes that came, and what they mean."""

    def __init__(self) -> None:
        self._unread = b""
        self._hold: Optional[float] = None  # until the handshake is done
        self._answer: Optional[asyncio.TimerHandle] = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def connection_lost(self, error: Optional[Exception]) -> None:
        self._forget_the_answer()

    def data_received(self, data: bytes) -> None:
        self._unread += data
        if self._hold is None:
            if b"\r\n\r\n" not in self._unread:
                return
            self._shake_hands()
        while (found := split(self._unread)) is not None:
            opcode, payload, self._unread = found
            self._hear(opcode, payload)

    def _shake_hands(self) -> None:
        head, _, self._unread = self._unread.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        self._hold = float(parse_qs(urlsplit(lines[0].split()[1].decode()).query)["hold"][0])
        self._transport.write(upgrade(lines))

    def _hear(self, opcode: int, payload: bytes) -> None:
        if opcode == TEXT:
            self._hear_message(json.loads(payload)["message_type"])
        elif opcode == PING:
            self._transport.write(frame(payload, PONG))
        elif opcode == CLOSE:
            self._transport.write(frame(payload, CLOSE))
            self._transport.close()

    def _hear_message(self, message_type: str) -> None:
        if message_type == "invocation_message":
            self._transport.write(_READY)
            self._answer = asyncio.get_running_loop().call_later(self._hold, self._transport.write, _RESULT)
        elif message_type == "cancel_message":
            self._forget_the_answer()
            self._transport.write(_CANCELLED)

    def _forget_the_answer(self) -> None:
        if self._answer is not None:
            self._answer.cancel()


def split(data: bytes) -> Optional[tuple[int, bytes, bytes]]:
    """The opcode and payload of the first frame, and what is behind it; None if it has not all come."""
    if len(data) < 2:
        return None
    size, start = data[1] & 0x7F, 2
    if size >= 126:
        width, code = (2, "!H") if size == 126 else (8, "!Q")
        if len(data) < start + width:
            return None
        (size,) = struct.unpack_from(code, data, start)
        start += width
    end = start + 4 + size
    if len(data) < end:
        return None
    return data[0] & 0x0F, unmask(data[start + 4 : end], data[start : start + 4]), data[end:]


async def main(certificate: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    loop, ports = asyncio.get_running_loop(), {}
    for name, tls in (("crowd", None), ("crowd_tls", context)):
        listener = await loop.create_server(Peer, "127.0.0.1", 0, ssl=tls, backlog=4096)
        ports[name] = listener.sockets[0].getsockname()[1]
    print(json.dumps(ports), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)  # until the benchmark is over, or gone


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("certificate", help="PEM file with key and chain, for the TLS port")
    # A descriptor for each call: what the clients may have, the server may as well.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(main(parser.parse_args().certificate))
