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
from .._common.redaction import Redactor
from ..exceptions import AgentRuntimeError, ProtocolError, RuntimeUseError
from .codec import RawResult, UnknownMessage

# How runtimes from 0.11 on answer a cancel_message.
CANCELLED = "Request cancelled"


class Phase(Enum):
    READY = auto()  # nothing sent
    RUNNING = auto()  # asked, no result yet
    DRAINING = auto()  # has its result, and waits for what belongs to it
    CANCELLING = auto()  # asked to stop
    SETTLED = auto()  # stopped, as far as one can tell
    OVER = auto()


class Step(Enum):
    """What the driver has to do with a message."""

    DELIVER = auto()  # hand it to the caller
    ANSWER = auto()  # ask the caller where the artifact goes
    JUDGE = auto()  # ask the caller whether the error is soft, and tell ``judge``
    RESULT = auto()  # turn it into the caller's class, and tell ``resolve``
    SKIP = auto()


class Kind(Enum):
    """What a message is to the rules."""

    EVENT = auto()
    ARTIFACT = auto()
    RESULT = auto()
    ERROR = auto()
    CANCELLED = auto()  # the error that answers a cancel_message
    CONFIRM = auto()
    UNKNOWN = auto()


_KINDS: dict[type, Kind] = {
    m.AssistantMessageInterface: Kind.EVENT,
    m.CommandOutputMessageInterface: Kind.EVENT,
    m.HeartbeatMessageInterface: Kind.EVENT,
    m.ArtifactUploadRequestMessageInterface: Kind.ARTIFACT,
    m.ErrorMessageInterface: Kind.ERROR,
    m.EndSessionConfirmMessage: Kind.CONFIRM,
    m.ResultMessageInterface: Kind.RESULT,
    m.CommandExecutionResultMessageInterface: Kind.RESULT,
    RawResult: Kind.RESULT,
    UnknownMessage: Kind.UNKNOWN,
}

RESULTS = frozenset(cls for cls, kind in _KINDS.items() if kind is Kind.RESULT)

# (phase, kind) -> (what to do, the next phase). What is not listed is skipped and changes nothing.
_RULES: dict[tuple[Phase, Kind], tuple[Step, Phase]] = {
    (Phase.RUNNING, Kind.EVENT): (Step.DELIVER, Phase.RUNNING),
    (Phase.RUNNING, Kind.ARTIFACT): (Step.ANSWER, Phase.RUNNING),
    (Phase.RUNNING, Kind.ERROR): (Step.JUDGE, Phase.RUNNING),
    (Phase.RUNNING, Kind.CANCELLED): (Step.JUDGE, Phase.RUNNING),
    (Phase.RUNNING, Kind.RESULT): (Step.RESULT, Phase.RUNNING),
    (Phase.DRAINING, Kind.EVENT): (Step.DELIVER, Phase.DRAINING),
    (Phase.DRAINING, Kind.ARTIFACT): (Step.ANSWER, Phase.DRAINING),
    (Phase.DRAINING, Kind.ERROR): (Step.JUDGE, Phase.DRAINING),
    (Phase.DRAINING, Kind.CONFIRM): (Step.SKIP, Phase.OVER),
    (Phase.CANCELLING, Kind.CANCELLED): (Step.SKIP, Phase.OVER),
    (Phase.CANCELLING, Kind.ERROR): (Step.SKIP, Phase.SETTLED),
    (Phase.CANCELLING, Kind.RESULT): (Step.SKIP, Phase.SETTLED),
    (Phase.SETTLED, Kind.CANCELLED): (Step.SKIP, Phase.OVER),
}


# Until Python 3.11, to look a member up in its Enum takes as long as all else that is done for a message.
_EVENT, _RUNNING, _DELIVER = Kind.EVENT, Phase.RUNNING, Step.DELIVER


