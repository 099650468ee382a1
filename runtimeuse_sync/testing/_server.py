"""``Server``: accepts connections, and plays a script on each."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Sequence
from typing import Optional, Union

from websockets.http11 import Request

from ._link import Answer, Link
from ._loop import JOIN_PATIENCE, Disconnected, Loop
from ._mailbox import Mailbox, Received
from ._peer import Peer, Script
from ._record import Record

Step = Union[Script, int]


class Server:
    """One thread, the loop's, for all sockets; and one for each script.

    Args:
        steps: a script, or an HTTP status to refuse with, for one connection after the other; the last repeats.
        record: is told what happens.
        host: the address to listen on, at a free port.
        ssl_context: for TLS.

    Attributes:
        port (int): where it listens.
    """

    def __init__(self, steps: Sequence[Step], record: Record, host: str, ssl_context: Optional[ssl.SSLContext]) -> None:
        self._steps = steps
        self._record = record
        self._ssl_context = ssl_context
        self._scripts: list[threading.Thread] = []
        # Used by the loop's thread alone, and after its end.
        self._links: set[Link] = set()
        self._mailboxes: list[Mailbox] = []
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family, backlog=128)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._loop = Loop("ScriptedRuntime")
        self._loop.watch(self._listener, self._accept)
        self._loop.start()

    def stop(self) -> None:
        """Close every connection, and wait for the scripts to end; faults that no script has noticed are recorded."""
        self._loop.call(self._shut_down)
        self._join_scripts()
        self._loop.stop()
        for mailbox in self._mailboxes:
            for fault in mailbox.unread_faults():
                self._record.add_failure(fault)

    def _join_scripts(self) -> None:
        deadline = time.monotonic() + JOIN_PATIENCE
        for thread in self._scripts:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                late = f"a script still ran {JOIN_PATIENCE:g} s after the end of the test"
                self._record.add_failure(AssertionError(late))

    # What the loop's thread does. A link calls the methods of ``Host``.

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

    def answer(self, link: Link, request: Request) -> Answer:
        """See ``Host``."""
        peer = Peer(self._loop, link, request)
        self._mailboxes.append(link.mailbox)
        number = self._record.add_peer(peer)
        step = self._steps[min(number, len(self._steps) - 1)]
        return Answer(status=step) if isinstance(step, int) else Answer(begin=lambda: self._play(step, peer))

    def on_message(self, message: Received) -> None:
        """See ``Host``."""
        self._record.add_message(message)

    def on_closed(self, link: Link) -> None:
        """See ``Host``."""
        self._links.discard(link)

    def on_failure(self, error: BaseException) -> None:
        """See ``Host``."""
        self._record.add_failure(error)

    def _play(self, script: Script, peer: Peer) -> None:
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
            self._record.add_failure(error)
            self._end_failed(peer)

    def _end_failed(self, peer: Peer) -> None:
        try:
            peer.close(1011, "the script failed")
        except Disconnected:
            pass
