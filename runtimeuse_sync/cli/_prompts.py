"""The prompts of ``batch``: lines of JSON or of CSV, all checked before anything is sent."""

from __future__ import annotations

import csv
import json
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any

import attrs

from ._endings import Failure

# Characters of a field of CSV: more than a runtime takes.
csv.field_size_limit(2**30)


@attrs.frozen
class Prompt:
    """One prompt.

    Attributes:
        id (str): what tells it from the others, and its answer from theirs.
        text (str): what is asked.
    """

    id: str
    text: str


class Prompts:
    """All prompts. They are read from the file at each iteration, and not kept in memory."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._file = file
        self._name = name
        self._records = _csv if name.lower().endswith(".csv") else _json

    def __iter__(self) -> Iterator[Prompt]:
        self._file.seek(0)
        place = 0
        try:
            for place, record in self._records(_lines(self._file)):
                yield _prompt(place, record)
        except (ValueError, csv.Error) as error:
            # Of UnicodeDecodeError, the text would quote what is there.
            why = f"not {error.encoding}" if isinstance(error, UnicodeDecodeError) else str(error)
            raise Failure(f"{self._name}, behind line {place}: {why}") from None

    def check(self) -> None:
        """Read them all; what is wrong with one is said before another is asked.

        Raises:
            Failure: for what is no prompt, or has the id of another.
        """
        seen: set[str] = set()
        for prompt in self:
            if prompt.id in seen:
                raise Failure(f"{self._name}: the id {prompt.id!r} is there twice")
            seen.add(prompt.id)


def _lines(file: IO[bytes]) -> Iterator[str]:
    # Editors on Windows begin a file with a byte order mark.
    for number, line in enumerate(file):
        yield line.decode("utf-8-sig" if number == 0 else "utf-8")


def _json(lines: Iterable[str]) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError):
                raise ValueError(f"line {number} is not JSON") from None


def _csv(lines: Iterable[str]) -> Iterator[tuple[int, Any]]:
    reader = csv.DictReader(lines, strict=True)
    for record in reader:
        yield reader.line_num, record


def _prompt(place: int, record: Any) -> Prompt:
    """``record`` as a prompt; one that has no id is called by the number of the line that it ends in."""
    if isinstance(record, str):
        record = {"prompt": record}
    text = record.get("prompt") if isinstance(record, dict) else None
    if not isinstance(text, str):
        raise ValueError(f'line {place} has no "prompt" that is a text')
    name = record.get("id")
    if name is None or name == "":
        name = place
    if isinstance(name, bool) or not isinstance(name, (str, int)):
        raise ValueError(f'the "id" of line {place} is neither a text nor a whole number')
    return Prompt(str(name), text)


@contextmanager
def open_prompts(path: str) -> Iterator[Prompts]:
    """The prompts in the file ``path``; "-" is standard input, of which a copy is made to read it twice.

    Raises:
        Failure: it cannot be read, or holds what is no prompt.
    """
    with tempfile.TemporaryFile() if path == "-" else open(path, "rb") as file:
        if path == "-":
            _copy_input(file)
        prompts = Prompts(file, "standard input" if path == "-" else path)
        prompts.check()
        yield prompts


def _copy_input(file: IO[bytes]) -> None:
    if sys.stdin is None:
        raise Failure("standard input is closed")
    shutil.copyfileobj(sys.stdin.buffer, file)
