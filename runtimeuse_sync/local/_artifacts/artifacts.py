"""The artifacts of one connection: sends the upload requests, takes the answers, starts the uploads."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional, Protocol

from ..._common.redaction import Redactor
from ...messages import (
    AgentRuntimeMessageInterface,
    ArtifactUploadRequestMessageInterface,
    ArtifactUploadResponseMessageInterface,
)
from .._transfers.files import harmless
from .._transfers.uploads import Upload, Uploads
from .watching import Watcher


class Outbox(Protocol):
    """The interface for messages to the client; implemented in ``_server``."""

    @property
    def redactor(self) -> Redactor:
        """The redactor of the client's secrets."""

    def send(self, message: AgentRuntimeMessageInterface) -> object:
        """Send a message; may wait until the client has read earlier ones."""

    def error(self, error: str, metadata: Optional[dict[str, Any]] = None) -> None:
        """Send an error; never waits."""


class Artifacts:
    """Offers the files of watched directories, and uploads them to where the answers say."""

    def __init__(self, outbox: Outbox, *, settle_seconds: float) -> None:
        self._outbox = outbox
        self._watcher = Watcher(settle_seconds, self._ask)
        self._uploads = Uploads()
        # Guards the attributes below; notified when an offer is answered or an upload ends.
        self._changed = threading.Condition()
        # Keyed by the path sent to the client, which is redacted and harmless, so that two files may share one.
        self._asked: dict[tuple[str, str], deque[str]] = {}
        self._open = 0

    def watch(self, directories: Sequence[str], ignore_content: str) -> None:
        """Offer the files of ``directories`` from now until the end of the session."""
        self._watcher.add(directories, ignore_content)

    def _ask(self, path: str) -> None:
        # A file name may have control characters, or bytes that are not text.
        told = harmless(path)
        plain = ArtifactUploadRequestMessageInterface(filename=os.path.basename(told), filepath=told)
        request = self._outbox.redactor.value(plain)
        with self._changed:
            self._asked.setdefault((request.filename, request.filepath), deque()).append(path)
            self._open += 1
        self._outbox.send(request)

    def answer(self, message: ArtifactUploadResponseMessageInterface) -> None:
        """Begin the upload that ``message`` is the answer for. Files that were not offered stay here."""
        with self._changed:
            paths = self._asked.get((message.filename, message.filepath))
            path = paths.popleft() if paths else None
        if path is None:
            self._outbox.error("an answer to an artifact upload request that was not made, or was answered")
            return

        def done(failure: Optional[str]) -> None:
            if failure:
                self._outbox.error(f"artifact upload failed: {failure}", {"filename": message.filename})
            self._close_one()

        self._uploads.add(Upload(Path(path), message.presigned_url, message.content_type, done))

    def _close_one(self) -> None:
        with self._changed:
            self._open -= 1
            self._changed.notify_all()

    def drain(self, timeout: float, aborted: threading.Event) -> None:
        """Offer what is left, and wait until all is answered and uploaded, ``timeout`` seconds at most.

        Before that, the files that are there may settle. What went wrong is told at the end, for most clients take an
        error as the end of a request.
        """
        self._watcher.finish(timeout, aborted)
        with self._changed:
            self._changed.wait_for(lambda: self._open == 0 or aborted.is_set(), timeout)
        for problem in self._watcher.problems:
            self._outbox.error(f"artifacts: {problem}")

    def close(self) -> None:
        """Abandon offers and uploads that are left."""
        self._watcher.stop()
        self._uploads.close()
        with self._changed:
            self._changed.notify_all()
