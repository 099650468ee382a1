"""One client's socket, and the thread that reads, writes and closes it, and never waits for the client.

The messages of a client that does not read for a while must still be read, above all a cancellation. So a thread that
has a message for the client puts it into a queue, and waits there while the queue is full; this thread does not wait.
"""

from __future__ import annotations

import logging
import selectors
import socket
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Callable, Optional, Protocol

from ..._common.wakeup import Waker
from .framing import Framing, Received
from .outgoing import Outgoing

logger = logging.getLogger(__name__)

# Seconds for the opening handshake.
OPEN_TIMEOUT = 10.0

# Seconds for the closing handshake, in which the client may still read the queued messages.
CLOSE_TIMEOUT = 2.0

_READ_SIZE = 64 * 1024

# TCP keepalive: seconds of silence before the first probe, and between two probes; after four without an answer the
# connection is lost. A machine that is gone is noticed in two minutes; with the system's defaults it takes hours.
_KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}

# Writing to a client that is gone must raise, even if the host program has SIGPIPE at its default, which kills it.
_NO_SIGNAL = getattr(socket, "MSG_NOSIGNAL", 0)

# poll needs no descriptor of its own.
Selector = getattr(selectors, "PollSelector", selectors.SelectSelector)

Question = Callable[[], bool]


def _always() -> bool:
    return True


class Served(Protocol):
    """The interface of a connection to its session, used after the handshake, on the connection's thread."""

    def take(self, message: Received) -> None:
        """Process a message. Must not block."""

    def tick(self) -> Optional[float]:
        """Do what is due; return the seconds until the next time, None if there is none. Must not block."""

    def cancel(self) -> None:
        """Cancel the work, since the connection is closing. Must not block."""

    def end(self) -> None:
        """Wait for the work to end, after the connection is closed."""


