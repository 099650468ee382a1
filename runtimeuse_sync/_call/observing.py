"""Telling observers of one call. Only a call that has any is wrapped for it: to others nothing is added."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Optional

import attrs

from .. import messages as m
from ..observers import ObservedCall, ObservedRequest, Observer
from ..options import Logger
from .channel import Channel


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Observers:
    """Who observes the calls of a client or session, and what these calls have in common."""

    all: tuple[Observer, ...] = ()
    url: Optional[str] = None
    session_id: Optional[str] = None

    def of_call(self, request: ObservedRequest, logger: Logger) -> Observation:
        """What tells them of a call that makes ``request``. If there are none, nothing is made that they would see."""
        if not self.all:
            return Observation((), None, logger)
        call = ObservedCall(request=request, url=self.url, session_id=self.session_id)
        return Observation(self.all, call, logger)


class Observation:
    """One call and its observers. Used by the caller's thread alone."""

    def __init__(self, observers: tuple[Observer, ...], call: Optional[ObservedCall], logger: Logger) -> None:
        self._observers = observers
        self._call: Any = call  # None only if there are no observers
        self._logger = logger
        self._connection: Optional[ObservedConnection] = None
        self._complaints: set[tuple[int, str]] = set()  # an observer and a method that were logged as failing

    def begin(self) -> None:
        self.tell("call_began")

    def request(self, request: Any) -> Any:
        """What is to be sent: ``request``, with what the observers add to its environment."""
        for observer in self._observers:
            try:
                request = _with_environment(request, observer.environment(self._call))
            except Exception as error:  # noqa: BLE001 - whatever an observer does, the call goes on
                self._complain(observer, "environment", error)
        return request

    def watch(self, channel: Channel) -> None:
        """Tell from now on what goes over ``channel``."""
        if self._observers:
            self._connection = channel.connection = ObservedConnection(channel, self)

    def unwatch(self) -> None:
        """Leave the channel as it was: before it is given back, since the next call may have it at once."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.detach()

    def end(self, result: Any, error: Optional[BaseException]) -> None:
        self.tell("call_ended", result, error)

    @contextlib.contextmanager
    def of_block(self) -> Iterator[None]:
        """Begin, and end as the block does: for a call without a result."""
        try:
            self.begin()
            yield
        except BaseException as error:
            self.end(None, error)
            raise
        self.end(None, None)

    # --- telling ------------------------------------------------------------------------------------

    def tell(self, name: str, *args: Any) -> None:
        for observer in self._observers:
            self._tell(observer, name, *args)

    def tell_received(self, messages: Sequence[Any]) -> None:
        for observer in self._observers:
            if type(observer).messages_received is not Observer.messages_received:
                self._tell(observer, "messages_received", messages)
                continue
            for message in messages:  # one by one, so that none is lost to what an earlier one makes it raise
                self._tell(observer, "message_received", message)

    def _tell(self, observer: Observer, name: str, *args: Any) -> None:
        try:
            getattr(observer, name)(self._call, *args)
        except Exception as error:  # noqa: BLE001 - whatever an observer does, the call goes on
            self._complain(observer, name, error)

    def _complain(self, observer: Observer, name: str, error: Exception) -> None:
        """Log it once a call. Not the error's text, which may quote the message."""
        if (id(observer), name) not in self._complaints:
            self._complaints.add((id(observer), name))
            self._logger.error(
                "the observer %s raised %s in %s, which the call does not feel (logged once a call)",
                type(observer).__qualname__,
                type(error).__qualname__,
                name,
            )


class ObservedConnection:
    """A connection for the time of one call: it tells what it sends and receives, and hands on all else."""

    def __init__(self, channel: Channel, observation: Observation) -> None:
        self._inner = channel.connection
        self._channel = channel
        self._observation = observation
        self._is_connected = False
        # What was sent and not yet told: before it was connected, and by an abort() on another thread.
        self._sent: deque[m.ClientMessage] = deque()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def send(self, message: m.ClientMessage) -> None:
        self._inner.send(message)
        self._sent.append(message)
        # That one alone may come from another thread, or from a signal handler: it is told when the caller looks.
        if not isinstance(message, m.CancelMessage):
            self.tell_sent()

    def receive(self, timeout: float) -> Sequence[Any]:
        try:
            batch = self._inner.receive(timeout)
        finally:
            self.tell_sent()
        if batch:
            self._observation.tell_received(batch)
        return batch

    def detach(self) -> None:
        """Put back the connection itself, and tell what is still untold."""
        self._channel.connection = self._inner
        self.tell_sent()

    def tell_sent(self) -> None:
        if not self._is_connected and self._channel.was_opened:
            self._is_connected = True
            self._observation.tell("connected")
        while self._is_connected and self._sent:
            self._observation.tell("message_sent", self._sent.popleft())


def _with_environment(request: Any, variables: Mapping[str, str]) -> Any:
    """``request`` with ``variables`` where it does not set the same; raises ``TypeError`` if they are none."""
    if not variables or isinstance(request, m.EndSessionMessage):
        return request
    if isinstance(request, m.CommandExecutionMessage):
        return attrs.evolve(request, commands=_commands_with(request.commands, variables))
    return attrs.evolve(
        request,
        agent_env={**variables, **(request.agent_env or {})},
        pre_agent_invocation_commands=_commands_with(request.pre_agent_invocation_commands, variables),
        post_agent_invocation_commands=_commands_with(request.post_agent_invocation_commands, variables),
    )


def _commands_with(commands: Optional[list[m.CommandInterface]], variables: Mapping[str, str]) -> Any:
    if commands is None:
        return None
    return [attrs.evolve(command, env={**variables, **(command.env or {})}) for command in commands]
