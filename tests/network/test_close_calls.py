"""Two ends of a call at the same moment: which of them counts."""

from __future__ import annotations

import time
from typing import Any

import pytest

from runtimeuse_sync import Client, ConnectionFailedError, InvocationTimeoutError

from ..support import invocation


class LateConnection:
    """Gives up connecting just after the call's own limit, as a connection thread that is scheduled late does."""

    is_open = False

    def connection(self) -> LateConnection:
        return self

    def open(self, timeout: float) -> None:
        self.give_up = time.monotonic() + timeout

    def send(self, message: Any) -> None:
        pass

    def receive(self, timeout: float) -> list[Any]:
        time.sleep(timeout)  # as long as a caller may be kept waiting
        if time.monotonic() >= self.give_up - 0.01:
            time.sleep(0.02)
            raise ConnectionFailedError("cannot connect: timed out", reason="timed out")
        return []

    def wake(self) -> None:
        pass

    def close(self, timeout: float) -> None:
        pass


def test_a_timeout_while_connecting_is_the_calls_timeout() -> None:
    with pytest.raises(InvocationTimeoutError):
        Client(transport=LateConnection()).invoke(invocation(), timeout=0.1)
