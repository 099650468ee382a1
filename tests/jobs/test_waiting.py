"""The queue of what has ended."""

from __future__ import annotations

import threading

import pytest

from runtimeuse_sync.jobs._waiting import Ended


@pytest.mark.timeout(30)
def test_a_wait_of_microseconds_ends() -> None:
    # queue.SimpleQueue, on Python 3.9 to 3.12, waits for ever within the first few thousand of these.
    for _ in range(20_000):
        for microseconds in (1.0, 1.5, 3.0):
            assert Ended[str]().get(microseconds / 1e6) is None


def test_items_come_in_their_order_from_other_threads() -> None:
    ended: Ended[int] = Ended()
    ended.put(1)
    ended.put(2)
    assert [ended.get(0.0), ended.get(0.0)] == [1, 2]
    ended.get(0.0)  # the release of the items above
    putter = threading.Thread(target=ended.put, args=(3,))
    putter.start()
    assert ended.get(None) == 3
    putter.join()


def test_a_wait_without_an_item_ends_after_its_time() -> None:
    assert Ended[str]().get(0.01) is None
