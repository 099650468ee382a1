"""Artifacts of a run, saved in a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Optional

import click
from attrs import frozen

from ..messages import ArtifactUploadRequestMessageInterface, ArtifactUploadResult
from ..options import OnArtifactUploadRequestCallback
from ._endings import Failure
from ._reports import Report


def check_pair(directories: Sequence[str], save_to: Optional[str]) -> None:
    """Refuse one of the two options without the other."""
    if bool(directories) != bool(save_to):
        raise click.UsageError("--artifacts-dir DIRECTORY (what to fetch) and --save-to FOLDER go together")


@frozen
class Artifacts:
    """What a run is told, for its artifacts to be saved.

    Attributes:
        directories (list[str] or None): goes into the message.
        callback: goes into the call.
    """

    directories: Optional[list[str]] = None
    callback: Optional[OnArtifactUploadRequestCallback] = None


@contextmanager
def receiving(directories: Sequence[str], save_to: Optional[str], report: Report) -> Iterator[Artifacts]:
    """Save the files of ``directories`` in the folder ``save_to`` while the block runs; without one, save nothing.

    Raises:
        Failure: at the end, if a file that was offered did not arrive.
    """
    if not save_to:
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

    with ArtifactReceiver(save_to, roots=directories) as receiver:
        try:
            yield Artifacts(list(directories), answer)
        finally:
            for remote, local in receiver.saved.items():
                report.artifact(remote, local)
        _check(offered - receiver.saved.keys(), save_to)


def _check(missing: set[str], save_to: str) -> None:
    if missing:
        raise Failure(
            f"{len(missing)} artifact(s) did not arrive in {os.path.join(save_to, '')}: the runtime has to be able to"
            " upload to 127.0.0.1, which means that it runs on this machine"
        )
