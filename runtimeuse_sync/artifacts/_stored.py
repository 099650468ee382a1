"""The base class of the stores: keys, URLs, the check that a file has arrived, and safe names for downloads."""

from __future__ import annotations

import mimetypes
import os
import shutil
import tempfile
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Optional, Union
from urllib.parse import quote

import attrs

from .. import ArtifactUploadRequestMessageInterface, ArtifactUploadResult, RuntimeUseError

# Seconds that a URL can be used in, and that files are waited for, unless told otherwise.
EXPIRES = 3600.0
_PATIENCE = 60.0

# Seconds between two looks at what has not arrived: at first, and at most.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0

# Bytes that a download takes unless told otherwise.
_MAX_SIZE = 10 * 2**30

# What S3 takes as a key, in bytes.
_LONGEST_KEY = 1024

# On Windows, a colon names a drive or a stream.
_FORBIDDEN = "\\:" if os.name == "nt" else ""


class ArtifactsMissingError(RuntimeUseError, TimeoutError):
    """Files that the runtime had offered have not arrived in time.

    Attributes:
        missing (list[str]): their paths in the sandbox.

    >>> str(ArtifactsMissingError(missing=["/out/a.txt"], timeout=60))
    '1 artifact did not arrive within 60 s (.missing has the paths)'
    """

    def __init__(self, message: Optional[str] = None, *, missing: list[str], timeout: Optional[float] = None) -> None:
        count = f"{len(missing)} artifact{'s'[: len(missing) != 1]}"
        super().__init__(message or f"{count} did not arrive within {timeout:g} s (.missing has the paths)")
        self.missing = missing


@attrs.frozen(kw_only=True)
class StoredArtifact:
    """A file that has arrived.

    Attributes:
        path (str): its path in the sandbox.
        key (str): its key in the bucket.
        size (int): its bytes.
    """

    path: str
    key: str
    size: int


@attrs.frozen
class State:
    """The state of a store at a key: its size, and a version mark that changes at each write."""

    size: int
    version: tuple[Any, ...]


@attrs.define
class _Offer:
    """A file that was offered: its key, and the state of the store at that key before."""

    names: tuple[str, ...]
    key: str
    before: Optional[State]


