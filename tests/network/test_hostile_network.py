"""What a call comes to when the network fails it: every fault, at every phase, on every generation of the runtime."""

from __future__ import annotations

from typing import Any, Callable

import pytest

from runtimeuse_sync.testing import ScriptedRuntime

from ..support import ALL, ONE_REQUEST
from .agent import EARLY, LATE, RESULT, TEXTS, agent
from .hostile_proxy import (
    DOWN,
    UP,
    Act,
    Fault,
    HostileProxy,
    Place,
    delay,
    half_close,
    join,
    reset,
    split,
    stall,
    stall_both,
)
from .trial import IMPATIENT, PATIENT, PING_TIMEOUT, Trial, attempt, check_deliveries, check_requests

pytestmark = [pytest.mark.slow, pytest.mark.timeout(30)]

Start = Callable[..., ScriptedRuntime]

# In the order of a call.
PLACES = {
    "connect": Place(DOWN, "connect"),
    "handshake, up": Place(UP, "head"),
    "handshake, down": Place(DOWN, "head"),
    "request": Place(UP, "invocation_message"),
    "stream": Place(DOWN, "assistant_message", 5),
    "artifact, asked": Place(DOWN, "artifact_upload_request_message"),
    "artifact, answered": Place(UP, "artifact_upload_response_message"),
    "result": Place(DOWN, "result_message"),
    "drain, begun": Place(UP, "end_session_message"),
    "drain, asked": Place(DOWN, "artifact_upload_request_message", 2),
    "drain, answered": Place(UP, "artifact_upload_response_message", 2),
    "drain, confirmed": Place(DOWN, "end_session_confirm_message"),
    "close, down": Place(DOWN, "close"),
    "close, up": Place(UP, "close"),
}
ORDER = list(PLACES)

LETHAL: dict[str, Act] = {"stall": stall, "stall both": stall_both, "half-close": half_close, "reset": reset}
HARMLESS: dict[str, Act] = {"delay": delay(0.1), "split": split, "join": join}

TIMED_OUT, CLOSED, RESET = "timed out", "connection closed", "connection reset by peer"
NO_PONG = f"a ping was not answered within {PING_TIMEOUT:g} s"
CUT = "the connection ended without a Close frame"
FAILED = {"stall": TIMED_OUT, "stall both": TIMED_OUT, "half-close": CLOSED, "reset": RESET}
LOST = {"stall": NO_PONG, "stall both": NO_PONG, "half-close": CUT, "reset": RESET}
MISSING = "ConnectionLostError while artifacts were awaited; some may be missing"


def occurs(place: str, release: str) -> bool:
    return place != "drain, confirmed" or release == "0.15"


def combinations(faults: dict[str, Act]) -> list[Any]:
    return [
        pytest.param(release, place, fault, id=f"{release}-{place}-{fault}")
        for release in ALL
        for place in PLACES
        for fault in faults
        if occurs(place, release)
    ]


def outcomes(place: str, fault: str, release: str) -> set[str]:
    """What a call may come to."""
    if ORDER.index(place) <= ORDER.index("handshake, down"):
        return {f"failed: {FAILED[fault]}"}
    lost = f"lost 1006: {LOST[fault]}"
    if ORDER.index(place) <= ORDER.index("result"):
        return {lost}
    # Where no confirmation comes, the runtime's Close frame is what ends the drain.
    expected = (
        {"result"} if place == "close, up" or (place == "close, down" and release == "0.15") else {"result, warned"}
    )
    if fault == "reset" and place == "close, down" and release == "0.15":
        expected.add("result, warned")  # the reset may catch up with the confirmation, sent just before
    if fault == "reset" and place == "drain, asked" and release in ONE_REQUEST:
        expected.add(lost)  # and so it may with the result
    return expected


@pytest.mark.parametrize(("release", "place", "fault"), combinations(LETHAL))
def test_what_a_broken_connection_comes_to(scripted_runtime: Start, release: str, place: str, fault: str) -> None:
    runtime = scripted_runtime(agent(release))
    pings = IMPATIENT if fault.startswith("stall") else PATIENT
    with HostileProxy(runtime.url, Fault(PLACES[place], LETHAL[fault])) as proxy:
        trial = attempt(proxy, client={"connect_timeout": 0.5, "drain_timeout": 5.0, **pings})
    assert proxy.struck.is_set()
    assert trial.outcome in outcomes(place, fault, release)
    assert set(trial.logger.texts) <= {MISSING}
    assert trial.result == (RESULT if trial.error is None else None)
    check_deliveries(trial, proxy, may_lose=fault == "reset")
    check_requests(runtime)


def assert_complete(trial: Trial, runtime: ScriptedRuntime) -> None:
    assert trial.outcome == "result"
    assert trial.result == RESULT
    assert trial.heard == TEXTS
    assert trial.asked == [EARLY, *LATE]
    check_requests(runtime)


@pytest.mark.parametrize(("release", "place", "fault"), combinations(HARMLESS))
def test_what_a_slow_connection_comes_to(scripted_runtime: Start, release: str, place: str, fault: str) -> None:
    runtime = scripted_runtime(agent(release))
    with HostileProxy(runtime.url, Fault(PLACES[place], HARMLESS[fault])) as proxy:
        trial = attempt(proxy, client=PATIENT)
    assert proxy.struck.is_set()
    assert_complete(trial, runtime)
