"""Uploads of artifacts, a few at a time, on threads that start with the first."""

from __future__ import annotations

import queue
import threading
from contextlib import suppress
from pathlib import Path
from typing import Callable, Optional

from attrs import field, frozen

from ...exceptions import CancelledException
from .._cancel_event import CancelEvent
from . import http

# Uploads at a time, on a connection: enough to fill it, and few enough for the service at its other end.
_WORKERS = 4

# Seconds before the second and the third try of an upload that failed for a reason that may pass.
_PAUSES = (0.2, 1.0)


@frozen
class Upload:
    """One file and where it goes."""

    path: Path
    url: str = field(repr=False)
    content_type: str
    # Called at the end, with what went wrong or None.
    done: Callable[[Optional[str]], None]


class Uploads:
    """A queue of uploads and the threads that work on it."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Optional[Upload]] = queue.SimpleQueue()
        self._stop = CancelEvent()
        self._threads: list[threading.Thread] = []

    def add(self, upload: Upload) -> None:
        """Upload it when its turn comes. Called by one thread only."""
        if len(self._threads) < _WORKERS:
            thread = threading.Thread(target=self._work, name="runtimeuse-upload", daemon=True)
            # Out of threads for a moment: those that there are do the work.
            with suppress(RuntimeError):
                thread.start()
                self._threads.append(thread)
        if self._threads:
            self._queue.put(upload)
        else:
            upload.done("no thread could be started for it")

    def close(self) -> None:
        """End the uploads; those that are under way are given up."""
        self._stop.set()
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join(1.0)

    def _work(self) -> None:
        for upload in iter(self._queue.get, None):
            try:
                upload.done(self._upload(upload))
            except CancelledException:
                return

    def _upload(self, upload: Upload) -> Optional[str]:
        for pause in (*_PAUSES, None):
            try:
                http.upload(upload.path, upload.url, upload.content_type, cancelled=self._stop)
                return None
            except FileNotFoundError:
                # It was a passing file: removed between the question and the answer.
                return None
            except OSError as error:
                return http.reason_of(error)
            except http.TransferError as error:
                if pause is None or not error.transient or self._stop.wait(pause):
                    return str(error)
        return None
