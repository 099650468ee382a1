"""Errors for answers that do not fit, with the place in the answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Union

# A step into a decoded value: a field's name or a mapping's key, or an index.
Steps = Sequence[Union[str, int]]


class UnfitError(Exception):
    """An answer that does not fit.

    Attributes:
        path: where in the answer.
        message: what was expected; nothing of the answer.
        detail: what a user's own check said.
    """

    def __init__(self, message: str, path: str, detail: Union[str, None] = None) -> None:
        super().__init__(message)
        self.message = message
        self.path = path
        self.detail = detail


class FaultError(Exception):
    """A decoded value that is not of the type.

    Attributes:
        message, detail: as in ``UnfitError``.
        steps: where in the decoded value, as far as it is known.
        others: further faults. The one that lies deepest in what the answer was meant to be is told.
    """

    def __init__(
        self,
        message: str,
        steps: Steps,
        detail: Union[str, None] = None,
        others: Sequence[FaultError] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.steps = steps
        self.detail = detail
        self.others = others


OWN_CHECK = "Expected what a check of the type accepts"


def field_path(name: str) -> str:
    """The step to a field, as JSON paths write it.

    >>> field_path("files"), field_path("total files")
    ('.files', '["total files"]')
    """
    return f".{name}" if name.isidentifier() else f"[{json.dumps(name)}]"
