"""The methods of ``Client`` for many prompts: jobs in the background, and maps.

The implementation is in ``jobs``, which is imported when one of them is called.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Callable, Literal, Optional, TypeVar, overload

from ._call.generics import JSONSchema, OutputT, TypeForm, Unpack
from .keywords import QueryKeywords, query_options
from .options import QueryOptions
from .sandbox_calls import SandboxCalls

SelfT = TypeVar("SelfT", bound="ManyRuns")
if TYPE_CHECKING:
    from .jobs import Budget, Job, Outcome, Progress, Work

    class MapKeywords(QueryKeywords, total=False):
        """The keywords of ``map``."""

        clients: Optional[Sequence[ManyRuns]]
        at_once: int
        ordered: bool
        return_exceptions: bool
        when_stopped: Literal["cancel", "wait"]
        on_progress: Optional[Callable[[Progress], Any]]
        budget: Optional[Budget]
        rate: Optional[float]
        retries: int


class ManyRuns(SandboxCalls):
    """``submit`` and ``map``, and the ``with`` block that ends what they began."""

    _jobs: set[Work]

    def __enter__(self: SelfT) -> SelfT:
        return self

    def __exit__(self, exc_type: object, error: Optional[BaseException], traceback: object) -> None:
        """End the client's jobs that still run. The client stays what it is, and can be used on."""
        if self._jobs:
            from . import jobs

            jobs.end(self._jobs, is_impatient=error is not None)

    @overload
    def submit(
        self,
        prompt: str,
        options: Optional[QueryOptions] = ...,
        **keywords: Unpack[QueryKeywords],
    ) -> Job: ...

    @overload
    def submit(
        self,
        prompt: str,
        options: Optional[QueryOptions] = ...,
        *,
        output_type: type[OutputT],
        output_repairs: int = ...,
        **keywords: Unpack[QueryKeywords],
    ) -> Job[OutputT]: ...

    @overload
    def submit(
        self,
        prompt: str,
        options: Optional[QueryOptions] = ...,
        *,
        output_type: JSONSchema,
        output_repairs: int = ...,
        **keywords: Unpack[QueryKeywords],
    ) -> Job[Any]: ...

    @overload
    def submit(
        self,
        prompt: str,
        options: Optional[QueryOptions] = ...,
        *,
        output_type: TypeForm[OutputT],
        output_repairs: int = ...,
        **keywords: Unpack[QueryKeywords],
    ) -> Job[OutputT]: ...

    def submit(
        self,
        prompt: str,
        options: Optional[QueryOptions] = None,
        *,
        output_type: Any = None,
        output_repairs: int = 0,
        **keywords: Unpack[QueryKeywords],
    ) -> Job[Any]:
        """Ask the agent in the background: a ``concurrent.futures.Future`` of what ``query`` returns.

        Callbacks run on the job's own thread, and see the context variables of this one. It is a daemon: a job ends
        with the process. Leaving the client's ``with`` block cancels the jobs that still run, and waits for their end.

        Args:
            prompt, options, output_type, output_repairs, keywords: as in ``query``, but for ``uploads`` and
                ``downloads``.

        Returns:
            Job: with its ``messages()``, ``status``, ``usage``, and a ``cancel()`` that tells the runtime.

        Raises:
            TypeError, ValueError: for arguments that cannot be meant, before anything is sent.

        >>> with client:
        ...     job = client.submit("hello", timeout=30)
        ...     job.result().output
        'hello'
        """
        from . import jobs

        options = query_options(self._defaults(), options, keywords)
        run = jobs.Asks(options, output_type, output_repairs).run(self, prompt)  # type: ignore[arg-type]
        return jobs.begin(run, self._jobs)

    @overload
    def map(
        self,
        prompts: Iterable[str],
        options: Optional[QueryOptions] = ...,
        **keywords: Unpack[MapKeywords],
    ) -> Generator[Outcome, None, None]: ...

    @overload
    def map(
        self,
        prompts: Iterable[str],
        options: Optional[QueryOptions] = ...,
        *,
        output_type: type[OutputT],
        output_repairs: int = ...,
        **keywords: Unpack[MapKeywords],
    ) -> Generator[Outcome[OutputT], None, None]: ...

    @overload
    def map(
        self,
        prompts: Iterable[str],
        options: Optional[QueryOptions] = ...,
        *,
        output_type: JSONSchema,
        output_repairs: int = ...,
        **keywords: Unpack[MapKeywords],
    ) -> Generator[Outcome[Any], None, None]: ...

    @overload
    def map(
        self,
        prompts: Iterable[str],
        options: Optional[QueryOptions] = ...,
        *,
        output_type: TypeForm[OutputT],
        output_repairs: int = ...,
        **keywords: Unpack[MapKeywords],
    ) -> Generator[Outcome[OutputT], None, None]: ...

    def map(
        self,
        prompts: Iterable[str],
        options: Optional[QueryOptions] = None,
        *,
        output_type: Any = None,
        output_repairs: int = 0,
        clients: Optional[Sequence[ManyRuns]] = None,
        at_once: int = 8,
        ordered: bool = False,
        return_exceptions: bool = True,
        when_stopped: Literal["cancel", "wait"] = "cancel",
        on_progress: Optional[Callable[[Progress], Any]] = None,
        budget: Optional[Budget] = None,
        rate: Optional[float] = None,
        retries: int = 5,
        **keywords: Unpack[QueryKeywords],
    ) -> Generator[Outcome[Any], None, None]:
        """Ask the agent each of ``prompts``, several at once, and yield the outcomes as they come.

        It is lazy: prompts are taken, and runs begun, while the loop asks for outcomes, and on its thread. So it may be
        given any number of prompts, and holds a few times ``at_once`` of them. A loop that is left cancels what runs.

        A prompt is tried again only if no connection came about, so that nothing was sent: after pauses that grow,
        or the one that the server asked for.

        Args:
            prompts (iterable of str): the tasks.
            options, output_type, output_repairs, keywords: as in ``submit``, for each of them.
            clients (sequence of Client or None): a pool of runtimes; each prompt goes to the one with the least to do.
                One that fails to connect is set aside for a while. Default: this client alone.
            at_once (int): how many run at once, in all. Default 8.
            ordered (bool): yield the outcomes in the order of the prompts. Default False: as they come.
            return_exceptions (bool): yield failures as outcomes with an ``error``. Default True; with False the first
                failure stops the map, and is raised in the end.
            when_stopped (str): what becomes of the runs that have begun when the map is stopped by the budget's end, a
                failure, Ctrl-C, or a run that was cancelled by others: ``"cancel"`` (the default) or ``"wait"``. No
                other is begun, what has come is still yielded, and what there is to raise comes last. A second
                Ctrl-C ends all of it at once.
            on_progress: called with a ``Progress`` behind each outcome, on the thread of the loop.
            budget (Budget or None): stops the map once so much has been used. Default None: no limit.
            rate (float or None): how many may begin in a second, evenly spread; below 1 is possible. Default: no limit.
            retries (int): how often a prompt is tried again. Default 5.

        Returns:
            An iterator of ``Outcome``: prompt, index, result or error, usage and duration. Its ``close()`` cancels
            what runs.

        Raises:
            TypeError, ValueError: for arguments that cannot be meant, before anything is sent.

        >>> sorted(outcome.output for outcome in client.map(["one", "two"], at_once=2, timeout=30))
        ['one', 'two']
        """
        from . import jobs

        how = jobs.How(
            at_once=at_once,
            ordered=ordered,
            return_exceptions=return_exceptions,
            when_stopped=when_stopped,
            on_progress=on_progress,
            budget=budget,
            rate=rate,
            retries=retries,
        )
        options = query_options(self._defaults(), options, keywords)
        runtimes = [self] if clients is None else clients
        asks = jobs.Asks(options, output_type, output_repairs)
        return jobs.outcomes(runtimes, prompts, asks, how, self._jobs)  # type: ignore[arg-type]
