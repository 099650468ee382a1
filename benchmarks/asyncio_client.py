"""The asyncio client ``runtimeuse-client``, driven as its README says: what users have today.

All runs inside one event loop a repetition; starting the loop is not measured.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Coroutine
from typing import Any

from runtimeuse_client import (
    ArtifactUploadRequestMessageInterface,
    ArtifactUploadResult,
    AssistantMessageInterface,
    CancelledException,
    CommandOutputMessageInterface,
    QueryOptions,
    RuntimeUseClient,
)

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

MODULE = "runtimeuse_client"


def _collecting(seen: Seen, **more: Any) -> QueryOptions:
    note, look = seen.note, seen.look

    async def on_output(message: CommandOutputMessageInterface) -> None:
        note(look(message.text))

    async def on_assistant(message: AssistantMessageInterface) -> None:
        note(look(message.text_blocks[0]))

    return QueryOptions(
        system_prompt="", model="any", on_command_output=on_output, on_assistant_message=on_assistant, **more
    )


def _run(main: Coroutine[Any, Any, Sample]) -> Sample:
    return asyncio.run(main)


def stream(url: str) -> Sample:
    async def main() -> Sample:
        seen = Seen()
        client, options = RuntimeUseClient(url), _collecting(seen)
        with Watch() as watch:
            answer = await client.query("go", options)
        seen.check(answer.metadata)
        return watch.sample()

    return _run(main())


def result(url: str) -> Sample:
    async def main() -> Sample:
        client, options = RuntimeUseClient(url), _collecting(Seen())
        with Watch() as watch:
            answer = await client.query("go", options)
        check([answer.data.text], answer.metadata)
        return watch.sample()

    return _run(main())


def one_shot(url: str, calls: int) -> Sample:
    async def main() -> Sample:
        client, options = RuntimeUseClient(url), _collecting(Seen())
        with Watch() as watch:
            for _ in range(calls):
                answer = await client.query("go", options)
        check([], answer.metadata)
        return watch.sample()

    return _run(main())


def artifacts(url: str) -> Sample:
    async def main() -> Sample:
        urls: list[str] = []

        async def on_artifact(request: ArtifactUploadRequestMessageInterface) -> ArtifactUploadResult:
            urls.append(f"https://storage.example.com/{request.filename}")
            return ArtifactUploadResult(presigned_url=urls[-1], content_type="text/csv")

        options = _collecting(Seen(), artifacts_dirs=["/srv/app/out"], on_artifact_upload_request=on_artifact)
        client = RuntimeUseClient(url)
        with Watch() as watch:
            answer = await client.query("go", options)
        check(urls, answer.metadata)
        return watch.sample(**round_trips(answer.metadata))

    return _run(main())


def concurrent(url: str, calls: int) -> Sample:
    async def main() -> Sample:
        received = [Seen() for _ in range(calls)]
        clients = [(RuntimeUseClient(url), _collecting(seen)) for seen in received]
        forget_peak()
        with Watch() as watch:
            answers = await asyncio.gather(*(client.query("go", options) for client, options in clients))
        peak = memory_mb("VmHWM")
        for seen, answer in zip(received, answers):
            seen.check(answer.metadata)
        return watch.sample(peak_mb=peak)

    return _run(main())


def slow(url: str, pause_every: int, pause: float) -> Sample:
    async def main() -> Sample:
        tally = Tally()

        async def on_output(message: CommandOutputMessageInterface) -> None:
            tally.add(message.text)
            if tally.count % pause_every == 0:
                await asyncio.sleep(pause)

        client = RuntimeUseClient(url)
        options = QueryOptions(system_prompt="", model="any", on_command_output=on_output)
        forget_peak()
        before = memory_mb("VmRSS")
        with Watch() as watch:
            answer = await client.query("go", options)
        peak = memory_mb("VmHWM")
        tally.check(answer.metadata)
        return watch.sample(peak_mb=peak, grown_mb=peak - before)

    return _run(main())


def crowd(url: str, calls: int, hold: float, window: float) -> Sample:
    async def main() -> Sample:
        waiting = asyncio.Semaphore(0)
        answers: list[str] = []
        failures: list[str] = []
        clients = [RuntimeUseClient(f"{url}?hold={hold}") for _ in range(calls)]

        async def on_assistant(message: AssistantMessageInterface) -> None:
            waiting.release()

        async def call(client: RuntimeUseClient) -> None:
            options = QueryOptions(system_prompt="", model="any", on_assistant_message=on_assistant)
            try:
                answers.append((await client.query("go", options)).data.text)
            except Exception as error:  # noqa: BLE001 - they are counted
                failures.append(f"{type(error).__name__}: {error}")
                waiting.release()  # nobody is to wait for it

        # What only the first call of a process does is not what a crowd costs.
        await RuntimeUseClient(f"{url}?hold=0").query("go", QueryOptions(system_prompt="", model="any"))
        forget_peak()
        with Watch() as whole:
            tasks = [asyncio.create_task(call(client)) for client in clients]
            for _ in tasks:
                await waiting.acquire()
            await asyncio.sleep(SETTLE)
            with Watch() as idle:
                await asyncio.sleep(window)
            all_waited = not answers
            await asyncio.gather(*tasks)
        return crowd_sample(whole, idle, memory_mb("VmHWM"), failures, all_waited=all_waited)

    allow_descriptors(calls)
    return _run(main())


def many(url: str, prompts: int, at_once: int) -> Sample:
    async def main() -> Sample:
        client, options = RuntimeUseClient(url), QueryOptions(system_prompt="", model="any")
        turns = asyncio.Semaphore(at_once)

        async def ask(task: str) -> str:
            async with turns:
                return (await client.query(task, options)).data.text

        with Watch() as watch:
            answers = await asyncio.gather(*[ask(f"prompt {number}") for number in range(prompts)])
        assert answers == ["done"] * prompts
        return watch.sample()

    allow_descriptors(at_once)
    return _run(main())


def abort(url: str, times: int) -> Sample:
    async def main() -> Sample:
        moments = [await _cancel_once(f"{url}?key=cancel") for _ in range(times)]
        arrivals = cancel_times(url, "cancel")
        assert len(arrivals) == times, f"{len(arrivals)} cancel messages instead of {times}"
        return quantiles(arrival - moment for moment, arrival in zip(moments, arrivals))

    return _run(main())


async def _cancel_once(url: str) -> float:
    client, ready = RuntimeUseClient(url), asyncio.Event()
    moments: list[float] = []

    async def cancel() -> None:
        await ready.wait()
        await asyncio.sleep(random.uniform(0.0, 0.1))
        moments.append(time.monotonic())
        client.abort()

    async def on_assistant(message: AssistantMessageInterface) -> None:
        ready.set()

    task = asyncio.create_task(cancel())
    try:
        await client.query("go", QueryOptions(system_prompt="", model="any", on_assistant_message=on_assistant))
    except CancelledException:
        await task
        return moments[0]
    raise AssertionError("the call was not cancelled")
