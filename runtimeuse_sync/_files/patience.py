"""One timeout for several requests."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Optional

from .. import IdleTimeoutError, InvocationTimeoutError


class Patience:
    """The ``timeout`` of a call of the user's that makes several requests; it begins when this is made.

    >>> Patience(None).left()
    """

    def __init__(self, timeout: Optional[float]) -> None:
        self._timeout = timeout
        self._began = time.monotonic()

    def left(self) -> Optional[float]:
        """Seconds of it; raises ``InvocationTimeoutError`` if there are none. None: there is no timeout."""
        if self._timeout is None:
            return None
        left = self._began + self._timeout - time.monotonic()
        if left <= 0:
            raise InvocationTimeoutError(timeout=self._timeout)
        return left

    @contextmanager
    def of_all(self) -> Iterator[None]:
        """Make the error of a request that ran out of time name the timeout of the whole call."""
        try:
            yield
        except IdleTimeoutError:
            raise
        except InvocationTimeoutError:
            raise InvocationTimeoutError(timeout=self._timeout) from None
