"""Checking and splitting of a command that a user passes as an argument."""

from __future__ import annotations

import os
import shlex
from typing import Optional, Union

from .._common.validation import kind, strings


def words(command: object, example: list[str]) -> tuple[str, ...]:
    """The program and its arguments; a string is split as a shell would. ``example`` is for the errors.

    Raises:
        TypeError, ValueError: if that is no command.
    """
    found = _split(command) if isinstance(command, str) else _listed(command, example)
    if not found:
        raise ValueError(f"command must name a program, such as {shlex.join(example)!r}; it is empty")
    return found


def _split(command: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(command))
    except ValueError as error:
        raise ValueError(f"command cannot be split as a shell would: {error}") from None


def _listed(command: object, example: list[str]) -> tuple[str, ...]:
    return strings(command, f"command must be a str or a list of strings, such as {example}")


def directory(cwd: Union[str, os.PathLike[str], None]) -> Optional[str]:
    """The directory to run a command in; raises ``TypeError`` unless it is a path or None."""
    if not (cwd is None or isinstance(cwd, (str, os.PathLike))):
        raise TypeError(f"cwd must be a path or None; got {kind(cwd)}")
    return None if cwd is None else os.fspath(cwd)
