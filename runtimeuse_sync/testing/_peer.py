"""``Peer``: the runtime's side of one connection, as a script sees it."""

from __future__ import annotations

import json
import queue
import struct
import time
from collections.abc import Mapping
from typing import Any, Callable, Optional, TypeVar

from websockets.http11 import Request
from websockets.server import ServerProtocol

from .._protocol import codec
from ..exceptions import ProtocolError
from ._comparison import check_fields, difference
from ._link import Link
from ._loop import Disconnected, Loop
from ._mailbox import Received

MessageT = TypeVar("MessageT")
Script = Callable[["Peer"], object]

# Messages that the loop is handed at once. Between two batches it answers pings and serves other connections.
_BATCH = 1000

# Seconds that a client has to answer a Close frame, and to go on reading.
_CLOSE_PATIENCE = 5.0
_STALL_PATIENCE = 30.0


class NothingCame(AssertionError):  # noqa: N818 - a failed expectation
    """The client sent nothing in time."""


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

    def __init__(self, loop: Loop, link: Link, request: Request) -> None:
        self.path = request.path
        self.request_headers: Mapping[str, str] = request.headers
        self._loop = loop
        self._link = link
        self._mailbox = link.mailbox

    # Sending.

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
        if not self._mailbox.flushed.wait(_STALL_PATIENCE):
            raise AssertionError(f"the client did not read for {_STALL_PATIENCE:g} s")

    # Receiving.

    def receive(self, timeout: Optional[float] = 5.0) -> Received:
        """The next message of the client.

        Args:
            timeout: seconds to wait; None waits until the client leaves. Default 5.

        Raises:
            AssertionError: nothing came in time.
            ProtocolError: what came is no message.
            Disconnected: the client has left.
        """
        try:
            return self._mailbox.get(timeout)
        except queue.Empty:
            raise NothingCame(f"expected a message within {timeout:g} s, but nothing came") from None

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
        check_fields(message_class, fields)
        name = message_class.__name__
        try:
            message = self.receive(timeout)
        except NothingCame:
            raise AssertionError(f"expected {name} within {timeout:g} s, but nothing came") from None
        except Disconnected:
            raise AssertionError(f"expected {name}, but the client {self._mailbox.how_it_left}") from None
        except ProtocolError as error:
            raise AssertionError(f"expected {name}, but what came is no message: {error}") from None
        if not isinstance(message, message_class):
            raise AssertionError(f"expected {name}, received {message!r}")
        differs = difference(message, fields)
        if differs:
            raise AssertionError(f"{name} came, but not as expected (- expected, + received):\n{differs}")
        return message

    def ping(self, timeout: float = 5.0) -> None:
        """Send a ping and wait for its pong; raises ``AssertionError`` after ``timeout`` seconds without."""
        payload = struct.pack("!d", time.monotonic())
        pong = self._mailbox.expect_pong(payload)
        self._say([payload], ServerProtocol.send_ping)
        if not pong.wait(timeout):
            raise AssertionError(f"expected a pong within {timeout:g} s, but none came")
        self._mailbox.check_pong(payload)

    def pause(self, seconds: float) -> None:
        """Do nothing for ``seconds``, or until the client leaves."""
        self._mailbox.gone.wait(seconds)

    def silence(self, *, answer_pings: bool = True) -> None:
        """Say nothing until the client leaves.

        Args:
            answer_pings: False for a host that is dead: pings stay unanswered, and what comes is not heard.

        Raises:
            AssertionError: the client was still there after 30 s.
        """
        if not answer_pings:
            self._loop.call(self._be_deaf)
        if not self._mailbox.gone.wait(_STALL_PATIENCE):
            raise AssertionError(f"the client was still there after {_STALL_PATIENCE:g} s")

    def _be_deaf(self) -> None:
        self._link.deaf = True

    # Closing.

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
        self._mailbox.closed.wait(_CLOSE_PATIENCE)
        self._loop.call(lambda: self._link.close("was closed"))


def _encode(message: Any) -> bytes:
    if isinstance(message, dict):
        return json.dumps(message).encode()
    return codec.encode(message)
