"""The life of one request, without I/O: message in, what to do with it out.

The rules:

- Messages are delivered, artifact requests answered, until the result has come.
- The result ends the request, unless more is to come behind it (artifacts, the output of post-agent
  commands): then the exchange drains until the runtime confirms or closes, or its driver gives up waiting.
- An error is judged by the caller: a soft one changes nothing; another ends the request. While artifacts are
  being drained it waits for its turn, so that they are not lost with it.
- Once cancelled, nothing is delivered any more. The runtime answers with one certain error, or closes. A result
  or another error was on its way already: it settles the matter, but the certain error may still follow.
- There is one outcome: the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from typing import Any, Optional

import attrs

from .. import messages as m
from .._common.redaction import ShownRedactor
from ..exceptions import AgentRuntimeError, ProtocolError, RuntimeUseError
from .codec import RawResult, UnknownMessage

# How runtimes from 0.11 on answer a cancel_message.
CANCELLED = "Request cancelled"


class State(Enum):
    READY = auto()  # nothing sent
    RUNNING = auto()  # asked, no result yet
    DRAINING = auto()  # has its result, and waits for what belongs to it
    CANCELLING = auto()  # asked to stop
    SETTLED = auto()  # stopped, as far as one can tell
    OVER = auto()


class Action(Enum):
    """What the driver has to do with a message."""

    DELIVER = auto()  # hand it to the caller
    ANSWER = auto()  # ask the caller where the artifact goes
    JUDGE = auto()  # ask the caller whether the error is soft, and tell ``judge``
    RESULT = auto()  # turn it into the caller's class, and tell ``resolve``
    SKIP = auto()


class Event(Enum):
    """What a message is to the rules."""

    MESSAGE = auto()
    ARTIFACT = auto()
    RESULT = auto()
    ERROR = auto()
    CANCELLED = auto()  # the error that answers a cancel_message
    CONFIRM = auto()
    UNKNOWN = auto()


_EVENTS: dict[type, Event] = {
    m.AssistantMessageInterface: Event.MESSAGE,
    m.CommandOutputMessageInterface: Event.MESSAGE,
    m.HeartbeatMessageInterface: Event.MESSAGE,
    m.ArtifactUploadRequestMessageInterface: Event.ARTIFACT,
    m.ErrorMessageInterface: Event.ERROR,
    m.EndSessionConfirmMessage: Event.CONFIRM,
    m.ResultMessageInterface: Event.RESULT,
    m.CommandExecutionResultMessageInterface: Event.RESULT,
    RawResult: Event.RESULT,
    UnknownMessage: Event.UNKNOWN,
}

RESULTS = frozenset(cls for cls, event in _EVENTS.items() if event is Event.RESULT)

# (state, event) -> (what to do, the next state). What is not listed is skipped and changes nothing.
_TRANSITIONS: dict[tuple[State, Event], tuple[Action, State]] = {
    (State.RUNNING, Event.MESSAGE): (Action.DELIVER, State.RUNNING),
    (State.RUNNING, Event.ARTIFACT): (Action.ANSWER, State.RUNNING),
    (State.RUNNING, Event.ERROR): (Action.JUDGE, State.RUNNING),
    (State.RUNNING, Event.CANCELLED): (Action.JUDGE, State.RUNNING),
    (State.RUNNING, Event.RESULT): (Action.RESULT, State.RUNNING),
    (State.DRAINING, Event.MESSAGE): (Action.DELIVER, State.DRAINING),
    (State.DRAINING, Event.ARTIFACT): (Action.ANSWER, State.DRAINING),
    (State.DRAINING, Event.ERROR): (Action.JUDGE, State.DRAINING),
    (State.DRAINING, Event.CONFIRM): (Action.SKIP, State.OVER),
    (State.CANCELLING, Event.CANCELLED): (Action.SKIP, State.OVER),
    (State.CANCELLING, Event.ERROR): (Action.SKIP, State.SETTLED),
    (State.CANCELLING, Event.RESULT): (Action.SKIP, State.SETTLED),
    (State.SETTLED, Event.CANCELLED): (Action.SKIP, State.OVER),
}


# Until Python 3.11, to look a member up in its Enum takes as long as all else that is done for a message.
_MESSAGE, _RUNNING, _DELIVER = Event.MESSAGE, State.RUNNING, Action.DELIVER


class IllegalTransitionError(Exception):
    """The driver broke the rules; nothing has changed."""


@attrs.define(kw_only=True)
class Exchange:
    """One request from its start to its one outcome.

    Attributes:
        drains: whether more is to come behind the result.
        has_artifacts: whether that includes artifacts.
        secrets: what must not be in an error that is raised; runtimes before 0.9 do not redact it.
        skips_stale_cancel: whether the answer to an earlier request's cancel_message may still be on its way.
        is_confirmed: whether the runtime has said that it cancelled this request.
    """

    drains: bool
    has_artifacts: bool
    secrets: Sequence[str] = attrs.field(default=(), repr=False)
    skips_stale_cancel: bool = False
    state: State = attrs.field(default=State.READY, init=False)
    result: Any = attrs.field(default=None, init=False, repr=False)
    error: Optional[BaseException] = attrs.field(default=None, init=False)
    is_confirmed: bool = attrs.field(default=False, init=False)
    _last_error: Optional[m.ErrorMessageInterface] = attrs.field(default=None, init=False, repr=False)

    @property
    def is_over(self) -> bool:
        return self.state is State.OVER

    def start(self) -> None:
        """The request is being sent."""
        self._require(State.READY)
        self.state = State.RUNNING

    def start_drain(self, last_result: Any) -> None:
        """There is no request: only what is left of earlier ones is awaited."""
        self._require(State.READY)
        self.result = last_result
        self.state = State.DRAINING

    def receive(self, message: Any) -> Action:
        """What to do with ``message``."""
        event = _EVENTS.get(type(message)) or _event_of_subclass(message)
        if event is _MESSAGE and self.state is _RUNNING:  # the hot path
            return _DELIVER
        if event is Event.ERROR and message.error == CANCELLED:
            if self._is_stale():
                return Action.SKIP
            event = Event.CANCELLED
        self._require(State.RUNNING, State.DRAINING, State.CANCELLING, State.SETTLED)
        self.is_confirmed = self.is_confirmed or (event is Event.CANCELLED and self.state is not State.RUNNING)
        action, self.state = _TRANSITIONS.get((self.state, event), (Action.SKIP, self.state))
        return action

    def _is_stale(self) -> bool:
        is_stale = self.skips_stale_cancel and self.state in (State.RUNNING, State.DRAINING)
        if is_stale:
            self.skips_stale_cancel = False
        return is_stale

    def resolve(self, result: Any) -> None:
        """The result that ``receive`` announced."""
        self._require(State.RUNNING)
        self.result = result
        self.state = State.DRAINING if self.drains else State.OVER

    def judge(self, message: m.ErrorMessageInterface, *, is_soft: bool) -> None:
        """The caller's verdict on an error."""
        self._require(State.RUNNING, State.DRAINING)
        self._last_error = message
        if is_soft:
            return
        if self.error is None:
            self.error = self._reported(message, self.result)
        if self.state is State.RUNNING or not self.has_artifacts:
            self.state = State.OVER

    def cancel(self, error: Optional[BaseException] = None) -> bool:
        """End the request with ``error`` as its outcome; whether a ``cancel_message`` has to be sent."""
        if self.state in (State.READY, State.DRAINING):
            self.error = error or self.error
            self.state = State.OVER
        elif self.state is State.RUNNING:
            self.error = error
            self.state = State.CANCELLING
            return True
        return False

    def disconnect(self, error: RuntimeUseError) -> None:
        """The connection has ended, with ``error``."""
        if self.state in (State.READY, State.RUNNING):
            self.error = self._reported_instead_of(error)
        self.state = State.OVER

    def stop_waiting(self) -> None:
        """The driver has waited long enough for the last word; the outcome stands."""
        self._require(State.DRAINING, State.CANCELLING, State.SETTLED)
        self.state = State.OVER

    def _reported_instead_of(self, error: RuntimeUseError) -> RuntimeUseError:
        """The runtime's last word explains a lost connection better than the loss itself."""
        if self._last_error is None or isinstance(error, ProtocolError):
            return error
        reported = self._reported(self._last_error, None)
        reported.__cause__ = error
        return reported

    def _reported(self, message: m.ErrorMessageInterface, result: Any) -> AgentRuntimeError:
        redactor = ShownRedactor(self.secrets)
        return AgentRuntimeError(redactor.text(message.error), redactor.value(message.metadata), result)

    def _require(self, *states: State) -> None:
        if self.state not in states:
            raise IllegalTransitionError(f"not possible while {self.state.name}")


def _event_of_subclass(message: Any) -> Event:
    """A custom transport may bring subclasses, of the result above all."""
    for cls in type(message).__mro__:
        if cls in _EVENTS:
            return _EVENTS[cls]
    raise ProtocolError(f"the transport brought a {type(message).__name__}, which is no message of a runtime")