class Artifacts(ABC):
    """The base class of the stores. A runtime does not report that an upload succeeded, so the store is asked.

    Attributes:
        source_id (str): what ``{source_id}`` in the prefix stands for.
    """

    def __init__(self, prefix: str, source_id: Optional[str], expires: float) -> None:
        self.source_id = source_id or uuid.uuid4().hex
        self._prefix = prefix.replace("{source_id}", self.source_id).strip("/")
        if "{" in prefix.replace("{source_id}", ""):
            raise ValueError("prefix may have {source_id} in it, and no other brace")
        if not 0 < expires <= 7 * 86400:
            raise ValueError("expires must be seconds, from 1 to a week: services sign for no longer")
        self._expires = expires
        self._offers: dict[str, _Offer] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self._prefix or '/'}>"

    # --- implemented by each store ------------------------------------------------------------------

    @abstractmethod
    def _signed(self, key: str, content_type: str) -> str:
        """A URL for one PUT with the header ``Content-Type: content_type`` and no other."""

    @abstractmethod
    def _state(self, key: str) -> Optional[State]:
        """The state at a key; None if there is nothing."""

    @abstractmethod
    def _read(self, key: str) -> Iterator[Any]:
        """The bytes, in pieces."""

    # --- uploads by the runtime ---------------------------------------------------------------------

    def __call__(self, request: ArtifactUploadRequestMessageInterface) -> ArtifactUploadResult:
        """The upload URL for the file of ``request``; its key is the prefix and its path in the sandbox.

        Raises:
            ValueError: its name leads out of the prefix, or is too long.
        """
        names = _names(request.filepath)
        key = "/".join(filter(None, (self._prefix, *names)))
        if len(key.encode()) > _LONGEST_KEY:
            raise ValueError("an artifact's name is too long for a key")
        content_type = mimetypes.guess_type(names[-1])[0] or "application/octet-stream"
        self._offers[request.filepath] = _Offer(names, key, self._state(key))
        return ArtifactUploadResult(presigned_url=self._signed(key, content_type), content_type=content_type)

    def wait(self, timeout: Optional[float] = _PATIENCE) -> dict[str, StoredArtifact]:
        """Wait until every file that was offered has arrived: until the store says that it has it.

        Args:
            timeout (float or None): seconds. Default 60; None: no limit.

        Returns:
            dict: for each path in the sandbox a ``StoredArtifact``.

        Raises:
            ArtifactsMissingError: some have not arrived in time.
        """
        began, pause = time.monotonic(), _FIRST_PAUSE
        arrived: dict[str, StoredArtifact] = {}
        while True:
            missing = [path for path in self._offers if path not in arrived]
            arrived.update((path, one) for path in missing if (one := self._arrived(path)))
            if len(arrived) == len(self._offers):
                return {path: arrived[path] for path in self._offers}
            if timeout is not None and time.monotonic() + pause > began + timeout:
                raise ArtifactsMissingError(missing=[p for p in missing if p not in arrived], timeout=timeout)
            # Polled, since stores send no notice.
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _arrived(self, path: str) -> Optional[StoredArtifact]:
        offer = self._offers[path]
        state = self._state(offer.key)
        if state is None or state == offer.before:
            return None
        return StoredArtifact(path=path, key=offer.key, size=state.size)

    # --- downloads ----------------------------------------------------------------------------------

    def download_to(
        self, folder: Union[str, os.PathLike[str]], *, timeout: Optional[float] = _PATIENCE, max_size: int = _MAX_SIZE
    ) -> dict[str, Path]:
        """Wait for the files, and save them below ``folder``, each by its path in the sandbox.

        The sandbox is not trusted: no name leads out of the folder, and control characters in names are escaped as in
        URLs. A file appears when it is complete.

        Args:
            folder (str or os.PathLike): made if need be.
            timeout (float or None): seconds, of ``wait``. Default 60.
            max_size (int): bytes that all may have together. Default 10 GiB.

        Returns:
            dict: for each path in the sandbox the file.

        Raises:
            ArtifactsMissingError: some have not arrived in time.
            ValueError: they have more than ``max_size``, or a link in the folder leads out of it.
            OSError: it cannot be written here.
        """
        stored = self.wait(timeout)
        if sum(one.size for one in stored.values()) > max_size:
            raise ValueError(f"the artifacts have more than {max_size} bytes (max_size)")
        root = Path(folder).absolute()
        targets = {path: root.joinpath(*self._offers[path].names) for path in stored}
        for path, target in targets.items():
            self._save(stored[path], target, root)
        return targets

    def _save(self, stored: StoredArtifact, target: Path, root: Path) -> None:
        if not _is_inside(target.parent, root):
            raise ValueError("a link in the folder leads out of it")
        target.parent.mkdir(parents=True, exist_ok=True)
        stage = tempfile.mkdtemp(prefix=".runtimeuse-", dir=target.parent)
        try:
            with open(Path(stage, "file"), "xb") as file:
                left = stored.size
                for piece in self._read(stored.key):
                    left -= len(piece)
                    if left >= 0:
                        file.write(piece)
            if left:
                raise ValueError("an artifact has changed while it was downloaded")
            os.replace(file.name, target)
        finally:
            shutil.rmtree(stage, ignore_errors=True)


def _names(path: str) -> tuple[str, ...]:
    """The parts of a path in the sandbox, fit to be those of a key and of a path here."""
    names = tuple(part for part in PurePosixPath(path).parts if part.strip("/"))
    if not names or ".." in names or any(c in path for c in _FORBIDDEN):
        raise ValueError("an artifact's name leads out of where artifacts go, or is no file name")
    return tuple("".join(map(_escaped, name)) for name in names)


def _escaped(character: str) -> str:
    """Escape control characters, lone surrogates and "%" as in a URL, so that no two names become the same."""
    if character.isprintable() and character != "%":
        return character
    return quote(character, safe="", errors="surrogatepass")


def _is_inside(path: Path, root: Path) -> bool:
    real, top = os.path.realpath(path), os.path.realpath(root)
    return real == top or real.startswith(os.path.join(top, ""))
