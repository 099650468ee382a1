"""``Work``: executes a run to its end on one thread; any thread can cancel it and wait for it."""

from __future__ import annotations

import os
import threading
from typing import Any, Callable, Optional, Union

from .. import AgentRuntimeError, QueryResult, Run, Usage
from ._asks import RefusedRun


class Work:
    """The base class of jobs and of the attempts of a map.

    Nothing here takes a lock that a signal could leave taken: a Condition's, unlike a lock itself, can be.
    """

    def __init__(self, run: Union[Run[Any], RefusedRun]) -> None:
        self._run = run
        self._process = os.getpid()
        self._over = threading.Lock()
        self._over.acquire()  # until the end

    @property
    def was_opened(self) -> bool:
        """Whether a connection has come about: as long as not, nothing has been sent."""
        return self._run.was_opened

    @property
    def is_inherited(self) -> bool:
        """Whether this is a forked child of the process that it belongs to, which alone can cancel it."""
        return self._process != os.getpid()

    @property
    def is_over(self) -> bool:
        return not self._over.locked()

    def stop(self) -> None:
        """Cancel the run at the runtime, without waiting."""
        self._run.cancel()

    def wait_for_end(self, seconds: float) -> None:
        if self._over.acquire(timeout=seconds):
            self._over.release()

    def _ask(self, take: Callable[[Any], Any]) -> QueryResult[Any]:
        """Run it, and call ``take`` with each message; returns and raises what ``query`` does."""
        with self._run as run:
            for message in run:
                take(message)
        answer = run.result
        result = QueryResult[Any](data=answer.data, metadata=answer.metadata)
        result.output = answer.output
        return result

    def _usage(self, error: Optional[BaseException]) -> Usage:
        """The usage of the run, with that of ``error`` if it ended by one."""
        return self._run.usage + (error.usage if isinstance(error, AgentRuntimeError) else Usage())


class Attempt(Work):
    """A map's.

    Attributes:
        result (QueryResult or None): once it is over.
        error (BaseException or None): what it raised instead.
    """

    def __init__(self, run: Union[Run[Any], RefusedRun], on_end: Callable[[Attempt], Any]) -> None:
        super().__init__(run)
        self.result: Optional[QueryResult[Any]] = None
        self.error: Optional[BaseException] = None
        self._on_end = on_end

    @property
    def usage(self) -> Usage:
        return self._usage(self.error)

    def work(self) -> None:
        """Ask, to the end. Called once."""
        try:
            self.result = self._ask(_pass_over)
        except BaseException as error:  # noqa: BLE001 - it is the outcome
            self.fail(error)
        else:
            self._end()

    def fail(self, error: BaseException) -> None:
        """End it with an error."""
        self.error = error
        self._end()

    def _end(self) -> None:
        self._over.release()  # before it is told
        self._on_end(self)


def _pass_over(message: object) -> None:
    pass
