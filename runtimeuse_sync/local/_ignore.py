"""Which files of a directory are artifacts: gitignore's rules, by ``.artifactignore`` files and by request."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Optional

import pathspec
from attrs import frozen

IGNORE_FILE = ".artifactignore"


@frozen
class _Rules:
    """The patterns that hold below one folder."""

    folder: str
    spec: pathspec.GitIgnoreSpec

    def verdict(self, path: str) -> Optional[bool]:
        """True to ignore ``path``, False to keep it, None for nothing said."""
        relative = path[len(self.folder) :].replace(os.sep, "/").lstrip("/")
        return self.spec.check_file(relative).include


def artifacts(directory: str, ignore_content: str) -> Iterator[tuple[str, os.stat_result]]:
    """The files below ``directory`` that are not ignored, each with its stat.

    As git has it: a deeper ``.artifactignore`` goes before one above it, and nothing below an ignored folder
    comes back. ``ignore_content`` counts as the last lines of the one at the top. Links to folders are not
    followed, and the ignore files are no artifacts.
    """
    yield from _walk(directory, (), ignore_content)


def _walk(folder: str, above: Sequence[_Rules], extra: str) -> Iterator[tuple[str, os.stat_result]]:
    rules = _with_rules_of(folder, above, extra)
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError:
        # Gone since it was listed, or not ours to read.
        return
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            if not _is_ignored(entry.path + os.sep, rules):
                yield from _walk(entry.path, rules, "")
        elif entry.name != IGNORE_FILE and not _is_ignored(entry.path, rules):
            yield from _file(entry)


def _file(entry: os.DirEntry[str]) -> Iterator[tuple[str, os.stat_result]]:
    try:
        # os.stat, not entry.stat: on Windows that one is of the time of the listing.
        status = os.stat(entry.path)
    except OSError:
        return
    if stat.S_ISREG(status.st_mode):
        yield entry.path, status


def _with_rules_of(folder: str, above: Sequence[_Rules], extra: str) -> Sequence[_Rules]:
    try:
        own = Path(folder, IGNORE_FILE).read_text(encoding="utf-8", errors="replace")
    except OSError:
        own = ""
    lines = [*own.splitlines(), *extra.splitlines()]
    return (_Rules(folder, pathspec.GitIgnoreSpec.from_lines(lines)), *above) if lines else above


def _is_ignored(path: str, rules: Sequence[_Rules]) -> bool:
    verdicts = (rule.verdict(path) for rule in rules)
    return next((verdict for verdict in verdicts if verdict is not None), False)
