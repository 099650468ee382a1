"""The spans of one call: its own, and a child span for each part of it (connect, phases, drain)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Optional

from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context

from . import _names as n
from ._attributes import phase_of

# Of one call: a peer may tell of another phase with each heartbeat, and send as many as it likes.
_MOST_PHASES = 100


class Failure(NamedTuple):
    """The failure of a call: the error's class, and its text if content is asked for."""

    type: str
    words: Optional[str]


class CallSpans:
    """Used by the caller's thread alone.

    Attributes:
        span: the call's own.
        context: one in which that is the current span: of what the call does, and has done.
    """

    def __init__(self, tracer: Tracer, parent: Context, name: str, attributes: Mapping[str, Any]) -> None:
        self.span: Span = tracer.start_span(name, context=parent, kind=SpanKind.CLIENT, attributes=attributes)
        self.context: Context = set_span_in_context(self.span, parent)
        self._tracer = tracer
        self._part: Optional[Span] = None
        self._phase: Optional[str] = None
        self._phases = 0

    def begin(self, name: str, attributes: Optional[Mapping[str, Any]] = None) -> None:
        """Begin a part of the call, which ends the one before."""
        self.end_part()
        self._part = self._tracer.start_span(name, context=self.context, attributes=attributes)

    def enter_phase(self, words: str) -> None:
        """The runtime is in this phase, perhaps since an earlier heartbeat."""
        if words != self._phase and self._phases < _MOST_PHASES:
            self._phase = words
            self._phases += 1
            phase = phase_of(words)
            self.begin(f"{n.PHASE_SPAN} {phase}", {n.PHASE: phase})

    def end_part(self, failure: Optional[Failure] = None) -> None:
        """End the current part, if there is one."""
        part, self._part = self._part, None
        if part is not None:
            _end(part, failure)

    def end(self, failure: Optional[Failure]) -> None:
        """End all of them."""
        self.end_part(failure)
        _end(self.span, failure)


def _end(span: Span, failure: Optional[Failure]) -> None:
    if failure is not None:
        span.set_attribute(n.ERROR_TYPE, failure.type)
        span.set_status(Status(StatusCode.ERROR, failure.words))
    span.end()
