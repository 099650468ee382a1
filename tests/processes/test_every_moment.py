"""An exception of a signal handler at every point of a call at which CPython runs signal handlers.

``test_signals.py`` tries random moments, and meets the short ones rarely. Here a profile function counts the
points (the entry of a function, the return from a C function) and raises at the n-th, for every n.
"""

from __future__ import annotations

import gc
import inspect
import os
import sys
import threading
import time
from types import FrameType
from typing import Any, Callable, Optional

import attrs
import pytest

from runtimeuse_sync import (
    AssistantMessageInterface,
    Client,
    InvocationTimeoutError,
    RuntimeUseError,
)
from runtimeuse_sync._call.watch import watch
from runtimeuse_sync.testing import Reply, ScriptedRuntime, generation

from ..support import invocation, is_within

Start = Callable[..., ScriptedRuntime]

# Seconds that an interrupted call may take to end.
LIMIT = 1.5
# Seconds after which a call that follows it on the same session hangs, and a thread has been left behind.
PATIENCE = 4.0

# CPython's own: a lock of a thread that is being started, a callback whose exceptions are thrown away, an import.
NOT_OURS = ("threading.py", "_weakrefset.py", "weakref.py", "<frozen ")


class SoftTimeLimitExceeded(Exception):  # noqa: N818 - Celery's name
    """As Celery's: nothing that sets it apart from an error."""


@attrs.define
class Interrupt:
    """Raises ``error`` at the n-th point."""

    error: type[BaseException]
    left: int
    where: Optional[str] = None
    seconds: float = 0.0

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        if event not in ("call", "c_return") or any(part in code.co_filename for part in NOT_OURS):
            return
        if code.co_filename == __file__ or is_unbegun_generator(frame):
            return
        self.left -= 1
        if self.left == 0:
            sys.setprofile(None)
            self.where = f"{os.path.basename(code.co_filename)}:{frame.f_lineno} in {code.co_name} ({event})"
            raise self.error

    def during(self, call: Callable[[], Any]) -> Any:
        """What comes of ``call``."""
        gc.disable()  # or the interrupt may land in somebody's finalizer
        began = time.monotonic()
        sys.setprofile(self)
        try:
            return call()
        except BaseException as error:  # noqa: BLE001 - it is what is looked at
            return type(error)
        finally:
            sys.setprofile(None)
            self.seconds = time.monotonic() - began
            gc.enable()


def is_unbegun_generator(frame: FrameType) -> bool:
    """Up to 3.11 to throw such a generator away looks like a call of it: no signal handler runs there."""
    code = frame.f_code
    return bool(code.co_flags & inspect.CO_GENERATOR) and frame.f_lineno == code.co_firstlineno


def connection_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "runtimeuse-connection"]


def all_gone() -> bool:
    # Before the clean-up has begun, an interrupt leaves it to the collector.
    gc.collect()
    give_up = time.monotonic() + PATIENCE
    while connection_threads() and time.monotonic() < give_up:
        time.sleep(0.002)
    return not connection_threads()


def hear(message: object) -> None:
    pass


def upload(request: object) -> tuple[str, str]:
    return "https://bucket.example.com/", "text/plain"


def invoke(client: Client) -> Any:
    return client.invoke(invocation(), hear, on_assistant_message=hear, is_cancelled=threading.Event()).text


def time_out(client: Client) -> Any:
    return client.invoke(invocation(), on_assistant_message=hear, timeout=0.03)


def with_artifacts(client: Client) -> Any:
    return client.invoke(invocation(artifacts_dirs=["/out"]), on_artifact_upload_request=upload).text


def stream(client: Client) -> Any:
    with client.stream(invocation()) as run:
        for message in run:
            hear(message)
    return run.result.text


def in_session(client: Client) -> Any:
    with client.session() as session:
        session.invoke(invocation(artifacts_dirs=["/out"]), on_artifact_upload_request=upload)
        return session.invoke(invocation(), on_assistant_message=hear).text