class IllegalStepError(Exception):
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
    phase: Phase = attrs.field(default=Phase.READY, init=False)
    result: Any = attrs.field(default=None, init=False, repr=False)
    error: Optional[BaseException] = attrs.field(default=None, init=False)
    is_confirmed: bool = attrs.field(default=False, init=False)
    _last_error: Optional[m.ErrorMessageInterface] = attrs.field(default=None, init=False, repr=False)

    @property
    def is_over(self) -> bool:
        return self.phase is Phase.OVER

    def start(self) -> None:
        """The request is being sent."""
        self._require(Phase.READY)
        self.phase = Phase.RUNNING

    def start_drain(self, last_result: Any) -> None:
        """There is no request: only what is left of earlier ones is awaited."""
        self._require(Phase.READY)
        self.result = last_result
        self.phase = Phase.DRAINING

    def receive(self, message: Any) -> Step:
        """What to do with ``message``."""
        kind = _KINDS.get(type(message)) or _kind_of_subclass(message)
        if kind is _EVENT and self.phase is _RUNNING:  # the hot path
            return _DELIVER
        if kind is Kind.ERROR and message.error == CANCELLED:
            if self._is_stale():
                return Step.SKIP
            kind = Kind.CANCELLED
        self._require(Phase.RUNNING, Phase.DRAINING, Phase.CANCELLING, Phase.SETTLED)
        self.is_confirmed = self.is_confirmed or (kind is Kind.CANCELLED and self.phase is not Phase.RUNNING)
        step, self.phase = _RULES.get((self.phase, kind), (Step.SKIP, self.phase))
        return step

    def _is_stale(self) -> bool:
        is_stale = self.skips_stale_cancel and self.phase in (Phase.RUNNING, Phase.DRAINING)
        if is_stale:
            self.skips_stale_cancel = False
        return is_stale

    def resolve(self, result: Any) -> None:
        """The result that ``receive`` announced."""
        self._require(Phase.RUNNING)
        self.result = result
        self.phase = Phase.DRAINING if self.drains else Phase.OVER

    def judge(self, message: m.ErrorMessageInterface, *, is_soft: bool) -> None:
        """The caller's verdict on an error."""
        self._require(Phase.RUNNING, Phase.DRAINING)
        self._last_error = message
        if is_soft:
            return
        if self.error is None:
            self.error = self._reported(message, self.result)
        if self.phase is Phase.RUNNING or not self.has_artifacts:
            self.phase = Phase.OVER

    def cancel(self, error: Optional[BaseException] = None) -> bool:
        """End the request with ``error`` as its outcome; whether a ``cancel_message`` has to be sent."""
        if self.phase in (Phase.READY, Phase.DRAINING):
            self.error = error or self.error
            self.phase = Phase.OVER
        elif self.phase is Phase.RUNNING:
            self.error = error
            self.phase = Phase.CANCELLING
            return True
        return False

    def disconnect(self, error: RuntimeUseError) -> None:
        """The connection has ended, with ``error``."""
        if self.phase in (Phase.READY, Phase.RUNNING):
            self.error = self._reported_instead_of(error)
        self.phase = Phase.OVER

    def stop_waiting(self) -> None:
        """The driver has waited long enough for the last word; the outcome stands."""
        self._require(Phase.DRAINING, Phase.CANCELLING, Phase.SETTLED)
        self.phase = Phase.OVER

    def _reported_instead_of(self, error: RuntimeUseError) -> RuntimeUseError:
        """The runtime's last word explains a lost connection better than the loss itself."""
        if self._last_error is None or isinstance(error, ProtocolError):
            return error
        reported = self._reported(self._last_error, None)
        reported.__cause__ = error
        return reported

    def _reported(self, message: m.ErrorMessageInterface, result: Any) -> AgentRuntimeError:
        redactor = Redactor(self.secrets)
        return AgentRuntimeError(redactor.text(message.error), redactor.value(message.metadata), result)

    def _require(self, *phases: Phase) -> None:
        if self.phase not in phases:
            raise IllegalStepError(f"not possible while {self.phase.name}")


def _kind_of_subclass(message: Any) -> Kind:
    """A custom transport may bring subclasses, of the result above all."""
    for cls in type(message).__mro__:
        if cls in _KINDS:
            return _KINDS[cls]
    raise ProtocolError(f"the transport brought a {type(message).__name__}, which is no message of a runtime")
