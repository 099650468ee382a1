"""The state machine of one request, without I/O: for each message it returns the action to take.

Its user (the request loop) is called the driver here. The rules:

- Messages are delivered, and artifact requests answered, until the result has come.
- The result ends the request, unless more may follow it (artifacts, the output of post-agent commands): then the
  exchange drains until the runtime confirms the end or closes, or the driver stops waiting.
- The caller judges errors: a soft one changes nothing; any other ends the request. While artifacts are drained, it is
  raised only after the drain, so that they are not lost.
- After a cancellation, nothing is delivered. The runtime answers with the error "Request cancelled", or closes. If a
  result or another error comes instead, it was sent before: the request is over (settled), but the answer may still
  follow.
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

# The text of the error with which runtimes from 0.11 on answer a cancel_message.
CANCELLED = "Request cancelled"


class State(Enum):
    READY = auto()  # no request sent yet
    RUNNING = auto()  # request sent, no result yet
    DRAINING = auto()  # result received; waiting for artifacts and output after it
    CANCELLING = auto()  # cancel_message sent, no answer yet
    SETTLED = auto()  # cancelled, and ended by another message than the answer to cancel_message
    OVER = auto()


class Action(Enum):
    """The action that the driver has to take for a message."""

    DELIVER = auto()  # hand it to the caller
    ANSWER = auto()  # ask the caller for the artifact's upload URL
    JUDGE = auto()  # ask the caller whether the error is soft, and call ``judge``
    RESULT = auto()  # convert it to the caller's class, and call ``resolve``
    SKIP = auto()


class Event(Enum):
    """The kind of a message, as the state machine distinguishes them."""

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

# (state, event) -> (action, next state). A message that is not listed is skipped and changes nothing.
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


# For speed: up to Python 3.11, one look-up of an Enum member takes as long as the rest of ``receive``.
_MESSAGE, _RUNNING, _DELIVER = Event.MESSAGE, State.RUNNING, Action.DELIVER


class IllegalTransitionError(Exception):
    """A method was called in a state that does not allow it; nothing has changed."""


@attrs.define(kw_only=True)
class Exchange:
    """The state of one request, from its start to its outcome.

    Attributes:
        drains: whether messages may follow the result.
        has_artifacts: whether artifacts may be among them.
        secrets: to be redacted in errors; runtimes before 0.9 do not redact them.
        skips_stale_cancel: whether the answer to an earlier request's cancel_message may still come.
        is_confirmed: whether the runtime has confirmed that this request was cancelled.
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
        """Begin: the request is about to be sent."""
        self._require(State.READY)
        self.state = State.RUNNING

    def start_drain(self, last_result: Any) -> None:
        """Begin without a request: only messages after earlier results are awaited."""
        self._require(State.READY)
        self.result = last_result
        self.state = State.DRAINING

    def receive(self, message: Any) -> Action:
        """Change the state, and return what to do with ``message``."""
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
        """Set the result, after ``receive`` returned ``RESULT``."""
        self._require(State.RUNNING)
        self.result = result
        self.state = State.DRAINING if self.drains else State.OVER

    def judge(self, message: m.ErrorMessageInterface, *, is_soft: bool) -> None:
        """Set the caller's judgement of an error, after ``receive`` returned ``JUDGE``."""
        self._require(State.RUNNING, State.DRAINING)
        self._last_error = message
        if is_soft:
            return
        if self.error is None:
            self.error = self._reported(message, self.result)
        if self.state is State.RUNNING or not self.has_artifacts:
            self.state = State.OVER

    def cancel(self, error: Optional[BaseException] = None) -> bool:
        """End the request with ``error`` as its outcome; return whether a ``cancel_message`` has to be sent."""
        if self.state in (State.READY, State.DRAINING):
            self.error = error or self.error
            self.state = State.OVER
        elif self.state is State.RUNNING:
            self.error = error
            self.state = State.CANCELLING
            return True
        return False

    def disconnect(self, error: RuntimeUseError) -> None:
        """End the request, since the connection has ended with ``error``."""
        if self.state in (State.READY, State.RUNNING):
            self.error = self._reported_instead_of(error)
        self.state = State.OVER

    def stop_waiting(self) -> None:
        """End the request without waiting for further messages; the outcome stays as it is."""
        self._require(State.DRAINING, State.CANCELLING, State.SETTLED)
        self.state = State.OVER

    def _reported_instead_of(self, error: RuntimeUseError) -> RuntimeUseError:
        """The runtime's last error, if there is one, since it explains a lost connection; otherwise ``error``."""
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
    """The event of a subclass of a message class: a custom transport may deliver such, mostly of the result."""
    for cls in type(message).__mro__:
        if cls in _EVENTS:
            return _EVENTS[cls]
    raise ProtocolError(f"the transport brought a {type(message).__name__}, which is no message of a runtime")
