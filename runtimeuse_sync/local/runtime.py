"""The runtime that users start."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from typing import Optional

from .._common.hosts import bracketed
from .._common.tracebacks import hides_arguments
from .._common.validation import check_port
from ._processes.processes import Processes
from ._server.admission import Admission
from ._server.connection import Connection
from ._server.latch import Latch
from ._server.listener import Listener
from ._server.session import Session
from ._server.settings import Settings
from .handlers import Handler

# Seconds between two looks at an end that cannot be waited for otherwise.
_LOOK_AGAIN = 0.02


class LocalRuntime:
    """An agent runtime in this process: speaks the wire protocol of release 0.15 and runs ``handler`` as its agent.

    A context manager: it listens inside the ``with`` block, and at its end every connection is closed, every
    request cancelled and every process that commands have started is ended. Until then, what a finished
    request left in the background lives on, across connections.

    A request is served as the real runtime does: downloads (zip archives unpacked), pre-agent commands,
    the handler, post-agent commands; or commands alone. Files of ``artifacts_dirs`` are offered for upload, each
    version once, when its writing has settled; files that are there from the start too. A directory that does
    not exist yet is waited for. ``.artifactignore`` files and ``artifacts_ignore_content`` leave files out.

    It runs commands for whoever can connect. So it listens on loopback alone, unless there is a token that
    clients have to send as ``Authorization: Bearer …``; and it refuses web pages.

    Args:
        handler: ``handler(invocation, sender)`` -> str, dict (structured output) or ``HandlerResult``; see
            ``Sender``. An exception that it raises goes to the client as an error: its text, not its traceback.
            May be called by several threads at once, one for each connection.
        host (str): the address to listen on. Default ``"127.0.0.1"``.
        port (int): the port. Default 0: any free one.
        token (str or None): what clients have to send. Default None: nothing. Needed for a ``host`` other
            than loopback.
        allowed_origins (sequence of str): the web origins, such as ``"https://app.example.com"``, whose pages
            may connect. Default: none.
        allowed_hosts (sequence of str): the names, such as ``"runtime.internal"``, that clients may call this
            machine by in the ``Host`` header, if there is no token. Default: none but ``host`` itself, ``localhost``
            and the addresses of loopback. It keeps out web pages whose name was made to lead here.
        heartbeat_interval (float): seconds between heartbeats while a request is in flight. Default 15.
        settle_seconds (float): seconds without writing after which a file counts as finished. Default 2.
        drain_timeout (float): seconds that the end of a session waits for uploads. Default 60.
        max_connections (int): connections that are served at once; further ones are answered with status 503.
            Default 250: each takes a thread and three descriptors, of which a process often may have 1,024.
        max_message_size (int): bytes that a client's message may have. Default 100 MiB.
        max_download_size (int): bytes that a download, and what an archive unpacks to, may have. Default 10 GiB.

    Raises:
        TypeError, ValueError: for a value that cannot be meant, such as a ``host`` that needs a token.
        OSError: on entering, if the address cannot be had.

    >>> with LocalRuntime(lambda invocation, sender: invocation.user_prompt.upper()) as runtime:
    ...     print(runtime.url)  # doctest: +ELLIPSIS
    ws://127.0.0.1:...
    """

    @hides_arguments
    def __init__(
        self,
        handler: Handler,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        token: Optional[str] = None,
        allowed_origins: Sequence[str] = (),
        allowed_hosts: Sequence[str] = (),
        heartbeat_interval: float = 15.0,
        settle_seconds: float = 2.0,
        drain_timeout: float = 60.0,
        max_connections: int = 250,
        max_message_size: int = 100 * 2**20,
        max_download_size: int = 10 * 2**30,
    ) -> None:
        self._settings = Settings(
            handler=handler,
            heartbeat_interval=heartbeat_interval,
            settle_seconds=settle_seconds,
            drain_timeout=drain_timeout,
            max_connections=max_connections,
            max_message_size=max_message_size,
            max_download_size=max_download_size,
        )
        self._admission = Admission(token, allowed_origins, allowed_hosts, host)
        check_port(port)
        self._host = host
        self._port = port
        self._processes = Processes()
        self._listener: Optional[Listener] = None
        # Guards the coming and going of the listener and of the thread that ends all. Reentrant, since a signal
        # handler that calls close() may interrupt its holder.
        self._lock = threading.RLock()
        self._ending: Optional[threading.Thread] = None
        self._is_closed = Latch()
        self._has_ended = Latch()
        self._process = os.getpid()

    def __repr__(self) -> str:
        return f"<LocalRuntime {self.url if getattr(self, '_listener', None) else 'not running'}>"

    @property
    def url(self) -> str:
        """Where clients connect: ``ws://host:port``. Raises ``RuntimeError`` unless the runtime is running."""
        listener = self._listener
        if listener is None:
            raise RuntimeError("the runtime is not running: use it in a `with` block, or call start()")
        # A wildcard is no address to connect to.
        host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._host, self._host)
        return f"ws://{bracketed(host)}:{listener.port}"

    def start(self) -> LocalRuntime:
        """Listen, and serve on threads of the runtime's own; what entering the ``with`` block does."""
        with self._lock:
            if self._listener is not None or self._ending is not None:
                raise RuntimeError("a runtime is started once: make another one")
            self._listener = Listener(
                self._host,
                self._port,
                admission=self._admission,
                max_connections=self._settings.max_connections,
                max_message_size=self._settings.max_message_size,
                serve=self._serve,
            )
        return self

    def _serve(self, connection: Connection) -> Session:
        return Session(connection, self._settings, self._processes)

    def serve_forever(self) -> None:
        """Serve until ``close()`` is called on another thread, or Ctrl-C here; both end cleanly.

        Starts the runtime unless it was started already (to read ``url`` first, use a ``with`` block), and
        closes it at the end.

        >>> import threading
        >>> with LocalRuntime(lambda invocation, sender: "done") as runtime:
        ...     threading.Timer(1.0, runtime.close).start()
        ...     runtime.serve_forever()
        """
        if self._listener is None:
            self.start()
        try:
            self._is_closed.wait()
        except KeyboardInterrupt:
            pass
        finally:
            self.close()

    def close(self) -> None:
        """Close every connection, cancel every request, end every process.

        May be called again, and from any thread; each call returns when all has ended. What interrupts it, such as
        a second Ctrl-C, is raised then, and not before: it takes some ten seconds at most. In a forked child it does
        nothing: the runtime goes on in the parent.
        """
        if self._process != os.getpid():
            return
        with self._lock:
            listener, self._listener = self._listener, None
            if listener is not None:
                # No daemon: even where an interrupt gets out of here, the interpreter waits for it.
                self._ending = threading.Thread(target=self._end, args=(listener,), name="runtimeuse-close")
                self._begin_to_end(listener)
        if self._ending is not None:
            _wait_to_the_end(self._has_ended)

    def _begin_to_end(self, listener: Listener) -> None:
        assert self._ending is not None
        try:
            self._ending.start()
        except RuntimeError:  # no thread to be had
            self._end(listener)

    def _end(self, listener: Listener) -> None:
        """Runs on a thread of its own, where no signal can interrupt it."""
        self._is_closed.set()
        try:
            listener.close()
        finally:
            self._processes.end()
            self._has_ended.set()

    def __enter__(self) -> LocalRuntime:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()


def _wait_to_the_end(latch: Latch) -> None:
    """Wait whatever comes, and raise it then."""
    interrupt: Optional[BaseException] = None
    while not latch.is_set():
        try:
            latch.wait()
        except OSError:  # no descriptor to wait with
            time.sleep(_LOOK_AGAIN)
        except BaseException as error:  # noqa: BLE001
            interrupt = interrupt or error
    if interrupt is not None:
        raise interrupt
