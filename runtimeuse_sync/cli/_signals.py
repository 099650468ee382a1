"""Signals that end a command, as exceptions on the main thread."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Callable, Optional


class Terminated(KeyboardInterrupt):
    """Raised on SIGTERM or SIGHUP. A ``KeyboardInterrupt``, so that code which ends on Ctrl-C ends on these too.

    Attributes:
        number (int): the signal's.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Signals:
    """Raises on a signal, as long as signals are not held off.

    Args:
        once: hold them off after the first, which has begun the end.
    """

    def __init__(self, *, once: bool) -> None:
        self._once = once
        self._is_off = False
        self._act: Optional[Callable[[], object]] = None

    def call(self, act: Callable[[], object]) -> None:
        """From now on call ``act`` and do not raise: an exception could interrupt the code between any two steps."""
        self._act = act

    def hold_off(self) -> None:
        """From now on signals do nothing: the end has begun, and must not be cut short."""
        self._is_off = True

    def handle(self, number: int, frame: Any) -> None:
        """A handler for ``signal.signal``."""
        if self._is_off:
            return
        self._is_off = self._once
        if self._act is not None:
            self._act()
            return
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise Terminated(number)


@contextmanager
def signals_raise(*, once: bool = False) -> Iterator[Signals]:
    """Let SIGINT, SIGTERM and SIGHUP raise inside the block, on the main thread; elsewhere nothing changes.

    SIGINT even if it was ignored, which is what shells do to what they put behind ``&``. SIGHUP only if it was not:
    ``nohup`` means it.
    """
    signals = Signals(once=once)
    if threading.current_thread() is not threading.main_thread():
        yield signals
        return
    before = {number: signal.signal(number, signals.handle) for number in _numbers()}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _numbers() -> Iterator[int]:
    yield signal.SIGINT
    yield signal.SIGTERM
    # Windows has none.
    hangup = getattr(signal, "SIGHUP", None)
    if hangup is not None and signal.getsignal(hangup) is not signal.SIG_IGN:
        yield hangup
