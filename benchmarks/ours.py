"""The library, driven as its users drive it."""

from __future__ import annotations

import itertools
import random
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from runtimeuse_sync import (
    ArtifactUploadRequestMessageInterface,
    AssistantMessageInterface,
    CancelledException,
    Client,
    CommandOutputMessageInterface,
    QueryOptions,
)
from runtimeuse_sync.journal import record

from .measuring import (
    SETTLE,
    Sample,
    Seen,
    Tally,
    Watch,
    allow_descriptors,
    cancel_times,
    check,
    crowd_sample,
    forget_peak,
    memory_mb,
    quantiles,
    round_trips,
)

MODULE = "runtimeuse_sync"
# At most; benchmarks.weight counts them.
DESCRIPTORS_A_CALL = 4


def _collecting(seen: Seen, **more: Any) -> QueryOptions:
    note, look = seen.note, seen.look

    def on_output(message: CommandOutputMessageInterface) -> None:
        note(look(message.text))

    def on_assistant(message: AssistantMessageInterface) -> None:
        note(look(message.text_blocks[0]))

    return QueryOptions(
        system_prompt="", model="any", on_command_output=on_output, on_assistant_message=on_assistant, **more
    )


def stream(url: str, *, is_recorded: bool = False) -> Sample:
    seen = Seen()
    client, options = Client(url), _collecting(seen)
    with tempfile.TemporaryDirectory() as folder:
        with Watch() as watch:
            if is_recorded:
                with record(client, Path(folder, "run.jsonl")) as recorded:
                    answer = recorded.query("go", options)
            else:
                answer = client.query("go", options)
    seen.check(answer.metadata)
    return watch.sample()


def result(url: str) -> Sample:
    client, options = Client(url), _collecting(Seen())
    with Watch() as watch:
        answer = client.query("go", options)
    check([getattr(answer.data, "text", "")], answer.metadata)
    return watch.sample()


def one_shot(url: str, calls: int) -> Sample:
    client, options = Client(url), _collecting(Seen())
    with Watch() as watch:
        for _ in range(calls):
            answer = client.query("go", options)
    check([], answer.metadata)
    return watch.sample()


def artifacts(url: str) -> Sample:
    urls: list[str] = []

    def on_artifact(request: ArtifactUploadRequestMessageInterface) -> tuple[str, str]:
        urls.append(f"https://storage.example.com/{request.filename}")
        return urls[-1], "text/csv"

    options = _collecting(Seen(), artifacts_dirs=["/srv/app/out"], on_artifact_upload_request=on_artifact)
    client = Client(url)
    with Watch() as watch:
        answer = client.query("go", options)
    check(urls, answer.metadata)
    return watch.sample(**round_trips(answer.metadata))


