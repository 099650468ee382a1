"""``Run``: one request as a context manager and an iterator. What ``stream`` returns, and the other calls use."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Generic, Optional, Protocol, TypeVar

from . import messages as m
from ._call.cancellation import Cancellation
from ._call.request_loop import CANCEL_WAIT, IMPATIENT_CANCEL_WAIT, Driver
from ._common.deadline import Deadline
from .exceptions import RuntimeUseError
from .options import CallOptions

ResultT = TypeVar("ResultT")

# Seconds for shaking hands on the end of a connection, when there is all the time in the world, and when not.
CLOSE_WAIT = 1.0
IMPATIENT_CLOSE_WAIT = 0.1


class Host(Protocol):
    """What a run runs on: a session."""

    def new_cancellation(self, options: CallOptions) -> Cancellation:
        """What a call asks whether it is cancelled."""

    def new_driver(
        self, request: Any, result_cls: type, options: CallOptions, cancellation: Cancellation, deadline: Deadline
    ) -> Driver:
        """What a call is driven by."""

    def begin(self, driver: Driver, cancellation: Cancellation, request: m.ClientMessage) -> None:
        """Take the turn, have a connection, send the request."""

    def end(self, driver: Driver, cancellation: Cancellation, close_timeout: float) -> None:
        """The run is done, one way or another: let go of turn and connection."""

    def abandon(self, driver: Driver, cancellation: Cancellation) -> None:
        """The same when ``end`` was cut short: let go of everything, and wait for nothing."""


class Run(Generic[ResultT]):
    """One request under way: enter it, and iterate over its messages.

    It yields every message of the request on the caller's thread, heartbeats included, the result last.
    Artifact requests go to ``on_artifact_upload_request`` and errors to ``on_error_message`` instead. Leaving
    the ``with`` block before the end cancels the remote run. A ``Run`` that is never entered holds nothing.

    Iterating raises what ``Client.invoke`` raises.

    >>> with client.stream(InvocationMessage(system_prompt="", user_prompt="hi")) as run:
    ...     for message in run:
    ...         print(type(message).__name__)
    AssistantMessageInterface
    ResultMessageInterface
    >>> run.result.text
    'hi'
    """

    def __init__(self, host: Host, request: m.ClientMessage, result_cls: type[ResultT], options: CallOptions) -> None:
        self._host = host
        self._request = request
        self._result_cls = result_cls
        self._options = options
        self._cancellation = host.new_cancellation(options)
        self._driver: Optional[Driver] = None
        self._messages: Iterator[Any] = iter(())

    def __repr__(self) -> str:
        state = "not entered" if self._driver is None else self._driver.exchange.state.name.lower()
        return f"<Run: {state}>"

    def __enter__(self) -> Run[ResultT]:
        if self._driver is not None:
            raise RuntimeUseError("a Run is one request and can be entered once; call stream() again")
        self._driver = driver = self._host.new_driver(
            self._request, self._result_cls, self._options, self._cancellation, Deadline(self._options.timeout)
        )
        try:
            self._host.begin(driver, self._cancellation, self._request)
        except BaseException as error:
            self._leave_surely(driver, error)
            raise
        self._messages = _result_last(driver, self._result_cls)
        return self

    def __exit__(self, exc_type: object, error: Optional[BaseException], traceback: object) -> None:
        assert self._driver is not None
        self._leave_surely(self._driver, error)
        escaped = self._driver.escaped
        if escaped is not None and error is not None and error.__cause__ is escaped:
            raise escaped  # a callback's StopIteration, which a generator turns into a RuntimeError

    def _leave_surely(self, driver: Driver, error: Optional[BaseException]) -> None:
        try:
            if not driver.is_inherited:
                self._leave(driver, error)
        except BaseException:  # a signal may land anywhere
            self._host.abandon(driver, self._cancellation)
            raise

    def _leave(self, driver: Driver, error: Optional[BaseException]) -> None:
        """Stop what still runs, and let go of the connection: within a second after an exception."""
        close_wait = CLOSE_WAIT
        try:
            if not driver.exchange.is_over:
                driver.cancel(None, CANCEL_WAIT if error is None else IMPATIENT_CANCEL_WAIT)
            if driver.is_unclean or error is not None:
                close_wait = IMPATIENT_CLOSE_WAIT
        finally:
            self._host.end(driver, self._cancellation, close_wait)
            driver.release()

    def __iter__(self) -> Iterator[m.AgentRuntimeMessageInterface]:
        return self

    def __next__(self) -> m.AgentRuntimeMessageInterface:
        self._entered()
        message: m.AgentRuntimeMessageInterface = next(self._messages)
        return message

    def deliveries(self) -> Iterator[Any]:
        """The messages in the order of the wire, the result in its place. For use instead of iteration.

        >>> with client.stream(InvocationMessage(system_prompt="", user_prompt="hi")) as run:
        ...     [type(message).__name__ for message in run.deliveries()]
        ['AssistantMessageInterface', 'ResultMessageInterface']
        """
        return self._entered().deliveries()

    def _entered(self) -> Driver:
        if self._driver is None:
            raise RuntimeUseError("enter the Run first: `with client.stream(...) as run:`")
        self._driver.check_process()
        return self._driver

    @property
    def result(self) -> ResultT:
        """The result, once it has come; before, a ``RuntimeUseError``.

        >>> client.stream(InvocationMessage(system_prompt="", user_prompt="hi")).result
        Traceback (most recent call last):
        ...
        runtimeuse_sync.exceptions.RuntimeUseError: there is no result yet: iterate to the end of the run
        """
        result: ResultT = _result_of(self._driver)
        return result

    def cancel(self) -> None:
        """Cancel the run, from any thread, at once; iterating then raises ``CancelledException``.

        >>> with client.stream(InvocationMessage(system_prompt="", user_prompt="hi")) as run:
        ...     run.cancel()
        ...     next(run)
        Traceback (most recent call last):
        ...
        runtimeuse_sync.exceptions.CancelledException: the call was cancelled
        """
        self._cancellation.request()


def _result_last(driver: Driver, result_cls: type) -> Iterator[Any]:
    """On the wire, more may come behind the result: output of post-agent commands, for one."""
    for message in driver.deliveries():
        if not isinstance(message, result_cls):
            yield message
    yield _result_of(driver)


def _result_of(driver: Optional[Driver]) -> Any:
    if driver is not None and driver.exchange.result is not None:
        return driver.exchange.result
    is_over = driver is not None and driver.exchange.is_over
    raise RuntimeUseError(
        "the run ended without a result" if is_over else "there is no result yet: iterate to the end of the run"
    )
