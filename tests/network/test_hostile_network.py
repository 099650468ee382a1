"""What a call comes to when the network fails it: every fault, at every place, on every generation of the runtime."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Callable

import pytest

from runtimeuse_sync import ProtocolError
from runtimeuse_sync.testing import ScriptedRuntime

from ..support import ALL, ONE_REQUEST
from .agent import EARLY, LATE, RESULT, TEXTS, agent
from .hostile_proxy import (
    Act,
    Fault,
    HostileProxy,
    delay,
    join,
    split,
)
from .places import FAILED, LETHAL, LOST, ORDER, PLACES, occurs
from .trial import CONNECT_TIMEOUT, IMPATIENT, PATIENT, Trial, attempt, check_deliveries, check_requests

pytestmark = [pytest.mark.slow, pytest.mark.timeout(30)]

Start = Callable[..., ScriptedRuntime]

HARMLESS: dict[str, Act] = {"delay": delay(0.1), "split": split, "join": join}

MISSING = "ConnectionLostError while artifacts were awaited; some may be missing"


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
        trial = attempt(proxy, client={"drain_timeout": 5.0, **pings})
    assert trial.outcome in outcomes(place, fault, release)
    assert set(trial.logger.texts) <= {MISSING}
    assert "looking up the host" not in str(trial.error)
    assert trial.result == (RESULT if trial.error is None else None)
    check_deliveries(trial, proxy, may_lose=fault == "reset")
    check_requests(runtime)


# A call without artifacts is over with its result: only the close is left.
BRIEF = ["request", "stream", "result", "close, up", "close, down"]


@pytest.mark.parametrize("release", ["0.4", "0.15"])
@pytest.mark.parametrize("place", BRIEF)
@pytest.mark.parametrize("fault", LETHAL)
def test_what_a_broken_connection_comes_to_without_artifacts(
    scripted_runtime: Start, release: str, place: str, fault: str
) -> None:
    runtime = scripted_runtime(agent(release))
    pings = IMPATIENT if fault.startswith("stall") else PATIENT
    with HostileProxy(runtime.url, Fault(PLACES[place], LETHAL[fault])) as proxy:
        trial = attempt(proxy, client=pings, artifacts_dirs=None)
    assert trial.outcome == ("result" if place.startswith("close") else f"lost 1006: {LOST[fault]}")
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
    assert_complete(trial, runtime)


# --- corruption -------------------------------------------------------------------------------------

Change = Callable[[bytes, int], bytes]


def flip(position: int, bits: int) -> Change:
    """The unit with some bits of one byte turned over."""

    def change(unit: bytes, cut: int) -> bytes:
        return unit[:position] + bytes([unit[position] ^ bits]) + unit[position + 1 :]

    return change


def replace(old: bytes, new: bytes) -> Change:
    def change(unit: bytes, cut: int) -> bytes:
        assert old in unit
        return unit.replace(old, new, 1)

    return change


RESERVED, UNKNOWN, BINARY, NOT_FINAL, MASK = flip(0, 0x40), flip(0, 0x02), flip(0, 0x03), flip(0, 0x80), flip(1, 0x80)
NOT_JSON, NOT_UTF8 = replace(b'{"', b'["'), replace(b"_", b"\xff")
# A length in two more bytes: one off in the lower of them; all eight bytes that follow taken for one.
ONE_OFF, HUGE = flip(3, 0x01), flip(1, 0x01)
LONGER = flip(1, 0x10)
GARBLED = flip(10, 0xFF)

# (place, change) -> the outcome; where it depends on the generation: before 0.11, since.
CORRUPT: dict[tuple[str, str], tuple[Change, Any]] = {
    ("handshake, down", "not HTTP"): (replace(b"HTTP", b"HTXP"), "failed: not HTTP"),
    ("handshake, down", "a status"): (replace(b" 101", b" 501"), "failed: Switching Protocols"),
    ("handshake, down", "a key"): (replace(b"Accept: ", b"Accept: x"), "failed: bad upgrade"),
    ("handshake, down", "no end"): (replace(b"\r\n\r\n", b"\r\n\r "), "failed: timed out"),
    ("handshake, up", "no HTTP"): (replace(b"HTTP/1.1", b"HTTP/9.9"), "failed: connection closed"),
    ("handshake, up", "no upgrade"): (
        replace(b"Upgrade: websocket", b"Upgrade: websickle"),
        "failed: Upgrade Required",
    ),
    ("request", "reserved bits"): (RESERVED, "lost 1002: reserved bits must be 0"),
    ("request", "no mask"): (MASK, "lost 1002: incorrect masking"),
    ("request", "garbled"): (GARBLED, ("agent: Invalid message", "timed out")),
    ("stream", "reserved bits"): (RESERVED, "protocol 1002"),
    ("stream", "unknown opcode"): (UNKNOWN, "protocol 1002"),
    ("stream", "binary"): (BINARY, "protocol 1003"),
    ("stream", "not final"): (NOT_FINAL, "protocol 1002"),
    ("stream", "masked"): (MASK, "protocol 1002"),
    ("stream", "not JSON"): (NOT_JSON, "protocol 1007"),
    ("stream", "not UTF-8"): (NOT_UTF8, "protocol 1007"),
    ("stream", "one off"): (ONE_OFF, "protocol 1007"),
    ("stream", "huge"): (HUGE, "protocol 1009"),
    ("artifact, asked", "longer"): (LONGER, "timed out"),
    ("artifact, asked", "not final"): (NOT_FINAL, "timed out"),
    ("artifact, answered", "reserved bits"): (RESERVED, "lost 1002: reserved bits must be 0"),
    ("artifact, answered", "garbled"): (GARBLED, "timed out"),
    ("result", "not JSON"): (NOT_JSON, "protocol 1007"),
    ("result", "wrong shape"): (replace(b'"structured_output": {', b'"structured_outpux": {'), "protocol 1007"),
    ("drain, begun", "reserved bits"): (RESERVED, "result, warned"),
    ("drain, begun", "garbled"): (GARBLED, ("result", "result, warned")),
    ("drain, asked", "not JSON"): (NOT_JSON, "result, warned"),
    ("drain, answered", "reserved bits"): (RESERVED, "result, warned"),
    ("drain, answered", "garbled"): (GARBLED, "result, warned"),
    ("drain, confirmed", "reserved bits"): (RESERVED, "result, warned"),
    ("drain, confirmed", "not JSON"): (NOT_JSON, "result, warned"),
    ("close, up", "reserved bits"): (RESERVED, "result"),
}


def heard_at(place: str) -> int:
    """How many messages were delivered by then."""
    return 0 if ORDER.index(place) < ORDER.index("stream") else PLACES["stream"].count - 1 if place == "stream" else 10


@pytest.mark.parametrize(
    ("release", "place", "change"),
    [
        pytest.param(release, *corruption, id="-".join((release, *corruption)))
        for release in ALL
        for corruption in CORRUPT
        if occurs(corruption[0], release)
    ],
)
def test_what_corruption_comes_to(monkeypatch: pytest.MonkeyPatch, release: str, place: str, change: str) -> None:
    monkeypatch.setattr("runtimeuse_sync._call.waits.IMPATIENT_CANCEL_WAIT", 0.1)
    alter, outcome = CORRUPT[place, change]
    if isinstance(outcome, tuple):
        outcome = outcome[release not in ONE_REQUEST]
    # The runtime, in its turn, reports what came corrupted.
    with suppress(ProtocolError), ScriptedRuntime(agent(release)) as runtime:
        with HostileProxy(runtime.url, Fault(PLACES[place], change=alter)) as proxy:
            trial = attempt(
                proxy, client={"connect_timeout": CONNECT_TIMEOUT, "drain_timeout": 1.0, **PATIENT}, timeout=2.0
            )
    assert trial.outcome == outcome
    assert trial.result == (RESULT if trial.error is None else None)
    assert trial.heard == TEXTS[: heard_at(place)]
    assert trial.asked == [EARLY, *LATE][: len(trial.asked)]
    check_requests(runtime)