def concurrent(url: str, calls: int) -> Sample:
    received = [Seen() for _ in range(calls)]
    answers: list[Any] = [None] * calls
    clients = [(Client(url), _collecting(seen)) for seen in received]

    def call(number: int) -> None:
        client, options = clients[number]
        answers[number] = client.query("go", options)

    forget_peak()
    with Watch() as watch:
        threads = [threading.Thread(target=call, args=(number,)) for number in range(calls)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    peak = memory_mb("VmHWM")
    for seen, answer in zip(received, answers):
        seen.check(answer.metadata)
    return watch.sample(peak_mb=peak)


def slow(url: str, pause_every: int, pause: float) -> Sample:
    tally = Tally()

    def on_output(message: CommandOutputMessageInterface) -> None:
        tally.add(message.text)
        if tally.count % pause_every == 0:
            time.sleep(pause)

    client, options = Client(url), QueryOptions(system_prompt="", model="any", on_command_output=on_output)
    forget_peak()
    before = memory_mb("VmRSS")
    with Watch() as watch:
        answer = client.query("go", options)
    peak = memory_mb("VmHWM")
    tally.check(answer.metadata)
    return watch.sample(peak_mb=peak, grown_mb=peak - before)


def crowd(url: str, calls: int, hold: float, window: float, *, has_event: bool = False) -> Sample:
    allow_descriptors(calls * DESCRIPTORS_A_CALL)
    waiting = threading.Semaphore(0)
    answers: list[str] = []
    failures: list[str] = []
    clients = [Client(f"{url}?hold={hold}") for _ in range(calls)]

    def call(client: Client) -> None:
        options = QueryOptions(
            system_prompt="",
            model="any",
            is_cancelled=threading.Event() if has_event else None,
            on_assistant_message=lambda message: waiting.release(),
        )
        try:
            answers.append(client.query("go", options).data.text)
        except Exception as error:  # noqa: BLE001 - they are counted
            failures.append(f"{type(error).__name__}: {error}")
            waiting.release()  # nobody is to wait for it

    # What only the first call of a process does is not what a crowd costs.
    Client(f"{url}?hold=0").query("go", QueryOptions(system_prompt="", model="any"))
    forget_peak()
    with Watch() as whole:
        threads = [threading.Thread(target=call, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        for _ in threads:
            waiting.acquire()
        time.sleep(SETTLE)
        with Watch() as idle:
            time.sleep(window)
        all_waited = not answers
        for thread in threads:
            thread.join()
    return crowd_sample(whole, idle, memory_mb("VmHWM"), failures, all_waited=all_waited)


def many(url: str, prompts: int, at_once: int, *, by_threads: bool = False) -> Sample:
    """By ``map``, or by threads that share the client."""
    allow_descriptors(at_once * DESCRIPTORS_A_CALL)
    client, options = Client(url), QueryOptions(system_prompt="", model="any")
    tasks = (f"prompt {number}" for number in range(prompts))
    with Watch() as watch:
        if by_threads:
            with ThreadPoolExecutor(at_once) as pool:
                answers = [answer.output for answer in pool.map(lambda task: client.query(task, options), tasks)]
        else:
            answers = [outcome.output for outcome in client.map(tasks, options, at_once=at_once)]
    assert answers == ["done"] * prompts
    return watch.sample()


def many_in_memory(url: str, prompts: int, at_once: int) -> Sample:
    """What memory grows by, from the first tenth of the prompts to the last."""
    outcomes = Client(url).map((f"prompt {number}" for number in range(prompts)), model="any", at_once=at_once)
    failed = sum(outcome.error is not None for outcome in itertools.islice(outcomes, prompts // 10))
    forget_peak()
    before = memory_mb("VmRSS")
    with Watch() as watch:
        failed += sum(outcome.error is not None for outcome in outcomes)
    assert not failed, f"{failed} prompts failed"
    return watch.sample(grown_mb=memory_mb("VmHWM") - before)


def cancel_event(url: str, times: int) -> Sample:
    return _cancel(url, times, by_event=True)


def abort(url: str, times: int) -> Sample:
    return _cancel(url, times, by_event=False)


def _cancel(url: str, times: int, *, by_event: bool) -> Sample:
    """From the cancellation on another thread, at a random moment, to the frame at the server."""
    moments = []
    for _ in range(times):
        moments.append(_cancel_once(f"{url}?key=cancel", by_event=by_event))
    arrivals = cancel_times(url, "cancel")
    assert len(arrivals) == times, f"{len(arrivals)} cancel messages instead of {times}"
    return quantiles(arrival - moment for moment, arrival in zip(moments, arrivals))


def _cancel_once(url: str, *, by_event: bool) -> float:
    client, ready, is_cancelled = Client(url), threading.Event(), threading.Event()
    moments: list[float] = []

    def cancel() -> None:
        ready.wait()
        time.sleep(random.uniform(0.0, 0.1))
        moments.append(time.monotonic())
        is_cancelled.set() if by_event else client.abort()

    thread = threading.Thread(target=cancel)
    thread.start()
    options = QueryOptions(
        system_prompt="",
        model="any",
        is_cancelled=is_cancelled if by_event else None,
        on_assistant_message=lambda message: ready.set(),
    )
    try:
        client.query("go", options)
    except CancelledException:
        thread.join()
        return moments[0]
    raise AssertionError("the call was not cancelled")
