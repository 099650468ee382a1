"""``Run``: one request as a context manager and an iterator. ``stream`` returns it, and all other calls use it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Generic, Optional, TypeVar, Union

import attrs

from . import messages as m
from ._call import waits
from ._call.callbacks import Callbacks
from ._call.channel import Channel
from ._call.lending import Lender
from ._call.limits import Limits
from ._call.request_loop import RequestLoop
from ._protocol.exchange import Exchange
from .exceptions import RuntimeUseError
from .options import CallOptions, Logger
from .usage import Usage

ResultT = TypeVar("ResultT")
Request = Union[m.InvocationMessage, m.CommandExecutionMessage]


class Run(Generic[ResultT]):
    """One request under way: enter it, and iterate over its messages.

    It yields every message of the request on the caller's thread, heartbeats included, the result last. Artifact
    requests are answered by ``on_artifact_upload_request``, and then yielded; errors go to ``on_error_message``
    instead. Leaving the ``with`` block before the end cancels the remote run. A ``Run`` that is never entered holds
    nothing.

    Iterating raises what ``Client.invoke`` raises.

    >>> with client.stream(InvocationMessage(system_prompt="", user_prompt="hi")) as run:
    ...     for message in run:
    ...         print(type(message).__name__)
    AssistantMessageInterface
    ResultMessageInterface
    >>> run.result.text
    'hi'
    """

    def __init__(
        self,
        lender: Lender,
        request: Request,
        result_cls: type[ResultT],
        options: CallOptions,
        callbacks: Optional[Callbacks] = None,
    ) -> None:
        self._lender = lender
        self._request = request
        self._result_cls = result_cls
        self._options = options
        self._callbacks = callbacks or Callbacks()  # called during iteration
        self._cancellation = lender.settings.cancellation(options.is_cancelled)
        self._observation = lender.settings.observers.of_call(request, self._logger)
        self._is_entered = False
        self._was_opened = False  # for a connection that the run used before this one
        self._loop: Optional[RequestLoop] = None
        self._messages: Iterator[Any] = iter(())

    def __repr__(self) -> str:
        loop = getattr(self, "_loop", None)  # missing if __init__ raised
        state = "not entered" if loop is None else loop.exchange.state.name.lower()
        return f"<Run: {state}>"

    def _repr_html_(self) -> str:
        """The HTML that a notebook shows: a table of the state, the request and the result, if there is one."""
        from .notebook import _html

        result = None if self._loop is None else self._loop.exchange.result
        return _html.table(repr(self)[1:-1], {"request": self._request, "result": result})

    def __enter__(self) -> Run[ResultT]:
        if self._is_entered:
            raise RuntimeUseError("a Run is one request and can be entered once; call stream() again")
        self._is_entered = True
        options = self._options
        self._limits = Limits(options.timeout, options.idle_timeout, self._lender.settings.drain_timeout)
        try:
            self._observation.begin()
            self._start(self._borrow(), self._request)
        except BaseException as error:
            self._leave_surely(error)
            raise
        self._messages = self._result_last()
        return self

    @property
    def _logger(self) -> Logger:
        return self._options.logger or self._lender.settings.logger

    def _borrow(self) -> Channel:
        channel = self._lender.lend(self._cancellation, self._limits)
        self._observation.watch(channel)
        return channel

    def _start(self, channel: Channel, request: Request, *, is_last: bool = True) -> RequestLoop:
        """Send ``request``; ``is_last`` says that no other of this call will follow."""
        self._loop = loop = self._loop_over(channel, request)
        loop.start(self._observation.request(request), is_last=is_last)
        return loop

    def _loop_over(self, channel: Channel, request: Request) -> RequestLoop:
        """Make the request loop over ``channel``. Not before it is lent: earlier calls change its state."""
        options = self._options
        may_follow = bool(request.artifacts_dirs) or bool(getattr(request, "post_agent_invocation_commands", None))
        channel.may_follow = channel.may_follow or may_follow
        channel.on_artifact = options.on_artifact_upload_request or channel.on_artifact
        channel.secrets.update(request.secrets_to_redact)
        exchange = Exchange(
            drains=may_follow and channel.serves_one_call,
            has_artifacts=bool(request.artifacts_dirs),
            skips_stale_cancel=channel.stale_cancel,
            secrets=tuple(channel.secrets),
        )
        return RequestLoop(
            exchange,
            channel,
            self._cancellation,
            self._limits,
            options=options,
            result_cls=self._result_cls,
            logger=self._logger,
        )

    def __exit__(self, exc_type: object, error: Optional[BaseException], traceback: object) -> None:
        escaped = None if self._loop is None else self._loop.escaped
        if escaped is not None and error is not None and error.__cause__ is escaped:
            self._leave_surely(escaped)
            raise escaped  # a callback's StopIteration: the generator turned it into a RuntimeError
        self._leave_surely(error)

    def _leave_surely(self, error: Optional[BaseException]) -> None:
        if self._loop is not None and self._loop.is_inherited:
            return  # a forked child: the connection is the parent's
        try:
            self._leave(error)
        except BaseException:  # a signal handler may raise anywhere
            self._cancellation.end_wait()
            self._lender.take_back(self._cancellation, is_clean=False, timeout=0.0)
            raise
        finally:
            self._observation.end(None if self._loop is None else self._loop.exchange.result, error)

    def _leave(self, error: Optional[BaseException]) -> None:
        """Stop a request that still runs, and give back the connection: within a second after an exception."""
        loop, is_clean = self._loop, False
        try:
            if loop is not None:
                loop.stop(waits.CANCEL_WAIT if error is None else waits.IMPATIENT_CANCEL_WAIT)
                is_clean = not loop.canceller.is_unclean
        finally:
            self._observation.unwatch()
            close_wait = waits.CLOSE_WAIT if is_clean and error is None else waits.IMPATIENT_CLOSE_WAIT
            self._lender.take_back(self._cancellation, is_clean=is_clean or loop is None, timeout=close_wait)
            if loop is not None:
                loop.release()

    @property
    def tick(self) -> Optional[float]:
        """Seconds of silence after which it yields a ``Tick``; None: never. It can be set until the run is entered.

        >>> run = client.stream("hi", system_prompt="")
        >>> run.tick = 0.5
        >>> run.tick
        0.5
        """
        return self._options.tick

    @tick.setter
    def tick(self, seconds: Optional[float]) -> None:
        if self._is_entered:
            raise RuntimeUseError("the run has been entered: set its tick before")
        self._options = attrs.evolve(self._options, tick=seconds)

    def __iter__(self) -> Iterator[m.AgentRuntimeMessageInterface]:
        return self

    def __next__(self) -> m.AgentRuntimeMessageInterface:
        self._entered()
        message: m.AgentRuntimeMessageInterface = next(self._messages)
        self._callbacks.call((message,))
        return message

    def _result_last(self) -> Iterator[Any]:
        """The deliveries with the result moved to the end: on the wire, messages may follow it."""
        for message in self.deliveries():
            if not isinstance(message, self._result_cls):
                yield message
        yield self.result

    def deliveries(self) -> Iterator[Any]:
        """The messages in wire order, with the result where it came. For use instead of iteration.

        >>> with client.stream(InvocationMessage(system_prompt="", user_prompt="hi")) as run:
        ...     [type(message).__name__ for message in run.deliveries()]
        ['AssistantMessageInterface', 'ResultMessageInterface']
        """
        return self._entered().deliveries()

    def _entered(self) -> RequestLoop:
        if self._loop is None:
            raise RuntimeUseError("enter the Run first: `with client.stream(...) as run:`")
        self._loop.check_process()
        return self._loop

    @property
    def result(self) -> ResultT:
        """The result, once it has come; before, a ``RuntimeUseError``.

        With ``output_type``, an ``OutputValidationError`` instead of one whose answer does not fit.

        >>> client.stream(InvocationMessage(system_prompt="", user_prompt="hi")).result
        Traceback (most recent call last):
        ...
        runtimeuse_sync.exceptions.RuntimeUseError: there is no result yet: iterate to the end of the run
        """
        result: ResultT = _result_of(self._loop)
        return result

    @property
    def was_opened(self) -> bool:
        """Whether the connection was established; before that, nothing is sent. May be read by any thread.

        >>> client.stream(InvocationMessage(system_prompt="", user_prompt="hi")).was_opened
        False
        """
        if not self._was_opened and self._loop is not None:
            self._was_opened = self._loop.was_opened
        return self._was_opened

    @property
    def usage(self) -> Usage:
        """Tokens and cost so far, as reported with the result; an error has those that were reported with it.

        >>> client.stream(InvocationMessage(system_prompt="", user_prompt="hi")).usage.cost_usd
        """
        result = None if self._loop is None else self._loop.exchange.result
        return result.usage if isinstance(result, m.ResultMessageInterface) else Usage()

    def cancel(self) -> None:
        """Cancel the run, from any thread, at once; iterating then raises ``CancelledException``.

        >>> with client.stream(InvocationMessage(system_prompt="", user_prompt="hi")) as run:
        ...     run.cancel()
        ...     next(run)
        Traceback (most recent call last):
        ...
        runtimeuse_sync.exceptions.CancelledException: the call was cancelled
        """
        self._cancellation.abort()


def _result_of(loop: Optional[RequestLoop]) -> Any:
    if loop is not None and loop.exchange.result is not None:
        return loop.exchange.result
    is_over = loop is not None and loop.exchange.is_over
    raise RuntimeUseError(
        "the run ended without a result" if is_over else "there is no result yet: iterate to the end of the run"
    )
