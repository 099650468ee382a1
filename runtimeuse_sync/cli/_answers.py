"""The file that ``batch`` writes: a line of JSON for each answer, so that it can be interrupted and begun again."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Optional

from ..jobs import Outcome
from ._endings import Failure
from ._json import to_json
from ._reports import describe, metadata_of

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# The beginning of each line. It distinguishes an incomplete line of ours from a line of another file.
_BEGIN = b'{"id": '


class Answers:
    """The file, open.

    Attributes:
        done (set[str]): the ids that had an answer in it.
    """

    def __init__(self, descriptor: int, path: str) -> None:
        self._descriptor = descriptor
        self._path = path
        self.done = set(self._read())

    def _read(self) -> Iterator[str]:
        """The ids of the answers. What failed is none, and is asked again."""
        line = b"\n"
        with open(self._path, "rb") as file:
            for number, line in enumerate(file, 1):
                answer = _parsed(line)
                if answer is None and not self._mend(line):
                    raise Failure(f"{self._path}, line {number}: no answer of a batch; name another file")
                if answer is not None and answer["error"] is None:
                    yield str(answer["id"])
        if _parsed(line) and not line.endswith(b"\n"):
            self._write(b"\n")

    def _mend(self, line: bytes) -> bool:
        """Cut off ``line``, if it is the last one and torn: who wrote it was killed in its middle."""
        if line.endswith(b"\n") or not (line.startswith(_BEGIN) or _BEGIN.startswith(line)):
            return False
        os.ftruncate(self._descriptor, os.fstat(self._descriptor).st_size - len(line))
        return True

    def add(self, name: str, outcome: Outcome[Any]) -> None:
        """Write the outcome of the prompt ``name``, as one line, at once."""
        self._write((to_json(_fields(name, outcome)) + "\n").encode())

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]


def _parsed(line: bytes) -> Optional[dict[str, Any]]:
    with suppress(ValueError, RecursionError):
        answer = json.loads(line)
        if isinstance(answer, dict) and {"id", "error"} <= answer.keys():
            return answer
    return None


def _fields(name: str, outcome: Outcome[Any]) -> dict[str, Any]:
    """The fields of a line; their names are documented, and stay."""
    error, result = outcome.error, outcome.result
    data = None if result is None else result.data
    failure = None if error is None else {"type": type(error).__name__, "message": describe(error)}
    metadata = (error and metadata_of(error)) if result is None else result.metadata
    return {
        "id": name,
        "text": getattr(data, "text", None),
        "structured_output": getattr(data, "structured_output", None),
        "error": failure,
        "metadata": metadata or None,
        "duration_seconds": round(outcome.duration, 3),
    }


@contextmanager
def open_answers(path: str) -> Iterator[Answers]:
    """The file ``path``, made if it is not there, its last line taken away if that was torn.

    Raises:
        Failure: it holds something else, or another batch writes to it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
    try:
        _lock(descriptor, path)
        yield Answers(descriptor, path)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: str) -> None:
    if fcntl is not None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Failure(f"{path}: another batch writes to it") from None
