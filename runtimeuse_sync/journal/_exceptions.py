"""The exceptions of journals."""

from __future__ import annotations

from typing import Optional

from .. import RuntimeUseError, harmless

# Characters of a message.
_LONGEST = 10_000


class JournalError(RuntimeUseError):
    """A journal cannot be read, or written to any more. The text says where, never what stands there.

    Attributes:
        path (str or None): the file.
        line (int or None): which line of it, from 1.

    >>> str(JournalError("not JSON", path="run.jsonl", line=7))
    'run.jsonl, line 7: not JSON'
    """

    def __init__(self, message: str, *, path: Optional[str] = None, line: Optional[int] = None) -> None:
        where = ", ".join([*([path] if path else []), *([f"line {line}"] if line else [])])
        super().__init__(harmless(f"{where}: {message}" if where else message, _LONGEST, keep_lines=True))
        self.path = path
        self.line = line


class ReplayError(JournalError, AssertionError):
    """A call asks for what was not recorded; the text shows the difference.

    >>> issubclass(ReplayError, AssertionError)
    True
    """
