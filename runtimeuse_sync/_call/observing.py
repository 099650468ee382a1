"""Reports of one call to its observers. A connection is wrapped only if there are observers, else nothing is added."""

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
    """The observers of the calls of a client or session, and the facts that are the same for all these calls."""

    all: tuple[Observer, ...] = ()
    url: Optional[str] = None
    session_id: Optional[str] = None

    def of_call(self, request: ObservedRequest, logger: Logger) -> Observation:
        """The ``Observation`` of a call with ``request``. Without observers, no ``ObservedCall`` is made."""
        if not self.all:
            return Observation((), None, logger)
        call = ObservedCall(request=request, url=self.url, session_id=self.session_id)
        return Observation(self.all, call, logger)


class Observation:
    """Reports one call to its observers. Used by the caller's thread only."""

    def __init__(self, observers: tuple[Observer, ...], call: Optional[ObservedCall], logger: Logger) -> None:
        self._observers = observers
        self._call: Any = call  # None only if there are no observers
        self._logger = logger
        self._connection: Optional[ObservedConnection] = None
        self._complaints: set[tuple[int, str]] = set()  # observer and method, if the failure was logged

    def begin(self) -> None:
        self.tell("call_began")

    def request(self, request: Any) -> Any:
        """``request``, with the environment variables that the observers add."""
        for observer in self._observers:
            try:
                request = _with_environment(request, observer.environment(self._call))
            except Exception as error:  # noqa: BLE001 - whatever an observer does, the call goes on
                self._complain(observer, "environment", error)
        return request

    def watch(self, channel: Channel) -> None:
        """Report the messages of ``channel`` from now on."""
        if self._observers:
            self._connection = channel.connection = ObservedConnection(channel, self)

    def unwatch(self) -> None:
        """Restore the channel's own connection. Do so before it is given back: the next call may get it at once."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.detach()

    def end(self, result: Any, error: Optional[BaseException]) -> None:
        self.tell("call_ended", result, error)

    @contextlib.contextmanager
    def of_block(self) -> Iterator[None]:
        """Report the beginning and the end of a ``with`` block: for a call without a result."""
        try:
            self.begin()
            yield
        except BaseException as error:
            self.end(None, error)
            raise
        self.end(None, None)

    # --- reporting ----------------------------------------------------------------------------------

    def tell(self, name: str, *args: Any) -> None:
        for observer in self._observers:
            self._tell(observer, name, *args)

    def tell_received(self, messages: Sequence[Any]) -> None:
        for observer in self._observers:
            if type(observer).messages_received is not Observer.messages_received:
                self._tell(observer, "messages_received", messages)
                continue
            for message in messages:  # one by one: if the method raises for one, it still gets the rest
                self._tell(observer, "message_received", message)

    def _tell(self, observer: Observer, name: str, *args: Any) -> None:
        try:
            getattr(observer, name)(self._call, *args)
        except Exception as error:  # noqa: BLE001 - whatever an observer does, the call goes on
            self._complain(observer, name, error)

    def _complain(self, observer: Observer, name: str, error: Exception) -> None:
        """Log an observer's error, once a call, without its text, which may quote the message."""
        if (id(observer), name) not in self._complaints:
            self._complaints.add((id(observer), name))
            self._logger.error(
                "the observer %s raised %s in %s, which the call does not feel (logged once a call)",
                type(observer).__qualname__,
                type(error).__qualname__,
                name,
            )


class ObservedConnection:
    """A wrapper around a connection during one call: it reports what is sent and received, and delegates the rest."""

    def __init__(self, channel: Channel, observation: Observation) -> None:
        self._inner = channel.connection
        self._channel = channel
        self._observation = observation
        self._is_connected = False
        # Messages that were sent but not yet reported: before the connection was established, or by an abort().
        self._sent: deque[m.ClientMessage] = deque()
        # Optional: observers are told of the connection when it comes about, not when the first message does.
        wake_when_open = getattr(self._inner, "wake_when_open", None)
        if wake_when_open is not None:
            wake_when_open()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def send(self, message: m.ClientMessage) -> None:
        self._inner.send(message)
        self._sent.append(message)
        # Only a cancel_message may be sent by another thread or a signal handler, so the caller's thread reports it.
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
        """Put the wrapped connection back, and report what was not reported yet."""
        self._channel.connection = self._inner
        self.tell_sent()

    def tell_sent(self) -> None:
        if not self._is_connected and self._channel.was_opened:
            self._is_connected = True
            self._observation.tell("connected")
        while self._is_connected and self._sent:
            self._observation.tell("message_sent", self._sent.popleft())


def _with_environment(request: Any, variables: Mapping[str, str]) -> Any:
    """``request`` with ``variables`` added, but for those that it sets itself; ``TypeError`` if they are no mapping."""
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
