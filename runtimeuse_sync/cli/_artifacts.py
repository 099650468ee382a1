"""Artifacts of a run, saved in a folder."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Callable, Optional, TypeVar

import click
from attrs import frozen

from ..messages import ArtifactUploadRequestMessageInterface, ArtifactUploadResult
from ..options import OnArtifactUploadRequestCallback
from ._endings import Failure
from ._reports import Report

F = TypeVar("F", bound=Callable[..., Any])

# MiB that a file may have, unless told otherwise: what agents leave is smaller, and a disk is larger.
_LARGEST = 1024


@frozen
class Wanted:
    """The values of the artifact options.

    Attributes:
        directories (sequence of str): of the runtime.
        save_to (str or None): the folder to save in.
        overwrite (bool): it may have files in it.
        max_size (int): MiB that a file may have.
    """

    directories: Sequence[str]
    save_to: Optional[str]
    overwrite: bool
    max_size: int

    def check(self) -> None:
        """Refuse options that do not go together, and a folder whose files could be replaced."""
        if bool(self.directories) != bool(self.save_to):
            raise click.UsageError("--artifacts-dir DIRECTORY (what to fetch) and --save-to FOLDER go together")
        if self.save_to and not self.overwrite and os.path.isdir(self.save_to) and os.listdir(self.save_to):
            raise click.UsageError(f"{self.save_to} is not empty: take another folder, or --overwrite to replace files")


def artifact_options(command: F) -> F:
    """Which artifacts to fetch, and where to save them: passed to ``command`` as ``wanted``."""

    @click.option(
        "--artifacts-dir",
        "artifacts_dirs",
        metavar="DIRECTORY",
        multiple=True,
        help="A directory of the runtime whose files are fetched (from a runtime on this machine). Repeatable.",
    )
    @click.option("--save-to", metavar="FOLDER", help="Where to save them: a folder that is empty, or to be made.")
    @click.option("--overwrite", is_flag=True, help="The folder may have files in it, and they may be replaced.")
    @click.option(
        "--max-artifact-size",
        type=click.IntRange(min=1),
        metavar="MIB",
        default=_LARGEST,
        show_default=True,
        help="What a file may have.",
    )
    @functools.wraps(command)
    def combined(
        *args: Any,
        artifacts_dirs: Sequence[str],
        save_to: Optional[str],
        overwrite: bool,
        max_artifact_size: int,
        **others: Any,
    ) -> Any:
        return command(*args, wanted=Wanted(artifacts_dirs, save_to, overwrite, max_artifact_size), **others)

    return combined  # type: ignore[return-value]  # what click calls


@frozen
class Artifacts:
    """The arguments of a run that make its artifacts be saved.

    Attributes:
        directories (list[str] or None): goes into the message.
        callback: goes into the call.
    """

    directories: Optional[list[str]] = None
    callback: Optional[OnArtifactUploadRequestCallback] = None


@contextmanager
def receiving(wanted: Wanted, report: Report) -> Iterator[Artifacts]:
    """Save what is ``wanted`` while the block runs.

    Raises:
        Failure: at the end, if a file that was offered did not arrive.
    """
    if not wanted.save_to:
        yield Artifacts()
        return
    from ..local import ArtifactReceiver

    offered: set[str] = set()

    def answer(request: ArtifactUploadRequestMessageInterface) -> ArtifactUploadResult:
        offered.add(request.filepath)
        try:
            return receiver(request)
        except ValueError as error:
            raise Failure(str(error)) from None

    limit = wanted.max_size * 2**20
    with ArtifactReceiver(wanted.save_to, roots=wanted.directories, max_file_size=limit) as receiver:
        try:
            yield Artifacts(list(wanted.directories), answer)
        finally:
            for remote, local in receiver.saved.items():
                report.artifact(remote, local)
        _check(offered - receiver.saved.keys(), wanted)


def _check(missing: set[str], wanted: Wanted) -> None:
    if missing:
        raise Failure(
            f"{len(missing)} artifact(s) did not arrive in {os.path.join(wanted.save_to or '', '')}: the runtime has to"
            " be able to upload to 127.0.0.1, which means that it runs on this machine; and none may be larger than"
            f" {wanted.max_size} MiB (--max-artifact-size)"
        )
