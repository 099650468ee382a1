"""The exit code and the error text for every way in which a command can end.

| exit code | why |
|---|---|
| 0 | it is done |
| 1 | it failed (125 for ``exec``, whose other codes are the remote command's) |
| 2 | it was called wrongly (125 for ``exec``) |
| 3 | the result does not fit ``--schema`` |
| 129, 130, 143 | SIGHUP, Ctrl-C, SIGTERM: the remote run is cancelled |
| 141 | nobody reads the output any more, as in ``| head``: the remote run is cancelled |
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

import click

from ..exceptions import OutputValidationError, RuntimeUseError
from ._signals import Signals, Terminated, signals_raise
from ._streams import silence_closed_pipes, stop_waiting_for_readers

FAILED = 1
UNFIT = 3
EXEC_FAILED = 125
INTERRUPTED = 130
NO_READER = 141

# What shells add to a signal's number, for the exit code of what it has ended.
_SIGNALLED = 128


class Failure(Exception):  # noqa: N818 - the command's, not the program's
    """The command could not do its work; the text is for the user."""


class Teller(Protocol):
    """Something that shows an error to the user, such as a ``Report``."""

    def error(self, error: BaseException) -> None:
        """Say what went wrong."""


@contextmanager
def endings(teller: Teller, *, failed: int = FAILED, one_signal: bool = False) -> Iterator[Signals]:
    """Run the block so that what ends it leaves by ``click.exceptions.Exit``.

    Args:
        teller: is told of the error, unless nobody listens any more.
        failed: the exit code of a failure.
        one_signal: a second one does not raise, for a command whose end leaves something behind if it is cut short.
    """
    try:
        with signals_raise(once=one_signal) as signals:
            yield signals
    except (KeyboardInterrupt, RuntimeUseError, OSError, Failure) as error:
        if isinstance(error, KeyboardInterrupt):
            stop_waiting_for_readers()
        # If the text cannot be written (no terminal, a closed pipe), there is still the exit code.
        with suppress(OSError):
            if not isinstance(error, BrokenPipeError):
                teller.error(error)
        silence_closed_pipes()
        raise click.exceptions.Exit(_code(error, failed)) from None


def _code(error: BaseException, failed: int) -> int:
    if isinstance(error, Terminated):
        return _SIGNALLED + error.number
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, OutputValidationError):
        return UNFIT
    return NO_READER if isinstance(error, BrokenPipeError) else failed
