"""The control of a map: it begins attempts, collects their ends, and decides when to stop.

All of it happens on the thread of the loop that asks for outcomes; what an attempt does happens on one of the crew.
"""

from __future__ import annotations

import logging
import math
import operator
import os
import sys
import time
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from contextvars import copy_context
from functools import partial
from typing import Any, Optional

import attrs

from .. import CancelledException, Client, ConnectionFailedError, Usage
from ._asks import Asks
from ._crew import Crew
from ._how import How
from ._job import end
from ._order import Order
from ._outcome import Outcome, Progress
from ._runtimes import Runtime, Runtimes
from ._waiting import Ended
from ._work import Attempt, Work

_logger = logging.getLogger("runtimeuse_sync")

# How many times ``at_once`` prompts an ordered map may take beyond the first that has no outcome yet.
_REACH = 4


@attrs.define(eq=False)
class _Task:
    """A prompt that has been taken."""

    index: int
    prompt: str
    began: float
    attempts: int = 0
    attempt_began: float = -math.inf
    runtime: Optional[Runtime] = None


def outcomes(
    clients: Sequence[Client], prompts: Iterable[str], asks: Asks, how: How, live: set[Work]
) -> Generator[Outcome[Any], None, None]:
    """The outcomes of ``prompts``; see ``Client.map``. The jobs that run are in ``live``.

    >>> asks = Asks(QueryOptions(), None, 0)
    >>> [outcome.output for outcome in outcomes([client], ["hello"], asks, How(), set())]
    ['hello']
    """
    runtimes = list(clients)
    if not runtimes:
        raise ValueError("clients must hold at least one Client")
    if isinstance(prompts, (str, bytes)):
        raise TypeError("prompts must be an iterable of str, as in [prompt]")
    for client in runtimes:
        if not isinstance(client, Client):
            raise TypeError("clients must be a sequence of Client")
    asks.run(runtimes[0], "")  # raises for bad arguments at once, whatever the prompts are
    return _Mapping(Runtimes(runtimes), prompts, asks, how, live).outcomes()


