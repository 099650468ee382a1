"""``TypedRun``: a run whose answer is converted to a type; the agent is asked again while it does not fit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Optional, Protocol, TypeVar

from . import messages as m
from ._call import waits
from ._call.channel import Channel
from ._call.request_loop import RequestLoop
from .exceptions import AgentRuntimeError, ConnectionLostError, OutputValidationError
from .run import Request, Run
from .usage import Usage

ResultT = TypeVar("ResultT")


class Asking(Protocol):
    """The interface to the wanted type and its repairs; implemented in ``outputs``.

    Attributes:
        request: the first request.
        may_follow: whether the agent may be asked again.
    """

    request: m.InvocationMessage

    @property
    def may_follow(self) -> bool:
        """Whether the agent may be asked again."""

    def read(self, result: Any) -> Any:
        """Convert the answer to the type; raises ``OutputValidationError``."""

    def again(self, error: OutputValidationError) -> Optional[m.InvocationMessage]:
        """The request that asks again after ``error``; None if no repairs are left."""


class TypedRun(Run[ResultT]):
    """A run whose result has an ``output`` of a type. It yields a result only if the answer fits."""

    def __init__(self, lender: Any, asking: Asking, *args: Any, **options: Any) -> None:
        super().__init__(lender, asking.request, *args, **options)
        self._asking = asking
        self._has_output = False
        self._spent = Usage()  # usage of the answers that did not fit

    def _start(self, channel: Channel, request: Request, *, is_last: bool = True) -> RequestLoop:
        return super()._start(channel, request, is_last=is_last and not self._asking.may_follow)

    def deliveries(self) -> Iterator[Any]:
        """The deliveries as of ``Run``, with those of repeated requests."""
        messages = super().deliveries()
        return self._until_it_fits(messages)

    @property
    def result(self) -> ResultT:
        """The result as of ``Run``, with its ``output``; ``OutputValidationError`` if the answer does not fit."""
        result = super().result
        if not self._has_output:
            # Without the class's own __setattr__: a user's class may be frozen.
            object.__setattr__(result, "output", self._asking.read(result))
            self._has_output = True
        return result

    @property
    def usage(self) -> Usage:
        """The usage as of ``Run``, summed over all requests."""
        return self._spent + super().usage

    def _until_it_fits(self, messages: Optional[Iterator[Any]]) -> Iterator[Any]:
        while messages is not None:
            request = None
            for message in messages:
                if isinstance(message, self._result_cls):
                    try:
                        message = self.result
                    except OutputValidationError as error:
                        request = self._asking.again(error)
                        self._spent += super().usage if request is not None else Usage()
                        continue
                yield message
            messages = None if request is None else self._asked_again(request)
        self.result  # noqa: B018 - raises if the last one does not fit either

    def _asked_again(self, request: m.InvocationMessage) -> Iterator[Any]:
        """The messages of a repeated ``request``, over the same connection if the runtime allows it, or a new one."""
        loop, has_come = self._entered(), False
        channel = loop.hand_over()
        if not (channel.serves_one_call and loop.exchange.drains):
            try:
                for message in self._start(channel, request).deliveries():
                    has_come = True
                    yield message
                return
            except (AgentRuntimeError, ConnectionLostError):
                # Runtimes before 0.11 refuse a second request: with an error, or by closing the connection.
                if has_come or not channel.serves_one_call:
                    raise
        self._give_back()
        yield from self._start(self._borrow(), request).deliveries()

    def _give_back(self) -> None:
        """Close the connection of one request, before the next opens a new one."""
        self._was_opened, self._loop = self.was_opened, None
        self._observation.unwatch()
        self._lender.take_back(self._cancellation, is_clean=True, timeout=waits.CLOSE_WAIT)
