"""``AsyncStream``: a run for an event loop. A thread of its own iterates the run and passes the items to the loop."""

# How it works: ``AsyncStream`` belongs to the loop, ``_Worker`` to both sides. The thread knows the worker alone, so
# that a stream that everybody has forgotten is collected, and takes the run with it.

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
import weakref
from collections import deque
from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Any, Callable, Generic, Optional, Protocol, TypeVar

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

# Items that may wait for the loop. When so many do, the thread waits, the client's buffer fills, and it stops reading.
_ROOM = 64

# Seconds for a run to end that is cancelled: 5 for the runtime's answer, 1 for the Close handshake, and a margin.
_END_WAIT = 8.0

# Seconds for a thread that has passed on its last item, and only has to return from its function.
_JOIN_WAIT = 1.0


class Source(Protocol[T_co]):
    """The interface of a source, iterated in a thread and cancelled from another: a ``Run`` or an ``EncodedRun``."""

    def __enter__(self) -> Any: ...

    def __exit__(self, *exc_info: Any) -> Any: ...

    def __iter__(self) -> Iterator[T_co]: ...

    def cancel(self) -> None: ...


class AsyncStream(AsyncIterator[T]):
    """A run as an async iterator, for hosts with an asyncio loop: Starlette, FastAPI, Django under ASGI.

    A thread of its own enters and iterates the run, and runs its callbacks; the loop is never blocked. At most 64
    items wait for the loop; then the thread waits too.

    The run is cancelled when the stream is closed, when the task that reads it is cancelled (an
    ``asyncio.wait_for`` that runs out included), and when the stream is no longer referred to. It raises what
    iterating the run raises.

    Args:
        source (Run or EncodedRun): what ``client.stream()``, ``sse()`` or ``ndjson()`` returned. It begins with the
            first item.

    >>> import asyncio
    >>> async def texts(run):
    ...     async with AsyncStream(run) as messages:
    ...         return [message.text_blocks async for message in messages if hasattr(message, "text_blocks")]
    >>> asyncio.run(texts(client.stream(InvocationMessage(system_prompt="", user_prompt="hi"))))
    [['You said: hi']]
    """

    def __init__(self, source: Source[T]) -> None:
        self._source = source
        self._worker: Optional[_Worker[T]] = None
        self._is_closed = False

    async def __anext__(self) -> T:
        if self._is_closed:
            raise StopAsyncIteration
        worker = self._worker
        if worker is None:
            worker = _Worker(self._source, asyncio.get_running_loop())
            worker.start()
            self._worker = worker
        worker.watch_reader()
        try:
            return await worker.get()
        except BaseException:
            self.close()
            raise

    async def __aenter__(self) -> AsyncStream[T]:
        return self

    async def __aexit__(
        self,
        exc_type: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        await self.aclose()

    def close(self) -> None:
        """Cancel the run, from any thread, at once, without waiting for it: what Django calls at a response's end.

        >>> AsyncStream(client.stream(InvocationMessage(system_prompt="", user_prompt="hi"))).close()
        """
        self._is_closed = True
        if self._worker is not None:
            self._worker.stop()

    async def aclose(self) -> None:
        """Cancel the run, and wait until its thread has ended: 8 s at most.

        >>> import asyncio
        >>> asyncio.run(AsyncStream(client.stream(InvocationMessage(system_prompt="", user_prompt="hi"))).aclose())
        """
        self.close()
        if self._worker is not None:
            await self._worker.join()

    def __del__(self) -> None:
        if self._worker is not None:
            self._worker.stop_soon()


class _Worker(Generic[T]):
    """The thread that iterates, and what it has handed over to the loop."""

    def __init__(self, source: Source[T], loop: asyncio.AbstractEventLoop) -> None:
        self._source = source
        self._loop = loop
        self._items: deque[T] = deque()  # the thread appends, the loop takes
        self._room = threading.Semaphore(_ROOM)
        self._asked = 0  # how often, by the loop
        self._reader: Callable[[], Optional[asyncio.Task[Any]]] = lambda: None  # weak: it leads back to the stream
        self._news = asyncio.Event()  # set on the loop alone; the thread only looks at it
        self._end = asyncio.Event()  # the same
        self._error: Optional[BaseException] = None  # written before _end is set, read after it
        self._is_stopped = False  # shared: only ever set to True
        context = contextvars.copy_context()  # callbacks see what the request's task sees
        self._thread = threading.Thread(
            target=context.run, args=(self._work,), name="runtimeuse-async-stream", daemon=True
        )

    def start(self) -> None:
        self._thread.start()

    # --- the thread ---------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            with self._source:
                for item in self._source:
                    if not self._put(item):
                        break
        except BaseException as error:  # noqa: BLE001 - whoever iterates gets it
            self._error = None if self._is_stopped else error
        self._tell(self._finish)

    def _put(self, item: T) -> bool:
        """Hand ``item`` over once there is room; False: nobody wants it."""
        self._room.acquire()
        if self._is_stopped:
            return False
        self._items.append(item)
        return self._news.is_set() or self._tell(self._news.set)

    def _tell(self, act: Callable[[], object]) -> bool:
        try:
            self._loop.call_soon_threadsafe(act)
        except RuntimeError:
            return False  # the loop is closed
        return True

    # --- the loop -----------------------------------------------------------------------------------

    def _finish(self) -> None:
        self._end.set()
        self._news.set()

    def watch_reader(self) -> None:
        """Stop when the task that reads ends as cancelled: that may have happened to it while it did something else."""
        task = asyncio.current_task()
        if task is not None and self._reader() is not task:
            self._reader = weakref.ref(task)
            task.add_done_callback(self._stop_if_cancelled)

    def _stop_if_cancelled(self, reader: asyncio.Task[Any]) -> None:
        if reader.cancelled():
            self.stop()

    async def get(self) -> T:
        """The next item; raises what ended the iteration."""
        self._asked += 1
        if self._asked % _ROOM == 0:
            await asyncio.sleep(0)  # a busy agent must not keep the loop from other work, nor from a cancellation
        while not self._items:
            self._news.clear()
            if self._end.is_set():
                self._raise_end()
            if not self._items:
                await self._news.wait()
        self._room.release()
        return self._items.popleft()

    def _raise_end(self) -> None:
        error, self._error = self._error, None
        try:
            raise StopAsyncIteration if error is None else error
        finally:
            del error  # its traceback leads to this frame

    async def join(self) -> None:
        """Wait for the end of the thread. What takes its time is waited for by the loop's own means."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._end.wait(), _END_WAIT)
            self._thread.join(_JOIN_WAIT)

    # --- any thread ---------------------------------------------------------------------------------

    def stop(self) -> None:
        """Cancel the run, and let the thread end."""
        self._is_stopped = True
        self._room.release()
        if not self._end.is_set():
            self._source.cancel()

    def stop_soon(self) -> None:
        """``stop`` without taking a lock, for a finalizer: the garbage collector may run at any time, on any thread."""
        if not self._is_stopped and not self._tell(self.stop):
            self.stop()
