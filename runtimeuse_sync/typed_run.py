"""``TypedRun``: a run whose answer is of a type, and is asked for again while it does not fit."""

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
    """What is asked for; ``outputs`` has it.

    Attributes:
        request: what asks for it.
        may_follow: whether it may be asked for again.
    """

    request: m.InvocationMessage

    @property
    def may_follow(self) -> bool:
        """See above."""

    def read(self, result: Any) -> Any:
        """The answer as its type; raises ``OutputValidationError``."""

    def again(self, error: OutputValidationError) -> Optional[m.InvocationMessage]:
        """What asks again after ``error``; None if it was asked often enough."""


class TypedRun(Run[ResultT]):
    """A run whose result has an ``output`` of a type, and the only result that it yields is one that fits."""

    def __init__(self, lender: Any, asking: Asking, *args: Any, **options: Any) -> None:
        super().__init__(lender, asking.request, *args, **options)
        self._asking = asking
        self._has_output = False
        self._spent = Usage()  # on answers that did not fit, and were asked for again

    def _start(self, channel: Channel, request: Request, *, is_last: bool = True) -> RequestLoop:
        return super()._start(channel, request, is_last=is_last and not self._asking.may_follow)

    def deliveries(self) -> Iterator[Any]:
        """As those of ``Run``, with those of what asks again."""
        messages = super().deliveries()
        return self._until_it_fits(messages)

    @property
    def result(self) -> ResultT:
        """As that of ``Run``, with its ``output``; raises ``OutputValidationError`` if the answer does not fit."""
        result = super().result
        if not self._has_output:
            # The class may be a frozen one of the user's.
            object.__setattr__(result, "output", self._asking.read(result))
            self._has_output = True
        return result

    @property
    def usage(self) -> Usage:
        """As that of ``Run``, over all that was asked."""
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
        """The messages of ``request``: over the connection that there is, if that is good for it, or over another."""
        loop, has_come = self._entered(), False
        channel = loop.hand_over()
        if not (channel.serves_one_call and loop.exchange.drains):
            try:
                for message in self._start(channel, request).deliveries():
                    has_come = True
                    yield message
                return
            except (AgentRuntimeError, ConnectionLostError):
                # Runtimes before 0.11 refuse it: with an error, or they have closed.
                if has_come or not channel.serves_one_call:
                    raise
        self._give_back()
        yield from self._start(self._borrow(), request).deliveries()

    def _give_back(self) -> None:
        """Close the connection of one request, for that of the next."""
        self._was_opened, self._loop = self.was_opened, None
        self._observation.unwatch()
        self._lender.take_back(self._cancellation, is_clean=True, timeout=waits.CLOSE_WAIT)
