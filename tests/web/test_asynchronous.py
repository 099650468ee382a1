"""A run on an event loop that must not be blocked."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any, Callable, Optional

import pytest

from runtimeuse_sync import (
    AgentRuntimeError,
    AssistantMessageInterface,
    CancelMessage,
    Client,
    InvocationMessage,
    Tick,
)
from runtimeuse_sync.testing import Reply, ScriptedRuntime, generation
from runtimeuse_sync.web import AsyncStream, ndjson, sse

from ..support import ALL, invocation, wait_until

Start = Callable[..., ScriptedRuntime]

HELLO = AssistantMessageInterface(text_blocks=["hello"])
SILENT = generation("0.15", Reply(hangs=True))

# Items that may wait for the loop.
ROOM = 64


class Numbers:
    """A source that counts, up to ``limit``, and notes how far it came."""

    def __init__(self, limit: Optional[int] = None) -> None:
        self.limit = limit
        self.count = 0
        self.was_cancelled = False
        self.was_left = threading.Event()

    def __enter__(self) -> Numbers:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.was_left.set()

    def __iter__(self) -> Iterator[int]:
        while self.count != self.limit and not self.was_cancelled:
            self.count += 1
            yield self.count

    def cancel(self) -> None:
        self.was_cancelled = True


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "runtimeuse-async-stream"]


async def collect(stream: AsyncStream[Any]) -> list[Any]:
    return [item async for item in stream]


def within(seconds: float, condition: Callable[[], object]) -> asyncio.Future[None]:
    """``wait_until`` beside the loop."""
    return asyncio.get_running_loop().run_in_executor(None, wait_until, condition, seconds)


# --- what comes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("release", ALL)
def test_every_message_comes_in_order_the_result_last(scripted_runtime: Start, release: str) -> None:
    messages = [AssistantMessageInterface(text_blocks=[str(number)]) for number in range(200)]
    runtime = scripted_runtime(generation(release, Reply(messages=messages)))
    *texts, result = asyncio.run(collect(AsyncStream(Client(runtime.url).stream(invocation()))))
    assert texts == messages
    assert result.structured_output == {"success": True}


@pytest.mark.parametrize("encode", [sse, ndjson])
def test_an_encoded_run_says_what_it_says_to_a_plain_loop(scripted_runtime: Start, encode: Any) -> None:
    client = Client(scripted_runtime(generation("0.15", Reply(messages=[HELLO]))).url)
    plain = list(encode(client.stream(invocation())))
    assert asyncio.run(collect(AsyncStream(encode(client.stream(invocation()))))) == plain


def test_what_iterating_raises_is_raised(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(generation("0.15", Reply(messages=[HELLO], error="rate limited")))

    async def read() -> None:
        stream = AsyncStream(Client(runtime.url).stream(invocation()))
        assert await stream.__anext__() == HELLO
        with pytest.raises(AgentRuntimeError, match="rate limited"):
            await stream.__anext__()
        assert await collect(stream) == []

    asyncio.run(read())


def test_callbacks_see_the_context_of_the_task(scripted_runtime: Start) -> None:
    user = contextvars.ContextVar("user", default="nobody")
    seen = []

    def forgive(message: Any) -> bool:
        seen.append(user.get())
        return True

    async def read() -> None:
        user.set("me")
        await collect(AsyncStream(client.stream(invocation(), on_error_message=forgive)))

    def script(peer: Any) -> None:
        peer.expect(InvocationMessage)
        peer.send({"message_type": "error_message", "error": "soft"})
        peer.send({"message_type": "result_message", "data": {"type": "text", "text": "done"}})

    client = Client(scripted_runtime(script).url)
    asyncio.run(read())
    assert seen == ["me"]


# --- the loop ------------------------------------------------------------------------------------------


def test_the_loop_goes_on_while_nothing_comes(scripted_runtime: Start) -> None:
    client = Client(scripted_runtime(SILENT).url)

    async def read() -> None:
        async with AsyncStream(client.stream(invocation())) as stream:
            waiting = asyncio.ensure_future(stream.__anext__())
            for _ in range(100):
                await asyncio.sleep(0.001)
            assert not waiting.done()
            waiting.cancel()
            await asyncio.wait([waiting])

    asyncio.run(read())


def test_ticks_come_through(scripted_runtime: Start) -> None:
    client = Client(scripted_runtime(SILENT).url)

    async def read() -> None:
        async with AsyncStream(client.stream(invocation(), tick=0.01)) as stream:
            assert isinstance(await stream.__anext__(), Tick)

    asyncio.run(read())


def test_a_busy_run_leaves_the_loop_time_for_others() -> None:
    numbers = Numbers()

    async def read() -> None:
        stream = AsyncStream(numbers)
        reading = asyncio.ensure_future(collect(stream))
        await asyncio.sleep(0.05)
        reading.cancel()
        await asyncio.wait([reading])
        assert reading.cancelled()

    asyncio.run(read())
    assert numbers.was_cancelled


def test_a_slow_reader_holds_the_thread_back() -> None:
    numbers = Numbers(1000)

    async def read() -> None:
        stream = AsyncStream(numbers)
        assert await stream.__anext__() == 1
        # One more than there is room for: the thread has it in its hands.
        await within(5.0, lambda: numbers.count == ROOM + 2)
        await asyncio.sleep(0.05)
        assert numbers.count == ROOM + 2
        assert await collect(stream) == list(range(2, 1001))

    asyncio.run(read())


# --- leaving -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("release", ALL)
@pytest.mark.parametrize("encode", [None, sse])
def test_closing_cancels_the_run_and_leaves_no_thread(scripted_runtime: Start, release: str, encode: Any) -> None:
    runtime = scripted_runtime(generation(release, Reply(messages=[HELLO], hangs=True)))

    async def read() -> None:
        run = Client(runtime.url).stream(invocation())
        stream = AsyncStream(encode(run) if encode else run)
        await stream.__anext__()
        await stream.aclose()
        assert threads() == []
        assert await collect(stream) == []

    asyncio.run(read())
    runtime.wait_for(CancelMessage)


def test_a_task_that_is_cancelled_cancels_the_run(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(SILENT)

    async def read() -> None:
        reading = asyncio.ensure_future(collect(AsyncStream(Client(runtime.url).stream(invocation()))))
        await asyncio.get_running_loop().run_in_executor(None, runtime.wait_for, InvocationMessage)
        reading.cancel()
        await asyncio.wait([reading])
        assert reading.cancelled()
        await within(5.0, lambda: not threads())

    asyncio.run(read())
    runtime.wait_for(CancelMessage)


async def read_and_do_something_else(stream: AsyncStream[Any], has_read: asyncio.Event) -> None:
    async for _ in stream:
        has_read.set()
        await asyncio.Event().wait()


def test_a_reader_that_is_cancelled_elsewhere_cancels_the_run(scripted_runtime: Start) -> None:
    """As by a server that is cancelled while it sends to a browser that does not read."""
    runtime = scripted_runtime(generation("0.15", Reply(messages=[HELLO], hangs=True)))

    async def read() -> None:
        has_read, stream = asyncio.Event(), AsyncStream(Client(runtime.url).stream(invocation()))
        reading = asyncio.ensure_future(read_and_do_something_else(stream, has_read))
        await has_read.wait()
        reading.cancel()
        await asyncio.wait([reading])
        await within(5.0, lambda: not threads())

    asyncio.run(read())
    runtime.wait_for(CancelMessage)


def test_a_stream_that_is_forgotten_cancels_the_run(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(generation("0.15", Reply(messages=[HELLO], hangs=True)))

    async def read() -> None:
        async for _ in AsyncStream(Client(runtime.url).stream(invocation())):
            break
        gc.collect()  # for interpreters that do not count references
        await within(5.0, lambda: not threads())

    asyncio.run(read())
    runtime.wait_for(CancelMessage)


def test_tasks_may_take_turns() -> None:
    async def read() -> None:
        async with AsyncStream(Numbers()) as stream:
            assert [await asyncio.ensure_future(stream.__anext__()) for _ in range(5)] == [1, 2, 3, 4, 5]

    asyncio.run(read())


def test_closing_while_another_task_waits(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(SILENT)

    async def read() -> None:
        stream = AsyncStream(Client(runtime.url).stream(invocation()))
        reading = asyncio.ensure_future(collect(stream))
        await asyncio.get_running_loop().run_in_executor(None, runtime.wait_for, InvocationMessage)
        await asyncio.get_running_loop().run_in_executor(None, stream.close)
        assert await reading == []

    asyncio.run(read())
    runtime.wait_for(CancelMessage)


def test_closing_a_stream_that_is_full() -> None:
    numbers = Numbers()

    async def read() -> None:
        async with AsyncStream(numbers) as stream:
            await stream.__anext__()
            await within(5.0, lambda: numbers.count == ROOM + 2)
        assert threads() == []

    asyncio.run(read())
    assert numbers.was_left.is_set()


def test_closing_what_nobody_iterated() -> None:
    numbers = Numbers()

    async def read() -> None:
        async with AsyncStream(numbers) as stream:
            pass
        assert await collect(stream) == []

    asyncio.run(read())
    assert numbers.count == 0


def test_a_loop_that_is_closed_takes_the_run_with_it(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(generation("0.15", Reply(messages=[HELLO], hangs=True)))
    loop = asyncio.new_event_loop()
    stream = AsyncStream(Client(runtime.url).stream(invocation()))
    loop.run_until_complete(stream.__anext__())
    loop.close()
    del stream
    gc.collect()
    runtime.wait_for(CancelMessage)
    wait_until(lambda: not threads())


def test_closing_while_it_connects() -> None:
    async def read(client: Client) -> None:
        stream = AsyncStream(client.stream(invocation()))
        reading = asyncio.ensure_future(collect(stream))
        await within(5.0, threads)
        await stream.aclose()
        assert await reading == []

    with socket.create_server(("127.0.0.1", 0)) as never_answers:
        asyncio.run(read(Client(f"ws://127.0.0.1:{never_answers.getsockname()[1]}", connect_timeout=30)))


def test_a_thread_that_cannot_be_started_is_an_error_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def read() -> None:
        async with AsyncStream(Numbers()) as stream:
            for _ in range(2):
                with pytest.raises(RuntimeError, match="can't start"):
                    await stream.__anext__()

    monkeypatch.setattr(threading.Thread, "start", refuse)
    asyncio.run(read())


# --- importing -----------------------------------------------------------------------------------------


def test_asyncio_is_not_imported_for_the_client() -> None:
    check = "import sys, runtimeuse_sync; print('asyncio' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, timeout=50, check=True)
    assert done.stdout.strip() == "False"
