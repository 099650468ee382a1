"""Many prompts at once."""

from __future__ import annotations

import contextvars
import itertools
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any, Callable

import attrs
import pytest

from runtimeuse_sync import (
    AgentRuntimeError,
    AssistantMessageInterface,
    CancelledException,
    CancelMessage,
    Client,
    ConnectionFailedError,
    InvocationMessage,
    OutputValidationError,
    Usage,
)
from runtimeuse_sync.jobs import Budget, Outcome, Progress, _runtimes
from runtimeuse_sync.local import LocalRuntime
from runtimeuse_sync.testing import Peer, Reply, ScriptedRuntime, generation

from ..support import port_without_listener, text_result, wait_until

Start = Callable[..., ScriptedRuntime]
Local = Callable[..., LocalRuntime]
PATIENCE = 20


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_runtimes, "_FIRST_PAUSE", 0.02)


def answers(peer: Peer) -> None:
    """With the prompt; "hang" is not answered, "fail" is an error, "pay" costs a dollar."""
    request = peer.receive(timeout=PATIENCE)
    assert isinstance(request, InvocationMessage)
    prompt = request.user_prompt
    if prompt == "hang":
        assert isinstance(peer.receive(timeout=PATIENCE), CancelMessage)
    elif prompt == "fail":
        peer.send({"message_type": "error_message", "error": "no", "metadata": {"num_turns": 1}})
    else:
        cost = {"total_cost_usd": 1.0} if prompt == "pay" else {}
        peer.send({**text_result(prompt), "metadata": {**cost, "num_turns": 1}})


def outputs(outcomes: Any) -> list[str]:
    return [outcome.output for outcome in outcomes]


def numbers(count: int) -> list[str]:
    return [str(number) for number in range(count)]


# --- outcomes -------------------------------------------------------------------------------------------


def test_each_prompt_has_one_outcome(scripted_runtime: Start) -> None:
    client = Client(scripted_runtime(answers).url)
    outcomes = sorted(client.map([*numbers(20), "fail"], at_once=4), key=lambda outcome: outcome.index)
    assert [(outcome.index, outcome.prompt) for outcome in outcomes] == list(enumerate([*numbers(20), "fail"]))
    assert outputs(outcomes[:20]) == numbers(20)
    failed = outcomes[20]
    assert (failed.result, type(failed.error), failed.usage.turns) == (None, AgentRuntimeError, 1)
    assert all(outcome.duration > 0 for outcome in outcomes)
    with pytest.raises(AgentRuntimeError):
        print(failed.output)


def test_outcomes_come_as_they_come_or_in_order(local_runtime: Local) -> None:
    may_end = threading.Event()

    def agent(invocation: InvocationMessage, sender: Any) -> str:
        if invocation.user_prompt == "0":
            assert may_end.wait(PATIENCE)
        return invocation.user_prompt

    client = Client(local_runtime(agent).url)
    outcomes = client.map(numbers(3), at_once=2)
    assert sorted(outputs(itertools.islice(outcomes, 2))) == ["1", "2"]
    may_end.set()
    assert outputs(outcomes) == ["0"]
    may_end.clear()
    threading.Timer(0.1, may_end.set).start()
    assert outputs(client.map(numbers(5), at_once=2, ordered=True)) == numbers(5)


def test_prompts_are_taken_as_they_are_needed(scripted_runtime: Start) -> None:
    taken: list[int] = []

    def endless() -> Iterator[str]:
        for number in itertools.count():
            taken.append(number)
            yield str(number)

    for how in ({}, {"ordered": True}):
        taken.clear()
        outcomes = Client(scripted_runtime(answers).url).map(endless(), at_once=3, **how)  # type: ignore[call-overload]
        assert taken == []
        assert len(list(itertools.islice(outcomes, 10))) == 10
        outcomes.close()
        assert len(taken) <= 10 + 3 * (4 if how else 1)


