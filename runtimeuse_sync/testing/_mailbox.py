"""``Mailbox``: the messages of one client that a script has not read yet, and whether the client is connected."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Callable, Optional, Union

from .. import messages as m
from .._protocol import codec
from ..exceptions import ProtocolError
from ._loop import Disconnected

Received = Union[m.ClientMessage, codec.UnknownMessage]


class Mailbox:
    """Filled by the loop's thread as bytes arrive; the script's thread waits on it.

    Args:
        log: is told of every message, whether a script asks for it or not.

    Attributes:
        gone (Event): the client has closed or dropped the connection, or broken the protocol.
        closed (Event): our socket is closed.
        flushed (Event): all that was said is written.
        how_it_left (str): what the client did last, for error messages.
    """

    def __init__(self, log: Callable[[Received], None]) -> None:
        self._log = log
        # Not a SimpleQueue, whose get() may take longer than its timeout.
        self._items: queue.Queue[Union[Received, ProtocolError, None]] = queue.Queue()
        self._pongs: dict[bytes, threading.Event] = {}
        self.gone = threading.Event()
        self.closed = threading.Event()
        self.flushed = threading.Event()
        self.how_it_left = "is still there"

    # Called by the loop's thread.

    def put_payload(self, payload: bytes) -> None:
        try:
            message = codec.decode_client_message(payload)
        except ProtocolError as error:
            self._items.put(error)
        else:
            self._log(message)
            self._items.put(message)

    def put_fault(self, what: str, why: object) -> None:
        """The client did something wrong, and is not listened to any longer."""
        self._items.put(ProtocolError(f"{what}: {why}"))
        self.mark_leaving(what)

    def put_pong(self, payload: bytes) -> None:
        waiter = self._pongs.pop(payload, None)
        if waiter:
            waiter.set()

    def mark_flushed(self, flushed: bool) -> None:
        if flushed:
            self.flushed.set()
        else:
            self.flushed.clear()

    def mark_leaving(self, how: str) -> None:
        if not self.gone.is_set():
            self.how_it_left = how
            self.gone.set()
            self._items.put(None)
            for waiter in list(self._pongs.values()):
                waiter.set()

    def mark_closed(self, how: str) -> None:
        self.mark_leaving(how)
        self.flushed.set()
        self.closed.set()

    # Called by the script's thread.

    def get(self, timeout: Optional[float]) -> Received:
        """The next message.

        Raises:
            queue.Empty: nothing came within ``timeout`` seconds.
            ProtocolError: what came is no message.
            Disconnected: the client has left.
        """
        item = self._items.get(timeout=timeout)
        if item is None:
            self._items.put(None)  # for the next call, which finds the client gone as well
            raise Disconnected(f"the client {self.how_it_left}")
        if isinstance(item, ProtocolError):
            raise item
        return item

    def expect_pong(self, payload: bytes) -> threading.Event:
        """An event that is set when the pong with this ``payload`` has come, or the client has left."""
        self._pongs[payload] = threading.Event()
        return self._pongs[payload]

    def check_pong(self, payload: bytes) -> None:
        """Raise ``Disconnected`` if the client has left without the pong with this ``payload``."""
        if payload in self._pongs:
            raise Disconnected(f"the client {self.how_it_left}")

    def unread_faults(self) -> Iterator[ProtocolError]:
        """The protocol errors of the client that no script has noticed. To be called at the end."""
        while not self._items.empty():
            item = self._items.get()
            if isinstance(item, ProtocolError):
                yield item