TALK = [AssistantMessageInterface(text_blocks=["x"])] * 2
DONE = Reply(messages=TALK, result="done")
WITH_ARTIFACTS = Reply(messages=TALK, artifacts=["/out/1"], late_artifacts=["/out/2"], result="done")

SCENARIOS: dict[str, tuple[Callable[[Client], Any], Reply, Any]] = {
    "invoke": (invoke, DONE, "done"),
    "stream": (stream, DONE, "done"),
    "timeout": (time_out, Reply(messages=TALK, hangs=True), InvocationTimeoutError),
    "artifacts": (with_artifacts, WITH_ARTIFACTS, "done"),
    "session": (in_session, WITH_ARTIFACTS, "done"),
}


def complaints_at(point: int, call: Callable[[], Any], error: type[BaseException]) -> tuple[Interrupt, list[str]]:
    """What goes wrong when ``error`` is raised at the n-th point of ``call``."""
    interrupt = Interrupt(error, point)
    outcome = interrupt.during(call)
    complaints = []
    if interrupt.where is not None and outcome is not error:
        complaints.append(f"came out as {outcome!r}")
    if interrupt.seconds > LIMIT and not is_within(LIMIT, lambda: seconds_at(point, call, error)):
        complaints.append(f"took {interrupt.seconds:.2f} s")
    if not all_gone():
        complaints.append("left its thread behind")
    if watch._sleepers:
        complaints.append("still waits for others to look")
    return interrupt, complaints


def seconds_at(point: int, call: Callable[[], Any], error: type[BaseException]) -> float:
    interrupt = Interrupt(error, point)
    interrupt.during(call)
    return interrupt.seconds


# How many points to go on by. All of them (1) take half an hour.
STEPS = [307, pytest.param(23, marks=[pytest.mark.slow, pytest.mark.timeout(300)])]


# What catches an Exception may catch the second; a session has nothing of that kind that the others have not.
TRIALS: list[tuple[str, type[BaseException]]] = [(name, KeyboardInterrupt) for name in SCENARIOS]
TRIALS += [(name, SoftTimeLimitExceeded) for name in SCENARIOS if name != "session"]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(("scenario", "error"), TRIALS)
def test_an_interrupted_call(scripted_runtime: Start, scenario: str, step: int, error: type[BaseException]) -> None:
    call, reply, normal = SCENARIOS[scenario]
    client = Client(scripted_runtime(generation("0.15", reply)).url)
    assert Interrupt(error, -1).during(lambda: call(client)) in (normal, "done")  # and all that is lazy is there
    complaints: list[str] = []
    point = 1
    while True:
        interrupt, found = complaints_at(point, lambda: call(client), error)
        complaints += [f"{point}: {interrupt.where} {complaint}" for complaint in found]
        if interrupt.where is None:
            break
        point += step
    assert complaints == []
    assert point > step


@pytest.mark.parametrize("step", STEPS)
def test_the_next_call_on_the_same_session(scripted_runtime: Start, step: int) -> None:
    """It works, or says at once that the session is no more; it does not wait for a turn that nobody gives back."""
    client = Client(scripted_runtime(generation("0.15", DONE)).url)
    invoke(client)
    complaints: list[str] = []
    point = 1
    reached = True
    while reached:
        interrupt = Interrupt(KeyboardInterrupt, point)
        with client.session() as session:
            interrupt.during(lambda: session.invoke(invocation(), hear))
            outcomes = [outcome_of_next(session), in_thread(lambda: outcome_of_next(session))]
        complaints += [f"{point}: {interrupt.where} {outcome}" for outcome in outcomes if outcome]
        reached = interrupt.where is not None
        point += step
    assert complaints == []


def outcome_of_next(session: Any) -> Optional[str]:
    try:
        session.invoke(invocation(), timeout=PATIENCE)
    except InvocationTimeoutError:
        return "blocks the next call"
    except RuntimeUseError as error:
        if "of this very thread" in str(error):
            return str(error)
    return None


def in_thread(call: Callable[[], Any]) -> Any:
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(call()))
    thread.start()
    thread.join(10)
    return results[0] if results else "hangs"