def test_never_more_than_at_once(local_runtime: Local) -> None:
    running, most, lock = 0, 0, threading.Lock()

    def agent(invocation: InvocationMessage, sender: Any) -> str:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        with lock:
            running -= 1
        return ""

    list(Client(local_runtime(agent).url).map(numbers(40), at_once=3))
    assert 1 <= most <= 3


def test_typed_answers_and_repairs(scripted_runtime: Start) -> None:
    pytest.importorskip("msgspec")

    @attrs.define
    class Stats:
        files: int

    cost = {"total_cost_usd": 0.5}
    answers = ({"files": "many"}, {"files": 3}, {"files": "many"})
    replies = [Reply(result=answer, metadata=cost) for answer in answers]
    client = Client(scripted_runtime(generation("0.15", *replies)).url)
    (repaired,) = client.map(["Count."], output_type=Stats, output_repairs=1)
    assert (repaired.output, repaired.usage.cost_usd) == (Stats(files=3), 1.0)
    (failed,) = client.map(["Count."], output_type=Stats)
    assert (type(failed.error), failed.usage.cost_usd) == (OutputValidationError, 0.5)


def test_callbacks_see_the_context_of_the_loop(scripted_runtime: Start) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    variable.set("7")
    seen: list[str] = []
    reply = Reply(messages=[AssistantMessageInterface(text_blocks=["hm"])])
    client = Client(scripted_runtime(generation("0.15", reply)).url)
    list(client.map(["1"], on_assistant_message=lambda _: seen.append(variable.get())))
    assert seen == ["7"]


def test_progress(scripted_runtime: Start) -> None:
    heard: list[Progress] = []
    threads: set[threading.Thread] = set()

    def note(progress: Progress) -> None:
        heard.append(progress)
        threads.add(threading.current_thread())

    client = Client(scripted_runtime(answers).url)
    list(client.map(["1", "fail", "3"], at_once=1, on_progress=note))
    told = [(progress.done, progress.failed, progress.total, progress.usage.turns) for progress in heard]
    assert told == [(1, 0, 3, 1), (2, 1, 3, 2), (3, 1, 3, 3)]
    assert heard[-1].seconds_left == 0
    assert threads == {threading.current_thread()}
    list(client.map((prompt for prompt in ["1"]), on_progress=note))
    assert (heard[-1].total, heard[-1].seconds_left) == (None, None)


def test_a_rate_is_kept(local_runtime: Local) -> None:
    began: list[float] = []

    def agent(invocation: InvocationMessage, sender: Any) -> str:
        return ""

    def prompts() -> Iterator[str]:
        for _ in range(4):
            began.append(time.monotonic())
            yield ""

    start = time.monotonic()
    list(Client(local_runtime(agent).url).map(prompts(), rate=20))
    assert all(moment - start >= 0.99 * number / 20 for number, moment in enumerate(began))


