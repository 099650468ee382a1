"""Which files of a directory are artifacts: gitignore's rules, by ``.artifactignore`` files and by request."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Callable, Optional

from attrs import frozen

from ..._files.patterns import Pattern
from .._transfers.files import is_inside, open_regular

IGNORE_FILE = ".artifactignore"

# Bytes and lines of one set of rules. A limit, since each line is matched against each file.
_LARGEST = 64 * 1024
_MOST_LINES = 5000

# Errors of a folder that are not reported: it was removed since it was listed, or may not be read.
_EXPECTED = (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM)

# Called with a folder and the reason for which nothing in it is an artifact.
OnProblem = Callable[[str, str], None]


class _UnusableError(Exception):
    """Rules that cannot be read. Without them, files that they exclude might be uploaded."""


@frozen
class _Rules:
    """The lines that hold below one folder."""

    folder: str
    rules: Sequence[Pattern]

    def verdict(self, path: str, *, is_folder: bool) -> Optional[bool]:
        """True to ignore ``path``, False to keep it, None for nothing said. The last line that matches counts."""
        relative = path[len(self.folder) :].replace(os.sep, "/").lstrip("/").split("/")
        matching = (rule.ignores for rule in reversed(self.rules) if rule.matches(relative, is_folder=is_folder))
        return next(matching, None)


def artifacts(
    directory: str,
    ignore_content: str,
    *,
    on_problem: OnProblem = lambda folder, reason: None,
    is_over: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[str, os.stat_result]]:
    """The files below ``directory`` that are not ignored, each with its stat.

    As git has it: a deeper ``.artifactignore`` goes before one above it, and nothing below an ignored folder
    comes back. ``ignore_content`` counts as the last lines of the one at the top. Links to folders are not
    followed, and the ignore files are no artifacts. Nor is a link to a file outside of ``directory``, nor
    whatever is no regular file.

    Args:
        directory: where to look.
        ignore_content: lines in addition.
        on_problem: told of each folder that is left out because it cannot be read, or its rules cannot.
        is_over: asked at each entry; True ends it.
    """
    # Not by recursion: folders may lie deeper inside of each other than Python's stack reaches.
    open_folders = [_opened(directory, (), ignore_content, on_problem)]
    while open_folders and not is_over():
        rules, entries = open_folders[-1]
        entry = next(entries, None)
        if entry is None:
            open_folders.pop()
            continue
        is_folder = entry.is_dir(follow_symlinks=False)
        if entry.name == IGNORE_FILE or _is_ignored(entry.path, rules, is_folder=is_folder):
            continue
        if is_folder:
            open_folders.append(_opened(entry.path, rules, "", on_problem))
        elif status := regular_file(entry.path, directory):
            yield entry.path, status


_Opened = tuple[Sequence[_Rules], Iterator["os.DirEntry[str]"]]


def _opened(folder: str, above: Sequence[_Rules], extra: str, on_problem: OnProblem) -> _Opened:
    """The rules for ``folder`` and what it holds: nothing if either cannot be read."""
    try:
        rules = _with_rules_of(folder, above, extra)
        with os.scandir(folder) as entries:
            return rules, iter(sorted(entries, key=lambda entry: entry.name))
    except OSError as error:
        if error.errno not in _EXPECTED:
            on_problem(folder, error.strerror or type(error).__name__)
    except _UnusableError as error:
        on_problem(folder, str(error))
    return (), iter(())


def regular_file(path: str, directory: str) -> Optional[os.stat_result]:
    """The stat of ``path`` if it is a regular file, or a link to one inside of ``directory``."""
    try:
        # os.stat, not that of a listing: on Windows, that one is of the time of the listing.
        status = os.stat(path)
        is_regular = stat.S_ISREG(status.st_mode) and (not os.path.islink(path) or is_inside(path, directory))
    except OSError:
        return None
    return status if is_regular else None


def _with_rules_of(folder: str, above: Sequence[_Rules], extra: str) -> Sequence[_Rules]:
    parsed = list(_parsed([*_lines(_content(folder)), *_lines(extra)]))
    return (_Rules(folder, parsed), *above) if parsed else above


def _content(folder: str) -> str:
    try:
        with open_regular(os.path.join(folder, IGNORE_FILE)) as file:
            return file.read(_LARGEST + 1).decode(errors="replace")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return ""
    except OSError as error:
        raise _UnusableError(f"its {IGNORE_FILE} cannot be read: {error.strerror}") from None


def _lines(content: str) -> Sequence[str]:
    lines = content.splitlines()
    if len(content) > _LARGEST or len(lines) > _MOST_LINES:
        raise _UnusableError(f"its rules for artifacts are more than {_LARGEST} characters or {_MOST_LINES} lines")
    return lines


def _parsed(lines: Sequence[str]) -> Iterator[Pattern]:
    for line in lines:
        if line.strip() and not line.startswith("#"):
            # What cannot be read is passed over, as git does.
            with suppress(ValueError, re.error):
                yield Pattern(line)


def _is_ignored(path: str, rules: Sequence[_Rules], *, is_folder: bool) -> bool:
    verdicts = (rule.verdict(path, is_folder=is_folder) for rule in rules)
    return next((verdict for verdict in verdicts if verdict is not None), False)
