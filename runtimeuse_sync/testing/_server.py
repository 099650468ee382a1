"""``ScriptedRuntime``: the server, as a test sees it."""

# How it works: one thread (the loop) owns every socket, so nothing here locks around a socket, and TLS never
# reads and writes at once. A script runs in a thread of its own and hands the loop what it wants done. The WebSocket
# protocol is websockets' sans-I/O layer: its servers leave a pipe behind (releases 15 and 16) and have no way to
# send an empty Close frame, to reset, or to stop in mid-frame.

from __future__ import annotations

import socket
import ssl
import threading
import time
import traceback
from collections.abc import Sequence
from typing import Any, Callable, Optional, TypeVar, Union, cast

import attrs

from .._common.hosts import bracketed
from ._link import Link
from ._loop import JOIN_PATIENCE, Disconnected, Loop
from ._peer import Peer, Received, Script

MessageT = TypeVar("MessageT")
Step = Union[Script, int]


@attrs.frozen
class _Entry:
    """A message that came, and when."""

    at: float
    message: Received


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
        self._changed = threading.Condition()
        self._peers: list[Peer] = []  # guarded by _changed
        self._entries: list[_Entry] = []  # guarded by _changed
        self._failures: list[BaseException] = []  # guarded by _changed
        self._scripts: list[threading.Thread] = []
        self._links: set[Link] = set()
        self._port: Optional[int] = None

    def __enter__(self) -> ScriptedRuntime:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        self._listener = socket.create_server((self._host, 0), family=family, backlog=128)
        self._listener.setblocking(False)
        self._port = self._listener.getsockname()[1]
        self._loop = Loop("ScriptedRuntime")
        self._loop.watch(self._listener, self._accept)
        self._loop.start()
        return self

    def __exit__(self, exc_type: object, error: Optional[BaseException], trace: object) -> None:
        self._loop.call(self._shut_down)
        self._join_scripts()
        self._loop.stop()
        for peer in self._peers:
            self._failures += peer._unread_faults()
        if not self._failures:
            return
        first, *others = self._failures
        for failure in self._failures if error else others:
            _attach(error or first, failure)
        if error is None:
            raise first

    @property
    def url(self) -> str:
        """Where it listens: ``ws://127.0.0.1:PORT``, or ``wss://`` with an ``ssl_context``."""
        if self._port is None:
            raise RuntimeError("it listens inside of a with block: with ScriptedRuntime(script) as runtime: …")
        return f"{'wss' if self._ssl_context else 'ws'}://{bracketed(self._host)}:{self._port}"

    @property
    def connections(self) -> list[Peer]:
        """A peer for each handshake so far, refused ones included, in order."""
        with self._changed:
            return list(self._peers)

    @property
    def received(self) -> list[Received]:
        """Every message received so far, of all connections, in order."""
        with self._changed:
            return [entry.message for entry in self._entries]

    def received_at(self, message_class: type) -> float:
        """When the first ``message_class`` came (``time.monotonic()``); raises ``LookupError`` if none did."""
        with self._changed:
            for entry in self._entries:
                if isinstance(entry.message, message_class):
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

        def matching() -> list[Any]:
            return [entry.message for entry in self._entries if isinstance(entry.message, message_class)]

        self._wait(lambda: len(matching()) >= count, f"{count} {message_class.__name__}", timeout)
        with self._changed:
            return cast("MessageT", matching()[count - 1])

    def wait_for_connections(self, count: int, timeout: float = 5.0) -> list[Peer]:
        """Wait until there were ``count`` handshakes; raises ``AssertionError`` after ``timeout`` seconds."""
        self._wait(lambda: len(self._peers) >= count, f"{count} connections", timeout)
        return self.connections

    def _wait(self, condition: Callable[[], bool], what: str, timeout: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: condition() or self._failures, timeout)
            if condition():
                return
            failure = self._failures[0] if self._failures else None
        if failure:
            raise AssertionError(f"waited for {what}, but the script failed: {failure}") from failure
        raise AssertionError(f"waited {timeout:g} s for {what} in vain")

    # What the loop does and reports.

    def _accept(self, _: int) -> None:
        try:
            sock = self._prepare(self._listener.accept()[0])
        except OSError:
            return  # The client has left again.
        link = Link(self._loop, sock, self)
        self._links.add(link)
        self._loop.watch(sock, link.on_ready)

    def _prepare(self, sock: socket.socket) -> socket.socket:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._ssl_context is None:
            return sock
        return self._ssl_context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)

    def _admit(self, peer: Peer) -> Step:
        with self._changed:
            step = self._steps[min(len(self._peers), len(self._steps) - 1)]
            self._peers.append(peer)
            self._changed.notify_all()
        return step

    def _log(self, message: Received) -> None:
        with self._changed:
            self._entries.append(_Entry(time.monotonic(), message))
            self._changed.notify_all()

    def _play(self, peer: Peer, script: Script) -> None:
        name = f"ScriptedRuntime script {len(self._scripts) + 1}"
        thread = threading.Thread(target=self._run_script, args=(script, peer), name=name, daemon=True)
        self._scripts.append(thread)
        thread.start()

    def _shut_down(self) -> None:
        self._loop.settle()
        self._loop.forget(self._listener)
        self._listener.close()
        for link in list(self._links):
            link.close("was still there when the test ended")

    # What the scripts' threads do.

    def _run_script(self, script: Script, peer: Peer) -> None:
        try:
            script(peer)
            peer.close_empty()
        except Disconnected:
            pass
        except BaseException as error:  # noqa: BLE001 - the test gets it; pytest's own failures are BaseExceptions
            self._fail(error)
            self._end_failed(peer)

    def _end_failed(self, peer: Peer) -> None:
        try:
            peer.close(1011, "the script failed")
        except Disconnected:
            pass

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self._failures.append(error)
            self._changed.notify_all()

    def _join_scripts(self) -> None:
        deadline = time.monotonic() + JOIN_PATIENCE
        for thread in self._scripts:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                self._fail(AssertionError(f"a script still ran {JOIN_PATIENCE:g} s after the end of the test"))


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
