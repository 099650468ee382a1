"""The listening socket: accepts connections, serves each on a thread of its own, and ends all of them at ``close``."""

from __future__ import annotations

import logging
import selectors
import socket
import threading
import time
from typing import Callable

from ..._common.wakeup import Waker
from .admission import Admission
from .connection import CLOSE_TIMEOUT, Connection, Selector, Served
from .framing import GOING_AWAY, Framing
from .refusing import Refusals

logger = logging.getLogger(__name__)

# Seconds after which connections are taken in again when the system had no descriptor or memory for one. Nothing
# tells when it has: any part of the process may give some back.
_RETRY = 0.05

# Seconds for a session to end its work, once its connection is closed.
_END_TIMEOUT = 3.0

_FULL = "The runtime has as many connections as it takes; try again later.\n"
_EXHAUSTED = "The runtime cannot start a thread for another connection now; try again later.\n"


class Listener:
    """Listens as soon as it is constructed."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        admission: Admission,
        max_connections: int,
        max_message_size: int,
        serve: Callable[[Connection], Served],
    ) -> None:
        self._admission = admission
        self._max_connections = max_connections
        self._max_message_size = max_message_size
        self._serve = serve
        # The accept thread's own until it has ended; those that ended are swept out when another comes.
        self._connections: dict[threading.Thread, Connection] = {}
        self._is_closing = False
        # Whether descriptors or memory were short when a connection came last.
        self._is_short = False
        self._socket = _listen(host, port)
        self.port: int = self._socket.getsockname()[1]
        self._waker = Waker()
        self._thread = threading.Thread(target=self._run, name="runtimeuse-accept", daemon=True)
        try:
            self._waker.open()
            self._thread.start()
        except BaseException:
            self._close_sockets()
            raise

    # --- the accept thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        with Selector() as selector:
            refusals = Refusals(selector)
            selector.register(self._waker, selectors.EVENT_READ)
            selector.register(self._socket, selectors.EVENT_READ)
            while not self._is_closing:
                for key, _ in selector.select(refusals.patience()):
                    self._look(key.fileobj, refusals)
            refusals.close()

    def _look(self, ready: object, refusals: Refusals) -> None:
        if isinstance(ready, socket.socket) and ready in refusals:
            refusals.look(ready)
        elif ready is self._socket:
            try:
                self._accept(refusals)
                self._is_short = False
            except Exception as error:  # noqa: BLE001 - a moment without descriptors or memory passes
                self._wait_for_better_times(error)

    def _wait_for_better_times(self, error: Exception) -> None:
        if not self._is_short:
            logger.warning("a connection could not be taken in (%s); trying again", type(error).__name__)
        self._is_short = True
        time.sleep(_RETRY)

    def _accept(self, refusals: Refusals) -> None:
        try:
            client, _ = self._socket.accept()
        except (BlockingIOError, ConnectionAbortedError):  # gone again
            return
        try:
            self._take_in(client, refusals)
        except BaseException:
            client.close()
            raise

    def _take_in(self, client: socket.socket, refusals: Refusals) -> None:
        self._connections = {thread: c for thread, c in self._connections.items() if thread.is_alive()}
        if len(self._connections) >= self._max_connections:
            refusals.add(client, _FULL)
            return
        connection = Connection(client, Framing(self._admission, self._max_message_size), self._serve)
        thread = threading.Thread(target=connection.run, name="runtimeuse-connection", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            refusals.add(client, _EXHAUSTED)
        else:
            self._connections[thread] = connection

    # --- the end -------------------------------------------------------------------------------------

    def close(self) -> None:
        """Stop listening, and close each connection with code 1001. Takes five seconds at most."""
        self._is_closing = True
        self._waker.wake()
        self._thread.join()
        self._close_sockets()
        connections = tuple(self._connections.items())
        for _, connection in connections:
            connection.close(GOING_AWAY)
        deadline = time.monotonic() + CLOSE_TIMEOUT + _END_TIMEOUT
        for thread, _ in connections:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _close_sockets(self) -> None:
        self._waker.close()
        self._socket.close()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=128)
    listener.setblocking(False)
    return listener
