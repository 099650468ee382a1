from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import Any

import pytest

from runtimeuse_sync.local._server.latch import Latch

from .conftest import PATIENCE

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")


def test_all_who_wait_are_woken() -> None:
    latch = Latch()
    waiting = [threading.Thread(target=latch.wait) for _ in range(5)]
    for thread in waiting:
        thread.start()
    assert not latch.is_set()
    latch.set()
    for thread in waiting:
        thread.join(PATIENCE)
    assert latch.is_set()
    latch.wait()
    latch.set()


@posix_only
def test_ctrl_c_ends_a_wait_and_the_next_one_waits_on() -> None:
    latch = Latch()
    old = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            latch.wait()
    finally:
        timer.join()
        signal.signal(signal.SIGINT, old)
    timer = threading.Timer(0.1, latch.set)
    timer.start()
    latch.wait()
    timer.join()


@posix_only
def test_a_signal_around_the_moment_of_waiting_is_not_lost() -> None:
    """Without its byte in a socket, a handler that is due just before the wait would run after it."""
    latch = Latch()
    seen: list[int] = []

    def handler(*_: Any) -> None:
        seen.append(1)
        latch.set()

    old = signal.signal(signal.SIGUSR1, handler)
    try:
        for _ in range(20):
            latch = Latch()
            thread = threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGUSR1))
            thread.start()
            latch.wait()
            thread.join()
    finally:
        signal.signal(signal.SIGUSR1, old)
    assert len(seen) == 20


@posix_only
def test_whose_wakeup_descriptor_it_was_has_it_again() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    old = signal.set_wakeup_fd(writer)
    try:
        latch = Latch()
        latch.set()
        latch.wait()
        assert signal.set_wakeup_fd(old) == writer
    finally:
        os.close(reader)
        os.close(writer)


@posix_only
def test_a_handler_may_set_it_while_the_lock_is_held() -> None:
    latch = Latch()
    old = signal.signal(signal.SIGUSR1, lambda *_: latch.set())
    try:
        with latch._lock:
            os.kill(os.getpid(), signal.SIGUSR1)
            give_up = time.monotonic() + PATIENCE
            while not latch.is_set() and time.monotonic() < give_up:
                time.sleep(0.001)
    finally:
        signal.signal(signal.SIGUSR1, old)
    latch.wait()
