"""``ScriptedRuntime``: the server, as a test sees it."""

# One thread, the loop's, owns every socket: so nothing here locks around a socket, and TLS, which must not be read
# and written at once, is not. A script runs in a thread of its own and hands the loop what it wants done. The
# WebSocket protocol is websockets' sans-I/O layer, not its servers: those leave a pipe behind (releases 15 and 16), and
# cannot send an empty Close frame, reset the connection, or stop in the middle of a frame.

from __future__ import annotations

import os
import ssl
import traceback
from collections.abc import Sequence
from typing import Optional, TypeVar, Union, cast

from .._common.hosts import bracketed
from ._mailbox import Received
from ._peer import Peer
from ._record import Record
from ._server import Server, Step

MessageT = TypeVar("MessageT")


class ScriptedRuntime:
    """A real WebSocket server on a loopback port that plays scripts. A context manager.

    Args:
        script: what to do on a connection: a function that takes a ``Peer``, or an HTTP status to refuse the
            handshake with; or a list of these, for one connection after the other, the last repeating.
        refuse: an HTTP status to refuse every handshake with, in place of a script.
        ssl_context: a server context, for ``wss://``. Default: plain ``ws://``.
        host: the name or address to listen on. Default: 127.0.0.1.

    Leaving the ``with`` block closes all connections, and raises what a script raised (an
    ``AssertionError`` for a failed expectation). If the block itself raises, its own error stays, with the
    script's as a note.

    >>> with ScriptedRuntime(refuse=503) as runtime:
    ...     runtime.received
    []
    """

    def __init__(
        self,
        script: Union[Step, Sequence[Step], None] = None,
        *,
        refuse: Optional[int] = None,
        ssl_context: Optional[ssl.SSLContext] = None,
        host: str = "127.0.0.1",
    ) -> None:
        self._steps = _steps(script, refuse)
        self._ssl_context = ssl_context
        self._host = host
        self._record = Record()
        self._server: Optional[Server] = None
        self._process = os.getpid()

    def __enter__(self) -> ScriptedRuntime:
        self._server = Server(self._steps, self._record, self._host, self._ssl_context)
        return self

    def __exit__(self, exc_type: object, error: Optional[BaseException], trace: object) -> None:
        assert self._server is not None
        if self._process != os.getpid():
            return  # a forked child: the server is the parent's
        self._server.stop()
        failures = self._record.failures()
        if not failures:
            return
        first, *others = failures
        for failure in failures if error else others:
            _attach(error or first, failure)
        if error is None:
            raise first

    @property
    def url(self) -> str:
        """Where it listens: ``ws://127.0.0.1:PORT``, or ``wss://`` with an ``ssl_context``."""
        if self._server is None:
            raise RuntimeError("it listens inside of a with block: with ScriptedRuntime(script) as runtime: …")
        return f"{'wss' if self._ssl_context else 'ws'}://{bracketed(self._host)}:{self._server.port}"

    @property
    def connections(self) -> list[Peer]:
        """A peer for each handshake so far, refused ones included, in order."""
        return self._record.peers()

    @property
    def received(self) -> list[Received]:
        """Every message received so far, of all connections, in order."""
        return [entry.message for entry in self._record.entries()]

    def received_at(self, message_class: type) -> float:
        """When the first ``message_class`` came (``time.monotonic()``); raises ``LookupError`` if none did."""
        for entry in self._record.entries(message_class):
            return entry.at
        raise LookupError(f"no {message_class.__name__} came")

    def wait_for(self, message_class: type[MessageT], timeout: float = 5.0, *, count: int = 1) -> MessageT:
        """Wait until a ``message_class`` has come, on any connection.

        Args:
            message_class: one of the classes that a client sends.
            timeout: seconds to wait. Default 5.
            count: wait for this many of them. Default 1.

        Returns:
            The message; with ``count``, the last of so many.

        Raises:
            AssertionError: none came in time, or a script failed meanwhile.

        >>> from runtimeuse_sync.testing import generation
        >>> with ScriptedRuntime(generation("0.15")) as runtime:
        ...     result = Client(runtime.url).query("Tidy up.", QueryOptions(system_prompt="Be brief."))
        ...     runtime.wait_for(InvocationMessage).user_prompt
        'Tidy up.'
        """

        entries = self._record.entries
        what = f"{count} {message_class.__name__}"
        self._record.wait_for(lambda: len(entries(message_class)) >= count, what, timeout)
        return cast("MessageT", entries(message_class)[count - 1].message)

    def wait_for_connections(self, count: int, timeout: float = 5.0) -> list[Peer]:
        """Wait until there were ``count`` handshakes; raises ``AssertionError`` after ``timeout`` seconds."""
        self._record.wait_for(lambda: len(self.connections) >= count, f"{count} connections", timeout)
        return self.connections


def _steps(script: Union[Step, Sequence[Step], None], refuse: Optional[int]) -> list[Step]:
    if (script is None) == (refuse is None):
        raise TypeError("ScriptedRuntime takes a script or refuse=STATUS: one of the two")
    if refuse is not None:
        return [refuse]
    steps = list(script) if isinstance(script, (list, tuple)) else [cast("Step", script)]
    if not steps:
        raise ValueError("ScriptedRuntime needs at least one script")
    return steps


def _attach(error: BaseException, failure: BaseException) -> None:
    """Show the script's ``failure`` with the test's own ``error``."""
    if hasattr(error, "add_note"):
        lines = traceback.format_exception(type(failure), failure, failure.__traceback__)
        error.add_note("The script failed as well:\n" + "".join(lines))
    elif error.__context__ is None:
        error.__context__ = failure