# --- what cannot be meant -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        {"at_once": 0},
        {"at_once": True},
        {"rate": 0},
        {"rate": float("nan")},
        {"retries": -1},
        {"when_stopped": "never"},
        {"budget": 5},
        {"on_progress": 5},
        {"clients": []},
        {"clients": ["ws://localhost"]},
        {"timeout": "5"},
        {"output_repairs": 1},
        {"sytem_prompt": "Be brief."},
    ],
)
def test_what_cannot_be_meant_is_raised_at_once(arguments: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        Client("ws://localhost:1").map(["1"], **arguments)


def test_a_prompt_alone_is_no_iterable_of_prompts() -> None:
    with pytest.raises(TypeError, match=r"as in \[prompt\]"):
        Client("ws://localhost:1").map("Hello")


@pytest.mark.parametrize("limits", [{}, {"cost_usd": 0}, {"tokens": -1}, {"cost_usd": float("inf")}])
def test_a_budget_without_a_limit(limits: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Budget"):
        Budget(**limits)


def test_what_is_no_prompt_is_a_failure_of_its_own(scripted_runtime: Start) -> None:
    prompts: list[Any] = ["1", 2, "3"]
    first, second, third = Client(scripted_runtime(answers).url).map(prompts, ordered=True)
    assert (first.output, third.output) == ("1", "3")
    assert isinstance(second.error, TypeError)


# --- stopping -------------------------------------------------------------------------------------------


def test_a_failure_stops_and_is_raised_behind_what_there_is(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(answers)
    came: list[Outcome[Any]] = []
    with pytest.raises(AgentRuntimeError):
        came.extend(Client(runtime.url).map(["1", "fail", *numbers(50)], at_once=1, return_exceptions=False))
    assert outputs(came) == [] or outputs(came) == ["1"]
    assert len(runtime.connections) == 2


@pytest.mark.parametrize("when_stopped", ["cancel", "wait"])
def test_what_has_begun_at_a_failure_is_cancelled_or_awaited(local_runtime: Local, when_stopped: Any) -> None:
    both = threading.Barrier(2)

    def agent(invocation: InvocationMessage, sender: Any) -> str:
        if invocation.user_prompt not in ("fail", "slow"):
            return ""
        both.wait(PATIENCE)
        if invocation.user_prompt == "fail":
            raise ValueError("no")
        return "cancelled" if sender.cancelled.wait(0.5) else "slow"

    came: list[str] = []
    prompts = ["slow", "fail", *numbers(50)]
    outcomes = Client(local_runtime(agent).url).map(
        prompts, at_once=2, return_exceptions=False, when_stopped=when_stopped
    )
    with pytest.raises(AgentRuntimeError):
        for outcome in outcomes:
            came.append(outcome.output)
    assert came == (["slow"] if when_stopped == "wait" else [])


def test_the_end_of_the_budget_stops(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(answers)
    outcomes = list(Client(runtime.url).map(["pay"] * 50, at_once=1, budget=Budget(cost_usd=3)))
    assert sum((outcome.usage for outcome in outcomes), Usage()).cost_usd == 3.0
    assert len(runtime.connections) == 3


def test_a_budget_of_tokens(scripted_runtime: Start) -> None:
    usage = {"input_tokens": 60, "output_tokens": 40, "cache_read_input_tokens": 10_000}
    runtime = scripted_runtime(generation("0.15", Reply(result="x", metadata={"usage": usage})))
    assert len(list(Client(runtime.url).map(["1"] * 9, at_once=1, budget=Budget(tokens=150)))) == 2


def test_what_runs_when_the_budget_ends_is_cancelled_and_has_an_outcome(scripted_runtime: Start) -> None:
    outcomes = list(Client(scripted_runtime(answers).url).map(["hang", "pay"], at_once=2, budget=Budget(cost_usd=1)))
    assert [type(outcome.error) for outcome in outcomes] == [type(None), CancelledException]


def test_a_budget_that_the_runtime_does_not_tell_of_is_warned_of(
    scripted_runtime: Start, caplog: pytest.LogCaptureFixture
) -> None:
    client = Client(scripted_runtime(answers).url)
    with caplog.at_level(logging.WARNING):
        list(client.map(numbers(3), budget=Budget(cost_usd=3)))
    assert [record.message for record in caplog.records] == [
        "the runtime does not tell what a run takes: the budget cannot stop the map"
    ]


def test_the_prompts_own_exception_is_raised_behind_what_has_begun(scripted_runtime: Start) -> None:
    def prompts() -> Iterator[str]:
        yield "1"
        raise OSError("the file is gone")

    came: list[Outcome[Any]] = []
    with pytest.raises(OSError, match="the file is gone"):
        for outcome in Client(scripted_runtime(answers).url).map(prompts(), when_stopped="wait"):
            came.append(outcome)
    assert outputs(came) == ["1"]


def test_an_abort_stops(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(answers)
    client = Client(runtime.url)
    outcomes = client.map(["hang"] * 50, at_once=2)
    threading.Thread(target=lambda: (runtime.wait_for(InvocationMessage, count=2), client.abort())).start()
    assert [type(outcome.error) for outcome in outcomes] == [CancelledException] * 2


def test_the_end_of_the_clients_block_stops(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(answers)
    with Client(runtime.url) as client:
        outcomes = client.map(["1", *["hang"] * 50], at_once=2)
        assert next(outcomes).output == "1"
        runtime.wait_for(InvocationMessage, count=2)
    assert {type(outcome.error) for outcome in outcomes} == {CancelledException}
    assert len(runtime.connections) <= 3


def test_a_loop_that_is_left_cancels_what_runs(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(answers)
    for outcome in Client(runtime.url).map(itertools.chain(["1"], itertools.repeat("hang")), at_once=3):
        assert outcome.output == "1"
        runtime.wait_for(InvocationMessage, count=3)
        break
    runtime.wait_for(CancelMessage, count=2)


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
@pytest.mark.parametrize("when_stopped", ["cancel", "wait"])
def test_ctrl_c_stops(local_runtime: Local, when_stopped: Any) -> None:
    main, begun = threading.get_ident(), threading.Barrier(2, timeout=PATIENCE)
    asked: list[str] = []

    def agent(invocation: InvocationMessage, sender: Any) -> str:
        asked.append(invocation.user_prompt)
        begun.wait()
        if invocation.user_prompt == "0":
            signal.pthread_kill(main, signal.SIGINT)
        return "cancelled" if sender.cancelled.wait(0.5) else "awaited"

    came: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        for outcome in Client(local_runtime(agent).url).map(numbers(50), at_once=2, when_stopped=when_stopped):
            came.append(outcome.output)
    assert sorted(asked) == ["0", "1"]
    assert came == (["awaited"] * 2 if when_stopped == "wait" else [])


def test_a_thread_that_cannot_be_started_is_a_failure_of_its_prompt(
    scripted_runtime: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, started = threading.Thread, itertools.count()

    class Scarce(real):  # type: ignore[misc, valid-type]
        def start(self) -> None:
            if self.name == "runtimeuse-map" and next(started):
                raise RuntimeError("can't start new thread")
            super().start()

    client = Client(scripted_runtime(answers).url)
    monkeypatch.setattr(threading, "Thread", Scarce)
    outcomes = list(client.map(numbers(5), at_once=3, ordered=True))
    assert outcomes[0].output == "0"
    assert {str(outcome.error) for outcome in outcomes if outcome.error} <= {"can't start new thread"}


# --- trying again, and pools ----------------------------------------------------------------------------


def test_what_was_not_sent_is_tried_again(scripted_runtime: Start) -> None:
    runtime = scripted_runtime([503, 503, answers])
    (outcome,) = Client(runtime.url).map(["1"])
    assert outcome.output == "1"
    assert len(runtime.connections) == 3


def test_what_was_sent_is_not_tried_again(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(lambda peer: peer.expect(InvocationMessage, timeout=PATIENCE))
    (outcome,) = Client(runtime.url).map(["1"])
    assert isinstance(outcome.error, ConnectionError)
    assert len(runtime.connections) == 1


def test_a_callback_that_fails_to_connect_elsewhere_is_no_reason_to_send_twice(scripted_runtime: Start) -> None:
    def fail(message: object) -> None:
        raise ConnectionFailedError("elsewhere", status=503)

    runtime = scripted_runtime(generation("0.15", Reply(messages=[AssistantMessageInterface(text_blocks=["hm"])])))
    (outcome,) = Client(runtime.url).map(["1"], on_assistant_message=fail)
    assert isinstance(outcome.error, ConnectionFailedError)
    assert len(runtime.connections) == 1


def test_who_is_refused_for_good_does_not_try_again(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(refuse=401)
    (outcome,) = Client(runtime.url).map(["1"])
    assert isinstance(outcome.error, ConnectionFailedError)
    assert len(runtime.connections) == 1


def test_retries_are_limited(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(refuse=503)
    (outcome,) = Client(runtime.url).map(["1"], retries=2)
    assert isinstance(outcome.error, ConnectionFailedError)
    assert len(runtime.connections) == 3


def test_a_pool_shares_the_prompts(scripted_runtime: Start) -> None:
    runtimes = [scripted_runtime(answers) for _ in range(3)]
    clients = [Client(runtime.url) for runtime in runtimes]
    outcomes = clients[0].map(["hang"] * 6, clients=clients, at_once=6)
    threading.Thread(
        target=lambda: ([runtime.wait_for(InvocationMessage, count=2) for runtime in runtimes], clients[0].abort())
    ).start()
    next(outcomes)
    outcomes.close()
    assert [len(runtime.connections) for runtime in runtimes] == [2, 2, 2]


def test_a_runtime_that_fails_to_connect_is_set_aside_and_tried_again_later(scripted_runtime: Start) -> None:
    ill, well = scripted_runtime([503, 503, answers]), scripted_runtime(answers)
    clients = [Client(ill.url), Client(well.url)]

    def until_it_is_well() -> Iterator[str]:
        while len(ill.connections) < 4:
            yield "1"

    outcomes = list(clients[0].map(until_it_is_well(), clients=clients, at_once=1))
    assert [outcome.error for outcome in outcomes if outcome.error] == []
    assert len(well.connections) >= 2


def test_one_that_is_gone_costs_no_prompt(scripted_runtime: Start) -> None:
    well = scripted_runtime(answers)
    with port_without_listener() as port:
        clients = [Client(f"ws://127.0.0.1:{port}"), Client(well.url)]
        assert sorted(outputs(clients[1].map(numbers(9), clients=clients, at_once=3))) == numbers(9)


def test_retry_after_is_minded(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = _runtimes.Runtime(Client("ws://localhost:1"))
    runtime.failed(ConnectionFailedError("busy", status=429, retry_after=20.0), began=100.0, now=101.0)
    assert runtime.free_at == 121.0
    runtime.failed(ConnectionFailedError("busy", status=429), began=100.5, now=102.0)
    assert (runtime.free_at, runtime.failures) == (121.0, 1)  # made at the same time as the one before
    runtime.failed(ConnectionFailedError("busy", status=429, retry_after=1e9), began=121.0, now=122.0)
    assert runtime.free_at == 722.0


def test_pauses_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_runtimes, "_FIRST_PAUSE", 0.5)
    monkeypatch.setattr(_runtimes.random, "uniform", lambda low, high: high)
    runtime, now, pauses = _runtimes.Runtime(Client("ws://localhost:1")), 0.0, []
    for _ in range(8):
        runtime.failed(ConnectionFailedError("busy"), began=now, now=now)
        pauses.append(runtime.free_at - now)
        now = runtime.free_at
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    runtime.connected()
    assert runtime.failures == 0


# --- threads --------------------------------------------------------------------------------------------


def test_an_outcome_that_nobody_takes_holds_no_thread_for_long(scripted_runtime: Start) -> None:
    outcomes = Client(scripted_runtime(answers).url).map(itertools.repeat("1"), at_once=4)
    next(outcomes)
    wait_until(lambda: all(thread.name != "runtimeuse-map" for thread in threading.enumerate()))
    assert outputs(itertools.islice(outcomes, 6)) == ["1"] * 6
    outcomes.close()


def test_a_map_that_has_ended_leaves_no_thread(scripted_runtime: Start) -> None:
    client = Client(scripted_runtime(answers).url)
    outcomes = client.map(itertools.repeat("1"), at_once=4)
    for end in (lambda: list(client.map(numbers(9), at_once=4)), lambda: (next(outcomes), outcomes.close())):
        end()
        assert [thread for thread in threading.enumerate() if thread.name == "runtimeuse-map"] == []
