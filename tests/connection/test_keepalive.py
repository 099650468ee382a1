"""When to ping and when a peer is dead, by a clock that only moves when told to."""

from __future__ import annotations

import time

import pytest

from runtimeuse_sync._connection.keepalive import Keepalive


class Clock:
    """Says what it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keepalive(clock: Clock) -> Keepalive:
    """A ping every 20 s, an answer within 5 s."""
    return Keepalive(20, 5, clock=clock)


# --- pings --------------------------------------------------------------------------------------------


def test_a_ping_is_due_when_the_interval_has_passed(keepalive: Keepalive, clock: Clock) -> None:
    assert keepalive.is_due() is False
    clock.now = 1019.999
    assert keepalive.is_due() is False
    clock.now = 1020.0
    assert keepalive.is_due() is True


def test_the_next_ping_is_due_an_interval_after_the_last(keepalive: Keepalive, clock: Clock) -> None:
    clock.now = 1023.0
    keepalive.pinged()
    assert keepalive.is_due() is False
    clock.now = 1042.999
    assert keepalive.is_due() is False
    clock.now = 1043.0
    assert keepalive.is_due() is True


def test_what_the_peer_sends_puts_no_ping_off(keepalive: Keepalive, clock: Clock) -> None:
    clock.now = 1019.0
    keepalive.heard()
    clock.now = 1020.0
    assert keepalive.is_due() is True


# --- silence ------------------------------------------------------------------------------------------


def test_silence_without_a_ping_is_no_sign_of_death(keepalive: Keepalive, clock: Clock) -> None:
    clock.now = 1e9
    assert (keepalive.is_silent(), keepalive.is_stuck()) == (False, False)


def test_a_peer_that_does_not_answer_a_ping_in_time_is_dead(keepalive: Keepalive, clock: Clock) -> None:
    clock.now = 1020.0
    keepalive.pinged()
    clock.now = 1024.999
    assert keepalive.is_silent() is False
    clock.now = 1025.0
    assert keepalive.is_silent() is True
    assert keepalive.silence() == "a ping was not answered within 5 s"


def test_whatever_the_peer_sends_is_a_sign_of_life(keepalive: Keepalive, clock: Clock) -> None:
    clock.now = 1020.0
    keepalive.pinged()
    clock.now = 1024.0
    keepalive.heard()
    clock.now = 1e9
    assert keepalive.is_silent() is False


def test_a_second_ping_gives_no_second_chance(clock: Clock) -> None:
    keepalive = Keepalive(2, 5, clock=clock)
    keepalive.pinged()
    clock.now = 1002.0
    keepalive.pinged()
    clock.now = 1004.999
    assert keepalive.is_silent() is False
    clock.now = 1005.0
    assert keepalive.is_silent() is True


def test_an_answered_ping_makes_the_next_one_count(keepalive: Keepalive, clock: Clock) -> None:
    keepalive.pinged()
    keepalive.heard()
    clock.now = 1020.0
    keepalive.pinged()
    clock.now = 1024.999
    assert keepalive.is_silent() is False
    clock.now = 1025.0
    assert keepalive.is_silent() is True


# --- a peer that does not read ------------------------------------------------------------------------


def test_a_peer_that_has_read_nothing_for_interval_and_timeout_is_dead(keepalive: Keepalive, clock: Clock) -> None:
    keepalive.stalled()
    clock.now = 1024.999
    assert keepalive.is_stuck() is False
    clock.now = 1025.0
    assert keepalive.is_stuck() is True
    assert keepalive.stall() == "the peer has read nothing for 25 s"


def test_a_stall_counts_from_its_beginning(keepalive: Keepalive, clock: Clock) -> None:
    keepalive.stalled()
    clock.now = 1010.0
    keepalive.stalled()
    clock.now = 1025.0
    assert keepalive.is_stuck() is True


def test_what_could_be_written_ends_a_stall(keepalive: Keepalive, clock: Clock) -> None:
    keepalive.stalled()
    clock.now = 1010.0
    keepalive.wrote()
    clock.now = 1e9
    assert keepalive.is_stuck() is False
    keepalive.stalled()
    clock.now += 24.9
    assert keepalive.is_stuck() is False
    clock.now += 0.1
    assert keepalive.is_stuck() is True


def test_a_peer_that_sends_but_does_not_read_is_dead_too(keepalive: Keepalive, clock: Clock) -> None:
    keepalive.stalled()
    clock.now = 1025.0
    keepalive.heard()
    assert keepalive.is_stuck() is True


def test_what_the_peer_owes_is_told_apart(keepalive: Keepalive, clock: Clock) -> None:
    keepalive.pinged()
    keepalive.stalled()
    clock.now = 1005.0
    assert (keepalive.is_silent(), keepalive.is_stuck()) == (True, False)
    clock.now = 1025.0
    assert (keepalive.is_silent(), keepalive.is_stuck()) == (True, True)


def test_seconds_are_said_shortly(clock: Clock) -> None:
    keepalive = Keepalive(0.25, 0.5, clock=clock)
    assert keepalive.stall() == "the peer has read nothing for 0.75 s"
    assert keepalive.silence() == "a ping was not answered within 0.5 s"


# --- without limits -----------------------------------------------------------------------------------


def test_without_an_interval_no_ping_is_due(clock: Clock) -> None:
    keepalive = Keepalive(None, 5, clock=clock)
    keepalive.stalled()
    clock.now = 1e18
    assert (keepalive.is_due(), keepalive.is_stuck()) == (False, False)


def test_without_a_timeout_nobody_dies(clock: Clock) -> None:
    keepalive = Keepalive(20, None, clock=clock)
    keepalive.pinged()
    keepalive.stalled()
    clock.now = 1e18
    assert (keepalive.is_due(), keepalive.is_silent(), keepalive.is_stuck()) == (True, False, False)


# --- how long to wait -----------------------------------------------------------------------------------


def test_a_pause_lasts_until_a_ping_is_due(keepalive: Keepalive, clock: Clock) -> None:
    assert keepalive.pause() == 20.0
    clock.now = 1015.0
    assert keepalive.pause() == 5.0
    clock.now = 1020.0
    assert keepalive.pause() == 0.0
    clock.now = 1021.0
    assert keepalive.pause() == 0.0


def test_a_pause_lasts_until_the_peer_is_dead(keepalive: Keepalive, clock: Clock) -> None:
    keepalive.pinged()
    assert keepalive.pause() == 5.0
    clock.now = 1003.0
    assert keepalive.pause() == 2.0
    keepalive.heard()
    assert keepalive.pause() == 17.0


def test_while_nothing_can_be_written_no_ping_ends_a_pause(keepalive: Keepalive, clock: Clock) -> None:
    clock.now = 1010.0
    keepalive.stalled()
    assert keepalive.pause() == 25.0
    clock.now = 1034.0
    assert keepalive.pause() == 1.0
    keepalive.wrote()
    assert keepalive.pause() == 0.0


@pytest.mark.parametrize(("interval", "pause"), [(None, 3600.0), (1e9, 3600.0), (3600, 3600.0), (3599, 3599.0)])
def test_a_pause_is_an_hour_at_most(clock: Clock, interval: float, pause: float) -> None:
    assert Keepalive(interval, None, clock=clock).pause() == pause


def test_the_clock_is_a_monotonic_one() -> None:
    assert Keepalive.__init__.__kwdefaults__ == {"clock": time.monotonic}  # type: ignore[misc]
