"""The Node runtime of this machine, as a child of this process."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import socket
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Optional, Union

from .._common.redaction import Redactor
from .._common.tracebacks import hides_arguments
from .._common.validation import check_env, check_port, check_seconds, check_secrets, check_strings
from .._common.words import quoted
from ..client import Client
from ..exceptions import CancelledException, ConnectionFailedError
from ._cancel_event import CancelEvent
from ._command_line import directory, words
from ._processes.commands import CommandNotStartedError, run_command
from ._processes.output import Tail
from ._processes.processes import Processes

# Characters of what it prints that are kept: the end, where programs say why they failed.
_MOST_KEPT = 64 * 1024

# Seconds for the thread that has seen the end of the program to end itself.
_JOIN = 5.0

# Names of environment variables whose values are not for an error to show.
_SECRET_NAMES = re.compile(r"(?:^|_)(?:KEY|TOKEN|SECRET|PASSWORD|CREDENTIALS?)(?:_|$)", re.IGNORECASE)


class RuntimeNotStartedError(ConnectionFailedError):
    """A runtime that was started here ended before it was ready, or was not ready in time. It has ended by now.

    Its message has the last lines of what the runtime printed, without control characters.

    Attributes:
        output (str): the end of what it printed, up to 64 Ki characters; secrets are replaced by ``[REDACTED]``.

    >>> print(RuntimeNotStartedError("the runtime ended with exit code 1", output="Error: no such agent\\n"))
    the runtime ended with exit code 1; its output ends:
      | Error: no such agent
    """

    def __init__(self, message: str, *, output: str = "") -> None:
        super().__init__(message)
        shown = quoted(output)
        self.args = (f"{self}; its output ends:{shown}" if shown else str(self),)
        self.output = output


class NodeRuntime:
    """The Node runtime of this machine, run as a child of this process.

    A context manager: at the start of its ``with`` block it is ready, at the end it is gone, with all that it has
    started. It ends as well when this process does, also by a signal; on Linux by SIGKILL, too.

    It listens on every address of this machine, for it knows no other way, and asks nobody for a token: whoever can
    connect runs commands. Use it where nobody else can: in a container, behind a firewall.

    Args:
        arguments: those of the runtime, such as ``"--agent", "claude"`` or ``"--handler", "./agent.js"``.
        command (str, sequence of str or None): how it is called; ``--port`` and ``arguments`` are added. A string is
            split as a shell would. Default: ``runtimeuse`` if that is on the path, else ``npx -y runtimeuse``.
        port (int): the port. Default 0: any free one.
        cwd (str, os.PathLike or None): the directory to run it in. Default: this process's.
        env (dict[str, str] or None): environment variables to add, such as the key of a model.
        secrets_to_redact (list[str]): what nobody may see of its output; the values of environment variables whose
            name has KEY, TOKEN, SECRET, PASSWORD or CREDENTIALS in it are added.
        ready_timeout (float or None): seconds until it has to be ready; ``npx`` may have to fetch it first.
            Default 120; None: no limit.

    Raises:
        TypeError, ValueError: for arguments that cannot be meant.
        FileNotFoundError: on entering, if there is neither ``runtimeuse`` nor ``npx``.
        OSError: on entering, if the port is taken.
        RuntimeNotStartedError: on entering, with the end of its output.

    >>> NodeRuntime("--agent", "claude", command="npx -y runtimeuse@0.15.1")
    <NodeRuntime not running>
    """

    @hides_arguments
    def __init__(
        self,
        *arguments: str,
        command: Union[str, Sequence[str], None] = None,
        port: int = 0,
        cwd: Union[str, os.PathLike[str], None] = None,
        env: Optional[dict[str, str]] = None,
        secrets_to_redact: Sequence[str] = (),
        ready_timeout: Optional[float] = 120.0,
    ) -> None:
        check_strings("arguments", arguments)
        check_port(port)
        check_env("env", env)
        check_strings("secrets_to_redact", secrets_to_redact)
        check_secrets(secrets_to_redact)
        check_seconds("ready_timeout", ready_timeout)
        self._arguments = arguments
        self._command = None if command is None else words(command, ["npx", "-y", "runtimeuse"])
        self._port = port
        self._cwd = directory(cwd)
        self._env = env or {}
        self._secrets = tuple(secrets_to_redact)
        self._ready_timeout = ready_timeout
        self._url: Optional[str] = None
        self._output = Tail(_MOST_KEPT)
        self._processes = Processes()
        self._thread: Optional[threading.Thread] = None
        self._process_id = os.getpid()
        self._is_closing = CancelEvent()
        self._has_ended = threading.Event()
        self._end = "the runtime was closed before it was ready"  # replaced by the thread before it sets the Event

    def __repr__(self) -> str:
        return f"<NodeRuntime {getattr(self, '_url', None) or 'not running'}>"

    @property
    def url(self) -> str:
        """Where clients connect: ``ws://127.0.0.1:port``. Raises ``RuntimeError`` unless the runtime was started."""
        if self._url is None:
            raise RuntimeError("the runtime is not running: use it in a `with` block, or call start()")
        return self._url

    @property
    def output(self) -> str:
        """The end of what it has printed until now, up to 64 Ki characters, without the secrets."""
        return self._output.text

    def start(self) -> NodeRuntime:
        """Start it and wait until it is ready; what entering the ``with`` block does."""
        if self._thread is not None:
            raise RuntimeError("a runtime is started once: make another one")
        command = self._command or _found()
        with _reserved(self._port) as port, ExitStack() as undo:
            undo.callback(self.close)
            self._begin([*command, *self._arguments, "--port", str(port)])
            self._wait_until_ready(f"ws://127.0.0.1:{port}")
            undo.pop_all()
        return self

    def _begin(self, command: Sequence[str]) -> None:
        self._thread = threading.Thread(target=self._run, args=(command,), name="runtimeuse-node", daemon=True)
        atexit.register(self.close)
        self._thread.start()

    def _run(self, command: Sequence[str]) -> None:
        """Runs on a thread of its own, where no signal can interrupt it: it ends what it has started."""
        try:
            code = run_command(
                command,
                processes=self._processes,
                redactor=Redactor({*self._secrets, *_secrets_of({**os.environ, **self._env})}),
                cancelled=self._is_closing,
                on_stdout=self._output.add,
                on_stderr=self._output.add,
                cwd=self._cwd,
                env=self._env,
            )
            self._end = f"the runtime ended with exit code {code} before it was ready"
        except CommandNotStartedError as error:
            self._end = f"the runtime {error}"
        except (OSError, RuntimeError) as error:  # its keeper was killed, or no thread can be started
            self._end = str(error)
        except CancelledException:
            pass
        finally:
            self._has_ended.set()

    def _wait_until_ready(self, url: str) -> None:
        try:
            Client(url).wait_until_ready(self._ready_timeout, is_cancelled=self._has_ended)
        except (CancelledException, ConnectionFailedError) as error:
            why = self._end if isinstance(error, CancelledException) else str(error)
            raise RuntimeNotStartedError(why, output=self.output) from error
        self._url = url

    def close(self) -> None:
        """End it, and all that it has started: SIGTERM, a second later SIGKILL. Takes a few seconds at most.

        May be called again, and from any thread. What interrupts it does not keep the runtime from ending.
        """
        if self._thread is None or os.getpid() != self._process_id:  # a forked child's copy is not its owner
            return
        self._url = None
        self._is_closing.set()
        self._processes.end()
        if self._thread.ident is not None:  # it could be started
            self._thread.join(_JOIN)
        atexit.unregister(self.close)

    def __enter__(self) -> NodeRuntime:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()


def _found() -> list[str]:
    if program := shutil.which("runtimeuse"):
        return [program]
    if program := shutil.which("npx"):
        return [program, "-y", "runtimeuse"]
    raise FileNotFoundError(
        "neither runtimeuse nor npx is on the path: install Node.js, or say how the runtime is called:"
        " NodeRuntime(command='/opt/node/bin/npx -y runtimeuse')"
    )


def _secrets_of(environment: Mapping[str, str]) -> Iterator[str]:
    return (value for name, value in environment.items() if value and _SECRET_NAMES.search(name))


@contextmanager
def _reserved(port: int) -> Iterator[int]:
    """``port``, or a free one for 0, kept for a child until the block ends; raises ``OSError`` if it is taken.

    On Linux a socket that is bound and does not listen keeps all others off, but for one that listens with
    ``SO_REUSEADDR``, as the child's does. Elsewhere there is no such thing: there the port is free, for now.
    """
    with socket.socket() as place:
        if os.name == "posix":
            place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        place.bind(("127.0.0.1", port))
        number: int = place.getsockname()[1]
        if sys.platform != "linux":
            place.close()
        yield number
