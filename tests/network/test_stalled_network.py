"""A network that stands still: the caller's own limits hold, wherever it does."""

from __future__ import annotations

import time
from typing import Any, Callable

import pytest

from runtimeuse_sync import CancelMessage, Client, ConnectionLostError, EndSessionMessage, ResultMessageInterface
from runtimeuse_sync.testing import ScriptedRuntime

from ..support import SESSIONS, invocation, is_within
from .agent import RESULT, agent
from .hostile_proxy import DOWN, Fault, HostileProxy, Place, half_close, reset, stall, stall_up
from .places import ORDER, PLACES, occurs
from .trial import IMPATIENT, PATIENT, attempt, check_deliveries, check_requests

pytestmark = [pytest.mark.slow, pytest.mark.timeout(30)]

Start = Callable[..., ScriptedRuntime]

CASES = [
    pytest.param(release, place, id=f"{release}-{place}")
    for release in ("0.4", "0.15")
    for place in PLACES
    if occurs(place, release)
]
# Seconds, time enough to get to any place.
TIMEOUT = 1.2
# Seconds beyond its limit that a call may take: a second to tell the runtime and to close; the machine may be busy.
BEYOND = 1.5
# Seconds, time enough to tell the runtime.
CANCEL_WAIT = 0.6


def is_before(place: str, other: str) -> bool:
    return ORDER.index(place) < ORDER.index(other)


def ends_the_call(place: str, release: str) -> bool:
    """Whether the call has all that it waits for when this place is reached."""
    return place == "close, up" or (place == "close, down" and release == "0.15")


@pytest.mark.parametrize(("release", "place"), CASES)
def test_a_timeout_holds(scripted_runtime: Start, release: str, place: str) -> None:
    def measure() -> float:
        runtime = scripted_runtime(agent(release))
        with HostileProxy(runtime.url, Fault(PLACES[place], stall)) as proxy:
            trial = attempt(proxy, client=PATIENT, timeout=TIMEOUT)
        if is_before(place, "drain, begun"):
            assert trial.outcome == "timed out"
        else:
            assert trial.outcome == ("result" if ends_the_call(place, release) else "result, warned")
            assert trial.result == RESULT
        check_deliveries(trial, proxy)
        check_requests(runtime)
        return trial.seconds

    assert is_within(TIMEOUT + BEYOND, measure)


@pytest.mark.parametrize(("release", "place"), CASES)
def test_an_abort_holds(scripted_runtime: Start, monkeypatch: pytest.MonkeyPatch, release: str, place: str) -> None:
    monkeypatch.setattr("runtimeuse_sync._call.waits.CANCEL_WAIT", CANCEL_WAIT)

    def measure() -> float:
        runtime = scripted_runtime(agent(release))
        aborted: list[float] = []

        def abort(client: Client) -> None:
            assert proxy.struck.wait(5)
            aborted.append(time.monotonic())
            client.abort()

        with HostileProxy(runtime.url, Fault(PLACES[place], stall)) as proxy:
            trial = attempt(proxy, client=PATIENT, meanwhile=abort)
            if PLACES[place].way == DOWN and is_before("request", place) and is_before(place, "drain, begun"):
                runtime.wait_for(CancelMessage)
        if (place, release) in (("close, down", "0.15"), ("close, up", "0.4")):
            # What comes just before it, and is the end of the call, has reached the caller already, or has not.
            assert trial.outcome in ("result", "cancelled")
        else:
            assert trial.outcome == ("result" if ends_the_call(place, release) else "cancelled")
        check_deliveries(trial, proxy, may_lose=True)
        check_requests(runtime)
        return trial.began + trial.seconds - aborted[0]

    assert is_within(CANCEL_WAIT + BEYOND, measure)


PROMPT = "x" * 30_000_000


def test_a_network_that_takes_nothing_is_given_up(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(agent("0.15"))
    with HostileProxy(runtime.url, Fault(Place(DOWN, "head", fraction=1.0), stall_up)) as proxy:
        # Time enough to encode the prompt before a ping is due.
        trial = attempt(proxy, client={"ping_interval": 2.0, "ping_timeout": 0.5}, user_prompt=PROMPT)
    assert trial.outcome == "lost 1006: the peer has read nothing for 2.5 s"
    assert runtime.received == []


def test_a_network_that_takes_nothing_does_not_hold_up_a_timeout(scripted_runtime: Start) -> None:
    timeout = 2.0  # time enough to encode the prompt

    def measure() -> float:
        runtime = scripted_runtime(agent("0.15"))
        with HostileProxy(runtime.url, Fault(Place(DOWN, "head", fraction=1.0), stall_up)) as proxy:
            trial = attempt(proxy, client=PATIENT, user_prompt=PROMPT, timeout=timeout)
        assert trial.outcome == "timed out"
        return trial.seconds

    assert is_within(timeout + BEYOND, measure)


# --- sessions ---------------------------------------------------------------------------------------

LETHAL: dict[str, Any] = {"stall": stall, "half-close": half_close, "reset": reset}
SECOND = {
    "request": Place("up", "invocation_message", 2),
    "stream": Place(DOWN, "assistant_message", 15),
    "result": Place(DOWN, "result_message", 2),
}


@pytest.mark.parametrize("release", SESSIONS)
@pytest.mark.parametrize("place", SECOND)
@pytest.mark.parametrize("fault", LETHAL)
def test_a_session_that_loses_its_connection(scripted_runtime: Start, release: str, place: str, fault: str) -> None:
    runtime = scripted_runtime(agent(release))
    pings = IMPATIENT if fault == "stall" else PATIENT

    def ask() -> ResultMessageInterface:
        return session.invoke(invocation(artifacts_dirs=["/out"]), on_artifact_upload_request=lambda _: ("", ""))

    with HostileProxy(runtime.url, Fault(SECOND[place], LETHAL[fault])) as proxy:
        with Client(proxy.url, **pings).session() as session:
            assert ask().structured_output == RESULT
            with pytest.raises(ConnectionLostError) as lost:
                ask()
            began = time.monotonic()
            with pytest.raises(ConnectionLostError) as still_lost:
                ask()
            assert time.monotonic() - began < 5.0
    assert lost.value.code == still_lost.value.code == 1006
    assert EndSessionMessage not in {type(message) for message in runtime.received}
