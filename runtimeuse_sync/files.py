"""Files and folders into a sandbox and out of it, over the runtime's own connection: no storage is needed.

A folder travels as a tar archive. It goes in as ``data:`` URLs, which the runtime downloads, and comes out in base64,
piece by piece; both for a checksum to prove that it arrived as it was.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Callable, Optional, Union

import attrs

from . import (
    AgentRuntimeError,
    CancelledException,
    Client,
    ExecuteCommandsOptions,
    InvocationTimeoutError,
    QueryOptions,
    QueryResult,
    RuntimeUseError,
    Session,
)
from ._files import scripts
from ._files.packing import entries, hashed, packed, packed_size
from ._files.patience import Patience
from ._files.receiving import receive
from ._files.sandbox import Sandbox, SandboxError, in_pieces, new_folder, printable

__all__ = ["MAX_FILES", "MAX_SIZE", "DownloadFailedError", "SandboxError", "download", "query", "upload"]

LocalPath = Union[str, "os.PathLike[str]"]
OnProgress = Callable[[int, int], Any]

# Bytes, and files and folders, that a download takes unless told otherwise.
MAX_SIZE = 10 * 2**30
MAX_FILES = 100_000

# The description of an archive: what it holds, its size, its SHA-256.
_TOLD = re.compile(r"(file|folder) (\d{1,15}) ([0-9a-f]{64})")


# --- in ----------------------------------------------------------------------------------------------


def upload(
    calls: Union[Client, Session],
    source: LocalPath,
    target: str,
    options: ExecuteCommandsOptions,
    *,
    ignore: str = "",
    on_progress: Optional[OnProgress] = None,
) -> None:
    """Send a file or folder; see ``Client.upload``.

    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     Path(folder, "a.txt").write_text("hello")
    ...     upload(client, Path(folder, "a.txt"), f"{folder}/there/", ExecuteCommandsOptions(timeout=30))
    ...     Path(folder, "there", "a.txt").read_text()
    5
    'hello'
    """
    source = os.fspath(source)
    target = _remote_path("target", target)
    if target.endswith("/") and not os.path.isdir(source):
        target += os.path.basename(source)
    target = posixpath.normpath(target)
    found = entries(source, ignore)
    progress = _Progress(packed_size(found), on_progress)
    sandbox, stage = Sandbox(calls, options), new_folder(posixpath.dirname(target))
    digest = hashlib.sha256()
    with _removed_on_failure(sandbox, stage):
        sandbox.ask(scripts.preparing_upload(stage))
        last = _send_all_but_last(sandbox, in_pieces(hashed(packed(found), digest)), stage, progress)
        script = scripts.finishing_upload(stage, target, len(last), digest.hexdigest())
        sandbox.ask(script, deliver=last, folder=stage)
    progress.add(len(last))


def _send_all_but_last(sandbox: Sandbox, pieces: Iterator[bytes], stage: str, progress: _Progress) -> bytes:
    last = next(pieces)
    for piece in pieces:
        sandbox.send(iter([last]), stage, f"{stage}/archive", progress.add)
        last = piece
    return last


# --- out ---------------------------------------------------------------------------------------------


def download(
    calls: Union[Client, Session],
    source: str,
    target: LocalPath,
    options: ExecuteCommandsOptions,
    *,
    max_size: int = MAX_SIZE,
    max_files: int = MAX_FILES,
    on_progress: Optional[OnProgress] = None,
) -> None:
    """Fetch a file or folder; see ``Client.download``.

    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     Path(folder, "a.txt").write_text("hello")
    ...     download(client, f"{folder}/a.txt", f"{folder}/here/", ExecuteCommandsOptions(timeout=30))
    ...     Path(folder, "here", "a.txt").read_text()
    5
    'hello'
    """
    source = _remote_path("source", source)
    sandbox, stage = Sandbox(calls, options), new_folder()
    with _removed_on_failure(sandbox, stage):
        told = _TOLD.fullmatch(sandbox.ask(scripts.preparing_download(stage, source)))
        if told is None:
            raise SandboxError("the sandbox did not say what it has packed")
        size = int(told[2])
        if size > max_size:
            raise SandboxError(f"the sandbox has {size} bytes to send, more than {max_size} (max_size)")
        progress = _Progress(size, on_progress)
        pieces = _watched(sandbox.fetch(f"{stage}/archive", size), progress)
        into = _into(target, posixpath.basename(source)) if told[1] == "file" else Path(target)
        receive(pieces, into, told[3], is_folder=told[1] == "folder", max_files=max_files)
        sandbox.remove(stage)


def _into(target: LocalPath, name: str) -> Path:
    """The target of a file: the path itself, or a path in the folder if it ends with a slash."""
    text = os.fspath(target)
    return Path(text, name) if text.endswith(("/", os.sep)) else Path(text)


# --- a question between the two ----------------------------------------------------------------------


class DownloadFailedError(RuntimeUseError):
    """The agent has answered, but what it left could not be downloaded; ``__cause__`` is why.

    Attributes:
        path (str): what, in the sandbox. It is still there.
        result (QueryResult): the answer.

    >>> str(DownloadFailedError(path="/srv/out", result=None))
    'the agent has answered (.result), but /srv/out could not be downloaded'
    """

    def __init__(self, message: Optional[str] = None, *, path: str = "", result: Any = None) -> None:
        text = f"the agent has answered (.result), but {printable(path)} could not be downloaded"
        super().__init__(message or text)
        self.path = path
        self.result: QueryResult[Any] = result


def query(
    calls: Union[Client, Session], prompt: str, options: QueryOptions, output_type: Any = None, output_repairs: int = 0
) -> QueryResult[Any]:
    """The query between the uploads and the downloads of its options; see ``QueryOptions``.

    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     _ = Path(folder, "a.txt").write_text("hello")
    ...     options = QueryOptions(uploads={f"{folder}/there/": f"{folder}/a.txt"}, timeout=30)
    ...     query(client, "Read it.", options).output, os.listdir(f"{folder}/there")
    ('Read it.', ['a.txt'])
    """
    asked = attrs.evolve(options, uploads=None, downloads=None)
    typed: Any = {"output_type": output_type, "output_repairs": output_repairs}
    asked.invocation(prompt)  # what cannot be meant is said here and in a stream that is not entered: nothing is sent
    calls.stream(prompt, asked, **typed)
    uploads, downloads = options.uploads or {}, options.downloads or {}
    for source in uploads.values():
        os.stat(source)
    patience = Patience(options.timeout)
    with patience.of_all():
        for target, source in uploads.items():
            upload(calls, source, target, _of_transfer(options, patience))
        result = calls.query(prompt, attrs.evolve(asked, timeout=patience.left()), **typed)
        for remote, local in downloads.items():
            try:
                download(calls, remote, local, _of_transfer(options, patience))
            except (CancelledException, InvocationTimeoutError):
                raise
            except (RuntimeUseError, OSError) as error:
                raise DownloadFailedError(path=remote, result=result) from error
    return result


def _of_transfer(options: QueryOptions, patience: Patience) -> ExecuteCommandsOptions:
    return ExecuteCommandsOptions(
        source_id=options.source_id,
        secrets_to_redact=options.secrets_to_redact,
        is_cancelled=options.is_cancelled,
        timeout=patience.left(),
        idle_timeout=options.idle_timeout,
        logger=options.logger,
    )


# --- both --------------------------------------------------------------------------------------------


@attrs.define
class _Progress:
    """Tells how many bytes have gone."""

    total: int
    on_progress: Optional[OnProgress]
    done: int = 0

    def add(self, size: int) -> None:
        self.done += size
        if self.on_progress:
            self.on_progress(self.done, self.total)


@contextmanager
def _removed_on_failure(sandbox: Sandbox, stage: str) -> Iterator[None]:
    """Remove what was made in the sandbox if the block fails, unless the sandbox cannot be asked any more."""
    try:
        yield
    except Exception as error:
        if isinstance(error, (AgentRuntimeError, SandboxError)) or not isinstance(error, RuntimeUseError):
            with suppress(RuntimeUseError):
                sandbox.remove(stage)
        raise


def _watched(stream: Iterator[bytes], progress: _Progress) -> Iterator[bytes]:
    for data in stream:
        progress.add(len(data))
        yield data


def _remote_path(name: str, path: Any) -> str:
    if not isinstance(path, str):
        raise TypeError(f"{name} must be a str, the path in the sandbox")
    if not path.startswith("/") or "\0" in path:
        raise ValueError(f"{name} must be an absolute path in the sandbox, as in '/srv/src'")
    return path
