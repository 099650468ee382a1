from __future__ import annotations

from runtimeuse_sync.local._artifacts.settling import Settling, Version

V1, V2 = Version(1, 10, 7), Version(2, 20, 7)


def test_a_file_is_taken_when_it_has_been_unchanged_long_enough() -> None:
    settling = Settling(2.0)
    settling.see("a", V1, now=0.0)
    settling.see("a", V1, now=1.9)
    assert settling.take(now=1.9) == []
    assert settling.take(now=2.0) == ["a"]


def test_a_write_begins_the_wait_anew() -> None:
    settling = Settling(2.0)
    settling.see("a", V1, now=0.0)
    settling.see("a", V2, now=1.5)
    assert settling.take(now=3.4) == []
    assert settling.take(now=3.5) == ["a"]


def test_each_version_is_taken_once() -> None:
    settling = Settling(2.0)
    settling.see("a", V1, now=0.0)
    assert settling.take(now=2.0) == ["a"]
    settling.see("a", V1, now=3.0)
    assert settling.take(now=9.0) == []
    settling.see("a", V2, now=10.0)
    assert settling.take(now=12.0) == ["a"]


def test_a_time_stamp_long_past_counts_as_waited() -> None:
    settling = Settling(2.0)
    settling.see("old", V1, now=0.0, quiet_for=60.0)
    settling.see("from the future", V1, now=0.0, quiet_for=-60.0)
    assert settling.take(now=0.0) == ["old"]
    assert settling.take(now=2.0) == ["from the future"]


def test_what_is_gone_is_forgotten_and_may_come_again() -> None:
    settling = Settling(2.0)
    settling.see("a", V1, now=0.0)
    settling.forget("a")
    assert settling.pending() == []
    assert settling.take(now=5.0) == []
    settling.see("a", V1, now=6.0)
    assert settling.take(now=8.0) == ["a"]


def test_at_the_end_what_never_settled_is_taken_as_it_is() -> None:
    settling = Settling(2.0)
    settling.see("log", V1, now=0.0)
    assert settling.pending() == ["log"]
    assert settling.take(now=0.0, unsettled_too=True) == ["log"]
    assert settling.pending() == []