class _Mapping:
    def __init__(self, runtimes: Runtimes, prompts: Iterable[str], asks: Asks, how: How, live: set[Work]) -> None:
        self._runtimes = runtimes
        self._asks, self._how, self._live = asks, how, live
        self._total = operator.length_hint(prompts, -1)
        self._prompts = enumerate(prompts)
        self._is_dry = False  # whether all prompts were taken
        self._again: deque[tuple[_Task, Attempt]] = deque()  # failed to connect, to be tried again
        self._running: dict[Attempt, _Task] = {}
        self._ended: Ended[Attempt] = Ended()
        self._crew = Crew()
        self._order = Order(how.at_once * _REACH if how.ordered else None)
        self._next_begin = -math.inf  # when the rate allows the next one
        self._is_stopped = False
        self._failure: Optional[BaseException] = None  # raised after the last outcome
        self._done = self._failed = 0
        self._usage = Usage()
        self._is_warned = False  # whether the warning that no usage is reported was logged
        self._began, self._process = time.monotonic(), os.getpid()

    def outcomes(self) -> Generator[Outcome[Any], None, None]:
        """Loop: begin attempts that may begin, wait for one to end, and yield the outcomes that are due."""
        is_impatient = False
        try:
            while True:
                self._begin_what_may()
                if self._is_over:
                    break
                attempt = self._next_ended()
                if attempt is not None:
                    yield from self._deliver(attempt)
            if self._failure is not None:
                raise self._failure
        except KeyboardInterrupt:
            is_impatient = True
            raise
        finally:
            self._leave(is_impatient)

    @property
    def _is_over(self) -> bool:
        return not self._running and not self._again and (self._is_dry or self._is_stopped)

    def _leave(self, is_impatient: bool) -> None:
        """Cancel all that runs: the loop was left, or something was raised."""
        if self._process == os.getpid():
            self._crew.end()
            end(self._running, is_impatient=is_impatient)
            if not sys.is_finalizing():
                self._crew.join()

    # --- beginning ----------------------------------------------------------------------------------

    def _begin_what_may(self) -> None:
        while self._has_room:
            now = time.monotonic()
            runtime = self._runtimes.free(now)
            if runtime is None or self._next_begin > now:
                return
            task = self._next_task(now)
            if task is None:
                return
            self._begin(task, runtime, now)

    @property
    def _has_room(self) -> bool:
        """Whether another attempt may begin, apart from the rate and from runtimes that are set aside."""
        if self._is_stopped or len(self._running) >= self._how.at_once:
            return False
        return bool(self._again) or (not self._is_dry and self._order.has_room)

    def _next_task(self, now: float) -> Optional[_Task]:
        if self._again:
            return self._again.popleft()[0]
        try:
            index, prompt = next(self._prompts)
        except StopIteration:
            self._is_dry = True
            return None
        except Exception as error:  # noqa: BLE001 - of who makes the prompts; it is raised behind what has begun
            self._is_dry = True
            self._stop(error)
            return None
        self._order.taken += 1
        return _Task(index, prompt, began=now)

    def _begin(self, task: _Task, runtime: Runtime, now: float) -> None:
        if self._how.rate is not None:
            self._next_begin = max(now, self._next_begin) + 1 / self._how.rate
        task.attempts += 1
        task.runtime, task.attempt_began = runtime, now
        attempt = Attempt(self._asks.run_of_any(runtime.client, task.prompt), self._note_end)
        self._running[attempt] = task
        runtime.running, runtime.began_at = runtime.running + 1, now
        self._live.add(attempt)
        try:
            self._crew.do(partial(copy_context().run, attempt.work))
        except RuntimeError as error:  # no thread can be started: others have begun, and go on
            attempt.fail(error)

    def _note_end(self, attempt: Attempt) -> None:
        """Queue an attempt that has ended; called by the thread that it ran on."""
        self._live.discard(attempt)
        self._ended.put(attempt)

    # --- ending -------------------------------------------------------------------------------------

    def _next_ended(self) -> Optional[Attempt]:
        """The next attempt that has ended; None if it is to be seen first whether another may begin."""
        try:
            return self._ended.get(self._pause())
        except KeyboardInterrupt as error:
            if self._is_stopped:
                raise
            self._stop(error)  # raised after all outcomes that there are: they may have been paid for
            for attempt in filter(lambda attempt: attempt.is_over, self._running):
                self._ended.put(attempt)  # put again: an interrupted get() may have lost one
            return None

    def _pause(self) -> Optional[float]:
        """Seconds until another may begin; None if an attempt has to end before."""
        if not self._has_room:
            return None
        return max(0.0, max(self._runtimes.next_free_at, self._next_begin) - time.monotonic())

    def _deliver(self, attempt: Attempt) -> Generator[Outcome[Any], None, None]:
        task, error = self._running.pop(attempt, None), attempt.error
        if task is None:
            return  # put twice, handled already
        self._note_connection(attempt, task, error)
        if self._is_to_be_tried_again(attempt, task, error):
            self._again.append((task, attempt))
            return
        outcome = _outcome(attempt, task)
        self._count(outcome)
        self._judge(outcome)
        for due in self._order.put(outcome):
            if self._is_told(due):
                yield due
        if self._how.on_progress is not None:
            self._how.on_progress(self._progress())

    def _is_told(self, outcome: Outcome[Any]) -> bool:
        """Behind something that will be raised, neither other failures are that may not be, nor what it cut off."""
        if self._failure is None or outcome.error is None:
            return True
        return self._how.return_exceptions and not isinstance(outcome.error, CancelledException)

    def _note_connection(self, attempt: Attempt, task: _Task, error: Optional[BaseException]) -> None:
        runtime = task.runtime
        assert runtime is not None
        runtime.running -= 1
        if attempt.was_opened:
            runtime.connected()
        elif isinstance(error, ConnectionFailedError):
            runtime.failed(error, task.attempt_began, time.monotonic())

    def _is_to_be_tried_again(self, attempt: Attempt, task: _Task, error: Optional[BaseException]) -> bool:
        if self._is_stopped or task.attempts > self._how.retries or attempt.was_opened:
            return False
        return isinstance(error, ConnectionFailedError) and self._runtimes.may_try_again(error)

    def _judge(self, outcome: Outcome[Any]) -> None:
        """Stop the map if this outcome is a reason for it."""
        budget, error = self._how.budget, outcome.error
        if error is not None and not (self._how.return_exceptions and isinstance(error, Exception)):
            self._stop(error)
        elif isinstance(error, CancelledException):
            self._stop(None)  # cancelled by abort(), is_cancelled or the end of the client's block
        elif budget is not None and budget.is_spent(self._usage):
            self._stop(None)

    def _stop(self, failure: Optional[BaseException]) -> None:
        """Begin no more attempts. Prompts that were to be tried again count as failed."""
        if self._is_stopped:
            return
        self._is_stopped, self._failure = True, failure
        for task, attempt in self._again:
            assert task.runtime is not None
            task.runtime.running += 1
            self._running[attempt] = task
            self._ended.put(attempt)
        self._again.clear()
        if self._how.when_stopped == "cancel":
            for attempt in self._running:
                attempt.stop()

    # --- telling ------------------------------------------------------------------------------------

    def _count(self, outcome: Outcome[Any]) -> None:
        self._done += 1
        self._failed += outcome.error is not None
        self._usage += outcome.usage
        budget = self._how.budget
        if budget is not None and outcome.result is not None and not self._is_warned:
            self._is_warned = not budget.is_measured_by(outcome.usage)
            if self._is_warned:
                _logger.warning("the runtime does not tell what a run takes: the budget cannot stop the map")

    def _progress(self) -> Progress:
        return Progress(
            done=self._done,
            failed=self._failed,
            running=len(self._running) + len(self._again),
            total=None if self._total < 0 else self._total,
            usage=self._usage,
            elapsed_seconds=time.monotonic() - self._began,
        )


def _outcome(attempt: Attempt, task: _Task) -> Outcome[Any]:
    return Outcome(
        prompt=task.prompt,
        index=task.index,
        result=attempt.result,
        error=attempt.error,
        usage=attempt.usage,
        duration=time.monotonic() - task.began,
    )
