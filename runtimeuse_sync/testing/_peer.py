"""``Peer``: the runtime's side of one connection, as a script sees it."""

from __future__ import annotations

import difflib
import json
import pprint
import queue
import struct
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Callable, Optional, TypeVar, Union

import attrs
from websockets.http11 import Request
from websockets.server import ServerProtocol

from .. import messages as m
from .._protocol import codec
from ..exceptions import ProtocolError
from ._loop import Disconnected, Loop

if TYPE_CHECKING:
    from ._link import Link
    from ._server import ScriptedRuntime

MessageT = TypeVar("MessageT")
Received = Union[m.ClientMessage, codec.UnknownMessage]
Script = Callable[["Peer"], object]

# How many messages the loop is handed at once: it has pings to answer in between.
_BATCH = 1000

# Seconds that a client may take for its half of a closing handshake, and that it may leave data unread.
_CLOSE_PATIENCE = 5.0
_STALL_PATIENCE = 30.0

_HIDDEN = "differs; not shown, as it may hold secrets"


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

    def __init__(self, runtime: ScriptedRuntime, loop: Loop, link: Link, request: Request) -> None:
        self.path = request.path
        self.request_headers: Mapping[str, str] = request.headers
        self._runtime = runtime
        self._loop = loop
        self._link = link
        self._inbox: queue.Queue[Union[Received, ProtocolError, None]] = (
            queue.Queue()
        )  # SimpleQueue.get may overstay its timeout
        self._pongs: dict[bytes, threading.Event] = {}
        self._gone = threading.Event()
        self._closed = threading.Event()
        self._flushed = threading.Event()
        self._how_it_left = "is still there"

    # What the loop reports.

    def _on_payload(self, payload: bytes) -> None:
        try:
            message = codec.decode_client_message(payload)
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

        >>> def script(peer):
        ...     peer.expect(InvocationMessage, user_prompt="Tidy up.")
        ...     peer.expect(CancelMessage)
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
    return codec.encode(message)


def _check_fields(message_class: type, fields: Iterable[str]) -> None:
    known = {field.name for field in attrs.fields(message_class)}
    for name in fields:
        if name not in known:
            raise TypeError(f"{message_class.__name__} has no field {name!r}, but {sorted(known)}")


def _difference(message: Any, expected: Mapping[str, Any]) -> str:
    fields = attrs.fields_dict(type(message))
    lines: list[str] = []
    for name, value in expected.items():
        actual = getattr(message, name)
        if actual == value:
            continue
        lines.append(f"{name}:")
        lines += _compare(value, actual) if fields[name].repr else [f"  {_HIDDEN}"]
    return "\n".join(lines)


def _compare(expected: Any, actual: Any) -> list[str]:
    before, after = (pprint.pformat(value).splitlines() for value in (expected, actual))
    shown = difflib.ndiff(before, after) if before != after else ()
    hidden = (f"{path} {_HIDDEN}" for path in _hidden_differences("", expected, actual))
    return ["  " + line.rstrip("\n") for line in (*shown, *hidden)]


def _hidden_differences(path: str, expected: Any, actual: Any) -> Iterator[str]:
    """Where in two values, item by item, fields differ that are in no ``repr``."""
    if isinstance(expected, list) and isinstance(actual, list):
        for number, pair in enumerate(zip(expected, actual)):
            yield from _hidden_differences(f"{path}[{number}]", *pair)
    elif attrs.has(type(expected)) and type(expected) is type(actual):
        for field in attrs.fields(type(expected)):
            if not field.repr and getattr(expected, field.name) != getattr(actual, field.name):
                yield f"{path}.{field.name}"
