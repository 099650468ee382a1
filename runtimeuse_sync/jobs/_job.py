"""``Job``: one prompt in the background."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextvars import copy_context
from typing import Any, Callable, Generic, Literal, Optional, cast

import attrs

from .. import (
    AgentRuntimeMessageInterface,
    CancelledException,
    HeartbeatMessageInterface,
    QueryResult,
    Run,
    Usage,
)
from ._outcome import OutputT
from ._waiting import END_WAIT, IMPATIENT_END_WAIT, step
from ._work import Work


@attrs.frozen(kw_only=True)
class JobStatus:
    """The status of a job.

    Attributes:
        state (str): ``"waiting"`` until there is a connection, then ``"running"``; in the end ``"done"``, ``"failed"``
            or ``"cancelled"``.
        phase (str or None): what the runtime is doing, as its last heartbeat said (since runtime 0.14.1).
        elapsed_seconds (float): since it was submitted, or until its end.

    >>> str(JobStatus(state="running", phase="agent", elapsed_seconds=75.2))
    'running (agent), 75 s'
    """

    state: Literal["waiting", "running", "done", "failed", "cancelled"]
    phase: Optional[str] = None
    elapsed_seconds: float

    def __str__(self) -> str:
        phase = f" ({self.phase})" if self.phase else ""
        return f"{self.state}{phase}, {self.elapsed_seconds:.0f} s"


class Job(Future[QueryResult[OutputT]], Work, Generic[OutputT]):
    """A prompt that is asked in the background, from ``Client.submit``.

    It is a ``concurrent.futures.Future``: ``result(timeout)``, ``exception(timeout)``, ``add_done_callback``, and
    ``wait`` and ``as_completed`` of ``concurrent.futures`` are those of the standard library. A job that was cancelled,
    by whom ever, raises ``concurrent.futures.CancelledError``. It belongs to the process that submitted it.

    >>> job = client.submit("hello")
    >>> [type(message).__name__ for message in job.messages()]
    ['AssistantMessageInterface', 'ResultMessageInterface']
    >>> job.result().output, job.status.state
    ('hello', 'done')
    """

    def __init__(self, run: Run[Any]) -> None:
        Future.__init__(self)
        Work.__init__(self, run)
        self._log: list[AgentRuntimeMessageInterface] = []  # only ever added to, by the thread that works
        self._news = threading.Condition()
        self._phase: Optional[str] = None
        self._began, self._ended = time.monotonic(), 0.0
        self.add_done_callback(_wake_readers)  # the first one: those of others may read

    def __repr__(self) -> str:
        return f"<Job: {self.status}>"

    # --- any thread ---------------------------------------------------------------------------------

    @property
    def status(self) -> JobStatus:
        """The job's current status.

        >>> client.submit("hello").status.state in ("waiting", "running", "done")
        True
        """
        is_over = self.done()  # looked at first: an end is final
        now = self._ended if is_over else time.monotonic()
        phase = None if is_over else self._phase
        return JobStatus(state=self._how_it_is(is_over), phase=phase, elapsed_seconds=now - self._began)

    def _how_it_is(self, is_over: bool) -> Literal["waiting", "running", "done", "failed", "cancelled"]:
        if not is_over:
            return "running" if self._run.was_opened else "waiting"
        if self.cancelled():
            return "cancelled"
        return "done" if self.exception() is None else "failed"

    @property
    def usage(self) -> Usage:
        """The usage of the job, as far as the runtime reported it, which it does at the end, also of a failure.

        >>> client.submit("hello").usage.cost_usd
        """
        has_error = self.done() and not self.cancelled()
        return self._usage(self.exception() if has_error else None)

    def messages(self) -> Iterator[AgentRuntimeMessageInterface]:
        """The messages so far, and then each as it comes, until the job's end.

        Any number may read, each from the first; they are kept as long as the job is. How it ended, ``result`` tells.

        >>> job = client.submit("hello")
        >>> len(list(job.messages())), len(list(job.messages()))
        (2, 2)
        """
        position, is_over = 0, False
        while not is_over:
            with self._news:
                while len(self._log) <= position and not self.done():
                    self._news.wait(step(None))
            is_over = self.done()  # before the last look at what has come
            news = self._log[position:]
            yield from news
            position += len(news)

    def running(self) -> bool:
        """Whether it has a connection, and is not over.

        >>> job = client.submit("hello")
        >>> _ = job.result()
        >>> job.running()
        False
        """
        return not self.done() and self._run.was_opened

    def cancel(self) -> bool:
        """Cancel it and tell the runtime, at once and without waiting; returns False if it has ended otherwise.

        It has ended when the runtime has stopped, or after five seconds. If its result comes first, it is done after
        all.

        >>> job = client.submit("hello")
        >>> _ = job.result()
        >>> job.cancel()
        False
        """
        if self.done():
            return self.cancelled()
        if self.is_inherited:
            return False
        self.stop()
        return True

    # --- on its own thread --------------------------------------------------------------------------

    def work(self) -> None:
        """Ask, to the end. Called once, by the thread that the job is given."""
        try:
            result = self._ask(self._take)
        except CancelledException:
            self._ended = time.monotonic()
            # It was pending all the while, for a Future that runs cannot be cancelled any more.
            super().cancel()
            self.set_running_or_notify_cancel()
        except BaseException as error:  # noqa: BLE001 - it is raised by result()
            self._ended = time.monotonic()
            self.set_exception(error)
        else:
            self._ended = time.monotonic()
            self.set_result(result)
        finally:
            self._over.release()

    def _take(self, message: AgentRuntimeMessageInterface) -> None:
        if isinstance(message, HeartbeatMessageInterface):
            self._phase = message.phase
        self._log.append(message)
        _wake_readers(self)


def _wake_readers(job: Any) -> None:
    with job._news:
        job._news.notify_all()


def begin(run: Run[Any], live: set[Work]) -> Job[Any]:
    """A job on a thread of its own, in ``live`` until its end.

    >>> begin(client.stream("hello"), set()).result().output
    'hello'
    """
    job: Job[Any] = Job(run)
    live.add(job)
    job.add_done_callback(cast("Callable[[Any], None]", live.discard))
    thread = threading.Thread(target=copy_context().run, args=(job.work,), name="runtimeuse-job", daemon=True)
    try:
        thread.start()
    except BaseException:
        live.discard(job)
        raise
    return job


def end(works: Iterable[Work], *, is_impatient: bool) -> None:
    """Cancel what runs of ``works``, and wait for its end, for some seconds.

    >>> job = client.submit("hello")
    >>> end([job], is_impatient=False)
    >>> job.done()
    True
    """
    own = [work for work in list(works) if not work.is_inherited]
    for work in own:
        work.stop()
    give_up = time.monotonic() + (IMPATIENT_END_WAIT if is_impatient else END_WAIT)
    for work in own:
        if not sys.is_finalizing():  # by then threads do not run any more; the connections end with the process
            work.wait_for_end(max(0.0, give_up - time.monotonic()))
