"""Which files of a directory are artifacts: gitignore's rules, by ``.artifactignore`` files and by request."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Optional

import pathspec
from attrs import frozen

IGNORE_FILE = ".artifactignore"


class _Rule:
    """One line. Matched against each folder of a path in turn, as git does.

    pathspec's own verdict on a whole path differs from git's where a negated line meets an ignored folder:
    by it, ``!b.txt`` before ``sub/`` brings sub/b.txt back, and ``!*/`` after ``*`` brings no folder back.
    """

    def __init__(self, line: str) -> None:
        body = line.rstrip()
        if body.endswith("/**/"):
            # The same to git; to pathspec, the first is the folder on the left too.
            body = line = body + "*/"
        (self._pattern,) = pathspec.GitIgnoreSpec.from_lines([line]).patterns
        self.ignores = self._pattern.include
        self._is_for_folders = body.endswith("/")
        self._is_for_any_depth = "/" not in body.rstrip("/")

    def matches(self, path: str, *, is_folder: bool) -> bool:
        """Whether it speaks of ``path`` itself: not of a folder above it."""
        if self._is_for_any_depth:
            path = path.rpartition("/")[2]
        if is_folder and self._is_for_folders:
            path += "/"
        found = self._pattern.match_file(path)
        # The group is where pathspec matched a folder, perhaps one above.
        if found is None:
            return False
        end_of_folder = found.match.end("ps_d") if "ps_d" in found.match.re.groupindex else -1
        return end_of_folder in (-1, len(path))


@frozen
class _Rules:
    """The lines that hold below one folder."""

    folder: str
    rules: Sequence[_Rule]

    def verdict(self, path: str, *, is_folder: bool) -> Optional[bool]:
        """True to ignore ``path``, False to keep it, None for nothing said. The last line that matches counts."""
        relative = path[len(self.folder) :].replace(os.sep, "/").lstrip("/")
        matching = (rule.ignores for rule in reversed(self.rules) if rule.matches(relative, is_folder=is_folder))
        return next(matching, None)


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
        is_folder = entry.is_dir(follow_symlinks=False)
        if entry.name == IGNORE_FILE or _is_ignored(entry.path, rules, is_folder=is_folder):
            continue
        if is_folder:
            yield from _walk(entry.path, rules, "")
        else:
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
    parsed = list(_parsed([*own.splitlines(), *extra.splitlines()]))
    return (_Rules(folder, parsed), *above) if parsed else above


def _parsed(lines: Sequence[str]) -> Iterator[_Rule]:
    for line in lines:
        if line.strip() and not line.startswith("#"):
            # What cannot be read is passed over, as git does.
            with suppress(ValueError, re.error):
                yield _Rule(line)


def _is_ignored(path: str, rules: Sequence[_Rules], *, is_folder: bool) -> bool:
    verdicts = (rule.verdict(path, is_folder=is_folder) for rule in rules)
    return next((verdict for verdict in verdicts if verdict is not None), False)
