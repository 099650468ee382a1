"""A receiver of artifacts of a local runtime: it saves HTTP uploads in a folder."""

from __future__ import annotations

import math
import mimetypes
import os
import secrets
import threading
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Optional, Union

from attrs import frozen

from .._common.validation import check_size, strings
from ..messages import ArtifactUploadRequestMessageInterface, ArtifactUploadResult
from ._put_server import PutServer
from ._transfers.files import harmless, is_inside, scratch_path

# Bytes of one read.
_CHUNK = 256 * 1024

# Digits of a Content-Length: a number of more is larger than any file.
_MOST_DIGITS = 19

# A colon names a drive or a stream on Windows.
_FORBIDDEN = "\0:" if os.name == "nt" else "\0"


class ArtifactReceiver:
    """Saves artifacts in a folder: pass it as ``on_artifact_upload_request``.

    A context manager: inside its ``with`` block it receives HTTP PUTs on a loopback port, each at an
    unguessable URL that works once. A file appears when it is complete, and replaces an older version of itself.

    Files are saved by their name; two files of one name, from different folders, are told apart by a number:
    ``a.txt``, ``a-2.txt``. With ``roots``, the directories that the runtime watches, sub-folders are kept.
    Characters in a name that a terminal obeys, such as newline and ESC, are saved as ``_``.

    An upload that fails may be tried again: its URL stays valid until a file has been saved.

    Args:
        directory (str or os.PathLike): where to save; made if need be.
        roots (sequence of str): the ``artifacts_dirs`` of the request. Default: none.
        max_file_size (int or None): bytes that a file may have. Default None: no limit.

    Attributes:
        saved (dict[str, Path]): the file's path in the sandbox -> where it was saved.

    Raises:
        TypeError, ValueError: for a value that cannot be meant.
        OSError: if the folder cannot be made.

    >>> import tempfile
    >>> from runtimeuse_sync.messages import ArtifactUploadRequestMessageInterface
    >>> with tempfile.TemporaryDirectory() as folder, ArtifactReceiver(folder) as receiver:
    ...     receiver(ArtifactUploadRequestMessageInterface(filename="a.csv", filepath="/out/a.csv")).content_type
    'text/csv'
    """

    def __init__(
        self,
        directory: Union[str, os.PathLike[str]],
        *,
        roots: Sequence[str] = (),
        max_file_size: Optional[int] = None,
    ) -> None:
        names = strings(roots, "roots must be a list of strings, such as ['/out']")
        check_size("max_file_size", max_file_size)
        self._directory = Path(directory).absolute()
        self._directory.mkdir(parents=True, exist_ok=True)
        self._roots = [PurePosixPath(name.replace("\\", "/")) for name in names]
        self._max_file_size = math.inf if max_file_size is None else max_file_size
        self.saved: dict[str, Path] = {}
        # Guards what follows.
        self._lock = threading.Lock()
        self._expected: dict[str, _Expected] = {}
        self._places = _Places()
        self._server: Optional[PutServer] = None
        self._process = os.getpid()

    def __call__(self, request: ArtifactUploadRequestMessageInterface) -> ArtifactUploadResult:
        """The upload URL for the file of ``request``.

        Raises:
            ValueError: if its name leads out of the folder.
            RuntimeError: outside the ``with`` block.
        """
        server = self._server
        if server is None:
            raise RuntimeError("the receiver is not started: use it in a `with` block")
        parts = self._parts(request)
        token = secrets.token_urlsafe(32)
        with self._lock:
            target = self._places.take(self._directory.joinpath(*parts), request.filepath)
            self._expected[token] = _Expected(request.filepath, target)
        content_type = mimetypes.guess_type(parts[-1])[0] or "application/octet-stream"
        url = f"http://127.0.0.1:{server.server_port}/{token}"
        return ArtifactUploadResult(presigned_url=url, content_type=content_type)

    def _parts(self, request: ArtifactUploadRequestMessageInterface) -> Sequence[str]:
        path = PurePosixPath(request.filepath.replace("\\", "/"))
        below = (path.relative_to(root) for root in self._roots if root in path.parents)
        place = next(below, PurePosixPath(request.filename.replace("\\", "/")))
        if not place.parts or place.is_absolute() or ".." in place.parts or any(c in str(place) for c in _FORBIDDEN):
            raise ValueError("an artifact's name leads out of the folder, or is no file name")
        return [harmless(part, "_") for part in place.parts]

    def _claim(self, token: str) -> Optional[_Expected]:
        with self._lock:
            return self._expected.pop(token, None)

    def _receive(self, token: str, source: BinaryIO, length: Optional[str]) -> HTTPStatus:
        """Save a body; the status to answer with. A try that failed leaves the URL valid for another."""
        expected = self._claim(token)
        if expected is None:
            return HTTPStatus.NOT_FOUND
        status = HTTPStatus.INTERNAL_SERVER_ERROR
        try:
            status = self._save(expected, source, length)
        finally:
            with self._lock:
                if status is HTTPStatus.OK:
                    self.saved[expected.filepath] = expected.target
                else:
                    self._expected[token] = expected
        return status

    def _save(self, expected: _Expected, source: BinaryIO, length: Optional[str]) -> HTTPStatus:
        # isdecimal() takes other scripts' digits too, and int() reads them.
        if length is None or not (length.isascii() and length.isdecimal()):
            return HTTPStatus.LENGTH_REQUIRED
        if len(length) > _MOST_DIGITS or int(length) > self._max_file_size:
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        try:
            return self._write(expected.target, source, int(length))
        # ValueError: a name that no file can have.
        except (OSError, ValueError):
            return HTTPStatus.INTERNAL_SERVER_ERROR

    def _write(self, target: Path, source: BinaryIO, length: int) -> HTTPStatus:
        # A link in the folder may lead out of it.
        if not is_inside(target.parent, self._directory):
            return HTTPStatus.FORBIDDEN
        target.parent.mkdir(parents=True, exist_ok=True)
        with scratch_path(target.parent) as path:
            with open(path, "xb") as file:
                if not _copy(source, file, length):
                    return HTTPStatus.BAD_REQUEST
            os.replace(path, target)
        return HTTPStatus.OK

    def close(self) -> None:
        """Stop receiving; an upload under way is cut off. May be called again; in a forked child it does nothing."""
        if self._process != os.getpid():
            return
        with self._lock:
            server, self._server = self._server, None
        if server:
            server.stop()

    def __enter__(self) -> ArtifactReceiver:
        with self._lock:
            if self._server is not None:
                raise RuntimeError("the receiver is started already: one `with` block at a time")
            self._server = PutServer(self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@frozen
class _Expected:
    filepath: str
    target: Path


class _Places:
    """Gives each file of a runtime a path of its own: its plain one, or the first numbered one that is free."""

    def __init__(self) -> None:
        # (plain path, path in the sandbox) -> path.
        self._taken_by: dict[tuple[Path, str], Path] = {}
        self._taken: set[Path] = set()
        # The number to try next: to begin with 2 each time would take longer with each file.
        self._next: dict[Path, int] = {}

    def take(self, plain: Path, filepath: str) -> Path:
        """The path for ``filepath``, which is the same each time."""
        key = (plain, filepath)
        if key not in self._taken_by:
            path = self._taken_by[key] = self._free(plain)
            self._taken.add(path)
        return self._taken_by[key]

    def _free(self, plain: Path) -> Path:
        path = plain
        while path in self._taken:
            number = self._next.get(plain, 2)
            self._next[plain] = number + 1
            path = plain.with_name(f"{plain.stem}-{number}{plain.suffix}")
        return path


def _copy(source: BinaryIO, target: BinaryIO, length: int) -> bool:
    """Copy ``length`` bytes; False if there are fewer."""
    while length:
        chunk = source.read(min(_CHUNK, length))
        if not chunk:
            return False
        target.write(chunk)
        length -= len(chunk)
    return True
