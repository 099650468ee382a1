"""Stores of obstore."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any, Optional

from ._stored import EXPIRES, Artifacts, State


class ObstoreArtifacts(Artifacts):
    """Artifacts in a store of ``obstore``: Google Cloud Storage, or S3. One object for each run.

    Azure's cannot be used: it takes a PUT only with a header ``x-ms-blob-type``, and runtimes send none.

    Args:
        store: an ``obstore.store.GCSStore`` or ``S3Store``.
        prefix, source_id, expires: as of ``S3Artifacts``.

    Raises:
        ImportError: obstore is not installed.
        TypeError: the store signs no URLs that a runtime can use.
    """

    def __init__(
        self, store: Any, *, prefix: str = "", source_id: Optional[str] = None, expires: float = EXPIRES
    ) -> None:
        super().__init__(prefix, source_id, expires)
        try:
            import obstore
        except ImportError as error:
            raise ImportError("ObstoreArtifacts needs obstore: pip install obstore", name="obstore") from error
        if not isinstance(store, (obstore.store.GCSStore, obstore.store.S3Store)):
            raise TypeError(
                "store must be a GCSStore or S3Store of obstore: others sign no URLs, or, as Azure's, take no PUT "
                "without headers that runtimes do not send"
            )
        self._obstore = obstore
        self._store = store

    def _signed(self, key: str, content_type: str) -> str:
        return str(self._obstore.sign(self._store, "PUT", key, datetime.timedelta(seconds=self._expires)))

    def _state(self, key: str) -> Optional[State]:
        try:
            found = self._obstore.head(self._store, key)
        except FileNotFoundError:
            return None
        return State(found["size"], (found["version"], found["e_tag"], found["last_modified"]))

    def _read(self, key: str) -> Iterator[Any]:
        return iter(self._obstore.get(self._store, key).stream())
