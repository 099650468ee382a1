"""Networks that nobody thought up: drawn at random, from a seed that repeats them."""

from __future__ import annotations

import random
import re
import ssl
from collections.abc import Iterator
from typing import Any, Callable

import pytest
import trustme

from runtimeuse_sync.testing import ScriptedRuntime

from ..support import ALL
from .agent import EARLY, LATE, RESULT, TEXTS, agent
from .hostile_proxy import (
    DOWN,
    UP,
    Fault,
    HostileProxy,
    Piece,
    Place,
)
from .places import FAILED, LETHAL, LOST
from .trial import IMPATIENT, PATIENT, Trial, attempt, check_deliveries, check_requests

pytestmark = [pytest.mark.slow, pytest.mark.timeout(30)]

Start = Callable[..., ScriptedRuntime]


@pytest.fixture(scope="module")
def server_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def trust(authority: trustme.CA) -> dict[str, Any]:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return {"ssl_context": context}


def assert_complete(trial: Trial, texts: list[str] = TEXTS) -> None:
    assert trial.result == RESULT
    assert trial.heard == texts
    assert trial.asked == [EARLY, *LATE]


# --- slow and choppy --------------------------------------------------------------------------------


def choppy(rng: random.Random) -> Callable[[bytes], Iterator[Piece]]:
    """Pieces of any size, with pauses between some of them."""

    def manner(data: bytes) -> Iterator[Piece]:
        while data:
            size = rng.choice((1, 2, 10, 100, 1000, 50_000))
            if rng.random() < 0.1:
                yield rng.random() * 0.02
            yield data[:size]
            data = data[size:]

    return manner


@pytest.mark.parametrize("seed", range(60))
def test_chopping_and_pausing_changes_nothing(
    scripted_runtime: Start, server_context: ssl.SSLContext, trust: dict[str, Any], seed: int
) -> None:
    rng = random.Random(seed)
    texts = [*TEXTS, "ü🎉" * rng.choice((0, 5_000, 20_000))]
    options = {"ssl_context": server_context} if rng.random() < 0.5 else {}
    runtime = scripted_runtime(agent(rng.choice(ALL), texts), **options)
    with HostileProxy(runtime.url, manner=choppy(rng)) as proxy:
        trial = attempt(proxy, client={**PATIENT, **trust})
    assert trial.outcome == "result"
    assert_complete(trial, texts)
    check_requests(runtime)


# --- broken anywhere --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def traffic() -> dict[tuple[str, str], int]:
    """How many bytes an undisturbed call takes, by generation and direction."""
    sizes = {}
    for release in ALL:
        with ScriptedRuntime(agent(release)) as runtime:
            with HostileProxy(runtime.url) as proxy:
                attempt(proxy, client=PATIENT)
        sizes.update({(release, way): len(proxy.passed[way]) for way in (UP, DOWN)})
    return sizes


def expected(proxy: HostileProxy, release: str, fault: str, *, unread: int = 0) -> str:
    """What has to come of what has passed, but for the last units that the client may not have read."""
    units = [name for name, _ in proxy.units(DOWN)]
    passed = set(units[: len(units) - unread])
    if "head" not in passed:
        return f"failed: {FAILED[fault]}"
    if "result_message" not in passed:
        return f"lost 1006: {LOST[fault]}"
    return "result" if passed & {"end_session_confirm_message", "close"} else "result, warned"


@pytest.mark.parametrize("seed", range(120))
def test_a_connection_that_breaks_anywhere(
    scripted_runtime: Start, traffic: dict[tuple[str, str], int], seed: int
) -> None:
    rng = random.Random(seed)
    release, way, fault = rng.choice(ALL), rng.choice((UP, DOWN)), rng.choice(list(LETHAL))
    place = Place(way, offset=rng.randrange(traffic[release, way]))
    runtime = scripted_runtime(agent(release))
    pings = IMPATIENT if fault.startswith("stall") else PATIENT
    with HostileProxy(runtime.url, Fault(place, LETHAL[fault])) as proxy:
        trial = attempt(proxy, client={"drain_timeout": 5.0, **pings})
    right = {expected(proxy, release, fault)}
    if fault == "reset":
        right.add(expected(proxy, release, fault, unread=1))
    assert trial.outcome in right
    assert trial.result == (RESULT if trial.error is None else None)
    check_deliveries(trial, proxy, may_lose=fault == "reset")
    check_requests(runtime)


# --- broken anywhere, over TLS ----------------------------------------------------------------------


def flip_there(unit: bytes, cut: int) -> bytes:
    """One bit of the byte at the place turned over."""
    return unit[:cut] + bytes([unit[cut] ^ 1 << cut % 8]) + unit[cut + 1 :]


FAULTS: dict[str, Callable[[Place], Fault]] = {
    "flip": lambda place: Fault(place, change=flip_there),
    **{name: (lambda place, act=act: Fault(place, act)) for name, act in LETHAL.items()},
}


# A little less than a call takes over TLS, in bytes.
LEAST = {UP: 1650, DOWN: 5500}

# A reset looks like an end where Python reads TLS.
STALLED = "failed: timed out|lost 1006: a ping was not answered .*|result|result, warned"
ENDED = (
    "failed: connection closed|(failed|lost 1006): .*alert.*|lost 1006: the connection ended .*|result|result, warned"
)
RIGHT = {
    "stall": STALLED,
    "stall both": STALLED,
    "half-close": ENDED,
    "reset": f"failed: connection reset by peer|lost 1006: connection reset by peer|{ENDED}",
    "flip": f"failed: .+|lost 1006: .*(bad|wrong|length).*|{STALLED}|{ENDED}",
}


@pytest.mark.parametrize("seed", range(100))
def test_tls_that_breaks_anywhere(
    scripted_runtime: Start, server_context: ssl.SSLContext, trust: dict[str, Any], seed: int
) -> None:
    """What comes out of TLS is right, or does not come out: nothing altered reaches the caller."""
    rng = random.Random(seed)
    release, way, fault = rng.choice(ALL), rng.choice((UP, DOWN)), rng.choice(list(FAULTS))
    place = Place(way, offset=rng.randrange(LEAST[way]))
    runtime = scripted_runtime(agent(release), ssl_context=server_context)
    pings = PATIENT if fault in ("half-close", "reset") else IMPATIENT  # a length that is wrong is waited for
    with HostileProxy(runtime.url, FAULTS[fault](place)) as proxy:
        trial = attempt(proxy, client={"drain_timeout": 1.0, **pings, **trust})
    assert re.fullmatch(RIGHT[fault], trial.outcome, re.IGNORECASE)
    if trial.outcome == "result":
        assert_complete(trial)
    assert trial.result == (RESULT if trial.error is None else None)
    assert trial.heard == TEXTS[: len(trial.heard)]
    assert trial.asked == [EARLY, *LATE][: len(trial.asked)]
    check_requests(runtime)
