"""An archive that comes from a sandbox, as files here: nothing half-written gets the final name."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .packing import ROOT, hashed
from .sandbox import SandboxError
from .unpacking import Unpacked, unpack


def receive(pieces: Iterator[bytes], target: Path, checksum: str, *, is_folder: bool, max_files: int) -> None:
    """Unpack the archive beside ``target``, and move what it holds there once its checksum is right."""
    target.parent.mkdir(parents=True, exist_ok=True)
    stage = tempfile.mkdtemp(prefix=".runtimeuse-", dir=target.parent)
    try:
        root, digest = Path(stage, ROOT), hashlib.sha256()
        unpacked = unpack(hashed(pieces, digest), root if is_folder else Path(stage), max_files=max_files)
        if digest.hexdigest() != checksum:
            raise SandboxError("what arrived is not what the sandbox has packed: its checksum is another")
        if is_folder:
            _place_folder(root, target, unpacked)
        else:
            os.replace(_only_file(stage), target)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _only_file(stage: str) -> str:
    found = [entry.path for entry in os.scandir(stage) if entry.is_file(follow_symlinks=False)]
    if len(found) != 1 or len(os.listdir(stage)) != 1:
        raise SandboxError("the archive holds something else than the one file that was asked for")
    return found[0]


def _place_folder(root: Path, target: Path, unpacked: Unpacked) -> None:
    root.mkdir(exist_ok=True)
    kept: set[Path] = set()
    _merge(root, target, kept)
    # From the inside out, or a folder that nobody may enter would keep us from those in it.
    for names, mode in sorted(unpacked.folders, key=lambda item: len(item[0]), reverse=True):
        folder = target.joinpath(*names)
        if folder not in kept:
            os.chmod(folder, mode)


def _merge(source: Path, target: Path, kept: set[Path]) -> None:
    """Move ``source`` to ``target``; a folder that is there already gets what is in the other."""
    if not (target.is_dir() and source.is_dir()):
        os.replace(source, target)
        return
    kept.add(target)
    for child in list(source.iterdir()):
        _merge(child, target / child.name, kept)