class Connection:
    """A connection. ``run`` is its thread's function; the methods that send and close may be called by any thread."""

    def __init__(self, client: socket.socket, framing: Framing, serve: Callable[[Connection], Served]) -> None:
        self._socket = client
        self._serve = serve
        self._served: Optional[Served] = None
        self._waker = Waker()
        # Guards what follows; notified when there is room in the queue, or when waiting for it has become pointless.
        self._changed = threading.Condition()
        self._framing = framing
        self._outgoing = Outgoing()
        # Whether nothing is written after what is queued.
        self._ends_with_queue = False
        self._deadline: Optional[float] = time.monotonic() + OPEN_TIMEOUT
        self._is_closing = False
        self._thread_id: Optional[int] = None

    # --- any thread ----------------------------------------------------------------------------------

    def send(self, payload: bytes, is_wanted: Question = _always, claim: Question = _always) -> bool:
        """Queue a message as soon as there is room.

        Args:
            payload: the message.
            is_wanted: while it is False, nobody waits; asked again at each ``nudge``.
            claim: asked once, when the message is about to join the queue, and before any other can. Both must not
                wait: they are asked with the queue locked.

        Returns:
            Whether it was wanted to the end. It is dropped if the connection is closing, which is no concern of
            whoever sends it.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._outgoing.has_room or not self._framing.is_open or not is_wanted())
            if not (is_wanted() and claim()):
                return False
            self._queue(payload, is_reply=False)
            return True

    def reply(self, payload: bytes, claim: Question = _always) -> None:
        """Queue an answer to a message of the client, even if there is no room. Never waits."""
        with self._changed:
            if claim():
                self._queue(payload, is_reply=True)

    def offer(self, payload: bytes, is_wanted: Question) -> None:
        """Queue a message if there is room, else drop it. Never waits."""
        with self._changed:
            if self._outgoing.has_room and is_wanted():
                self._queue(payload, is_reply=False)

    def close(self, code: Optional[int]) -> None:
        """Begin to close, with ``code`` or an empty Close frame; what is queued goes out first. Never waits."""
        with self._changed:
            if self._framing.is_open:
                self._framing.close(code)
                self._collect(is_reply=True)
            elif not self._framing.is_ending:
                self._deadline = time.monotonic()
            self._changed.notify_all()
        self._waker.wake()

    def nudge(self) -> None:
        """Make all waiting threads check their conditions, and this connection's thread call ``tick``. Never waits."""
        with self._changed:
            self._changed.notify_all()
        self._waker.wake()

    def _queue(self, payload: bytes, *, is_reply: bool) -> None:
        if self._framing.is_open:
            self._framing.send(payload)
            self._collect(is_reply=is_reply)

    def _collect(self, *, is_reply: bool) -> None:
        chunks = self._framing.to_send()
        data = b"".join(chunks)
        if data:
            # While something is queued, the thread waits for the socket to take it.
            if not self._outgoing and threading.get_ident() != self._thread_id:
                self._waker.wake()
            self._outgoing.add(data, is_reply=is_reply)
        # An empty chunk means: shut down writing.
        self._ends_with_queue |= b"" in chunks

    # --- the connection's thread ---------------------------------------------------------------------

    def run(self) -> None:
        """Serve the client until the connection is closed, by either side; then end what is left of its work."""
        self._thread_id = threading.get_ident()
        try:
            self._waker.open()
            self._set_up()
            with Selector() as selector:
                self._loop(selector)
        except OSError:  # the client is gone, or there is no descriptor left for it
            pass
        except Exception as error:  # noqa: BLE001 - a safety net: no thread of a connection ends with a traceback
            _log_origin(error)
        finally:
            self._shut()

    def _set_up(self) -> None:
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE.items():
            if hasattr(socket, name):
                self._socket.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

    def _loop(self, selector: selectors.BaseSelector) -> None:
        selector.register(self._waker, selectors.EVENT_READ)
        selector.register(self._socket, selectors.EVENT_READ)
        patience = self._step()
        while not self._is_over():
            selector.modify(self._socket, self._interest())
            ready = {key.fileobj: events for key, events in selector.select(patience)}
            if self._waker in ready:
                self._waker.clear()
            if ready.get(self._socket, 0) & selectors.EVENT_READ:
                self._read()
            self._write()
            patience = self._step()

    def _is_over(self) -> bool:
        with self._changed:
            return self._framing.is_over or (self._deadline is not None and time.monotonic() >= self._deadline)

    def _interest(self) -> int:
        """The events to wait for. Never none: if there is no room for replies, there is something to write."""
        with self._changed:
            reads = selectors.EVENT_READ if self._outgoing.has_room_for_replies else 0
            return reads | (selectors.EVENT_WRITE if self._outgoing else 0)

    def _read(self) -> None:
        try:
            data = self._socket.recv(_READ_SIZE)
        except BlockingIOError:
            return
        with self._changed:
            messages = self._framing.receive(data)
            self._collect(is_reply=True)
            is_open = self._framing.is_open
        if is_open and self._served is None:
            self._deadline = None
            self._served = self._serve(self)
        if self._served:
            with self._safety_net():
                for message in messages:
                    self._served.take(message)

    def _write(self) -> None:
        with self._changed:
            data = self._outgoing.head() if self._outgoing else b""
        sent = 0
        if data:
            with suppress(BlockingIOError):
                sent = self._socket.send(data, _NO_SIGNAL)
        with self._changed:
            self._outgoing.remove(sent)
            self._changed.notify_all()
            if self._ends_with_queue and not self._outgoing:
                self._ends_with_queue = False
                self._socket.shutdown(socket.SHUT_WR)

    def _step(self) -> Optional[float]:
        """Do what it is time for; how many seconds there are until the next time."""
        pause = None
        if self._served:
            with self._safety_net():
                pause = self._served.tick()
        if self._begins_to_close() and self._served:
            self._served.cancel()
        waits = [pause, None if self._deadline is None else self._deadline - time.monotonic()]
        return min((max(0.0, seconds) for seconds in waits if seconds is not None), default=None)

    def _begins_to_close(self) -> bool:
        """Whether closing has begun since the last call; if so, start the time limit for it."""
        with self._changed:
            if self._is_closing or not self._framing.is_ending:
                return False
            self._is_closing = True
            self._deadline = time.monotonic() + CLOSE_TIMEOUT
            return True

    @contextmanager
    def _safety_net(self) -> Iterator[None]:
        """Close the connection after an unexpected exception (a bug here), and log where it was raised."""
        try:
            yield
        except Exception as error:  # noqa: BLE001
            _log_origin(error)
            with self._changed:
                self._framing.fail()
                self._collect(is_reply=True)

    def _shut(self) -> None:
        with self._changed:
            self._framing.receive(b"")
            self._changed.notify_all()
        self._waker.close()
        self._socket.close()
        if self._served:
            self._served.cancel()
            self._served.end()


def _log_origin(error: Exception) -> None:
    """Log the traceback of ``error``, a bug here, without its text, which may quote a client."""
    where = "".join(traceback.format_tb(error.__traceback__))
    logger.error("serving a connection raised %s\n%s", type(error).__name__, where)
