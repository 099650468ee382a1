"""Every way in which a command can end becomes an exit code and a word to the user.

| exit code | why |
|---|---|
| 0 | it is done |
| 1 | it failed (125 for ``exec``, whose other codes are the remote command's) |
| 2 | it was called wrongly (125 for ``exec``) |
| 130, 143 | Ctrl-C, SIGTERM: the remote run is cancelled |
| 141 | nobody reads the output any more, as in ``| head``: the remote run is cancelled |
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol

import click

from ..exceptions import RuntimeUseError

FAILED = 1
EXEC_FAILED = 125
INTERRUPTED = 130
NO_READER = 141
TERMINATED = 143


class Failure(Exception):  # noqa: N818 - the command's, not the program's
    """The command could not do its work; the text is for the user."""


class Terminated(KeyboardInterrupt):
    """SIGTERM. Whoever ends cleanly on Ctrl-C ends cleanly on this too."""


class Teller(Protocol):
    """Who tells the user."""

    def error(self, error: BaseException) -> None:
        """Say what went wrong."""


@contextmanager
def endings(teller: Teller, *, failed: int = FAILED) -> Iterator[None]:
    """Run the block so that what ends it leaves by ``click.exceptions.Exit``.

    Args:
        teller: is told of the error, unless nobody listens any more.
        failed: the exit code of a failure.
    """
    try:
        with _signals_raise():
            yield
    except (KeyboardInterrupt, RuntimeUseError, OSError, Failure) as error:
        with suppress(BrokenPipeError):
            if not isinstance(error, BrokenPipeError):
                teller.error(error)
        _silence_closed_pipes()
        raise click.exceptions.Exit(_code(error, failed)) from None


def _code(error: BaseException, failed: int) -> int:
    if isinstance(error, Terminated):
        return TERMINATED
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    return NO_READER if isinstance(error, BrokenPipeError) else failed


def _terminate(number: int, frame: Any) -> None:
    raise Terminated


@contextmanager
def _signals_raise() -> Iterator[None]:
    """Let both signals raise here, SIGINT even if it was ignored: shells ignore it for what they put behind ``&``."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: _terminate}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _silence_closed_pipes() -> None:
    """Python flushes its streams at its end, and would complain of a pipe that is closed."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with suppress(OSError):
                _point_to_nowhere(stream.fileno())


def _point_to_nowhere(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
