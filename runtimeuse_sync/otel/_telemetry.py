"""``OpenTelemetry``: the observer that makes spans and metrics of calls."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any, NamedTuple, Optional

from opentelemetry import metrics, propagate, trace
from opentelemetry.context import Context, get_current
from opentelemetry.propagators.textmap import Setter

from .. import (
    AgentRuntimeError,
    ArtifactUploadRequestMessageInterface,
    EndSessionMessage,
    ErrorMessageInterface,
    HeartbeatMessageInterface,
    ObservedCall,
    Observer,
    RawResult,
    Usage,
)
from . import _attributes as a
from . import _names as n
from ._spans import CallSpans, Failure


class OpenTelemetry(Observer):
    """Makes spans and metrics of the calls of the clients that it is given to.

    It can be shared by clients and threads, and pickles with them where the providers are the global ones. Callbacks
    do not run inside the call's span: what they trace belongs to where they are called.

    Args:
        tracer_provider (opentelemetry.trace.TracerProvider or None): default: the global one.
        meter_provider (opentelemetry.metrics.MeterProvider or None): default: the global one.
        provider (str): ``gen_ai.provider.name``, such as ``"anthropic"``: a runtime does not tell whose model it
            asks. Default ``"runtimeuse"``.
        content (bool): put prompts, answers, commands, the words of errors and the paths of artifacts into spans, with
            ``[REDACTED]`` for what is in ``secrets_to_redact``. Default False.

    >>> client.with_observers(OpenTelemetry(provider="anthropic")).query("hello").output
    'hello'
    """

    def __init__(
        self,
        *,
        tracer_provider: Optional[trace.TracerProvider] = None,
        meter_provider: Optional[metrics.MeterProvider] = None,
        provider: str = "runtimeuse",
        content: bool = False,
    ) -> None:
        self._options = {
            "tracer_provider": tracer_provider,
            "meter_provider": meter_provider,
            "provider": provider,
            "content": content,
        }
        self._provider = provider
        self._content = content
        self._tracer = trace.get_tracer(n.SCOPE, tracer_provider=tracer_provider)
        self._meters = _Meters(metrics.get_meter(n.SCOPE, meter_provider=meter_provider))
        # By their ids. Each is touched by its caller's thread alone.
        self._calls: dict[str, _Call] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self._options,)

    def call_began(self, call: ObservedCall) -> None:
        """See ``Observer``."""
        common = a.of_call(call.request, call.url, self._provider)
        content = a.content_of_request(call.request) if self._content else {}
        attributes = {**common, **a.of_request(call.request), **content}
        parent = call.context.run(get_current)
        spans = CallSpans(self._tracer, parent, str(common[n.OPERATION]), attributes)
        self._calls[call.id] = _Call(spans, common, time.monotonic(), [])
        if call.session_id is None:  # a session has its connection, and may have to wait for its turn
            spans.begin(n.CONNECT_SPAN)

    def environment(self, call: ObservedCall) -> Mapping[str, str]:
        """See ``Observer``: the call's span, as the propagator writes it."""
        variables: dict[str, str] = {}
        propagate.inject(variables, context=self._spans(call).context, setter=_EnvironmentSetter())
        return variables

    def connected(self, call: ObservedCall) -> None:
        """See ``Observer``."""
        self._spans(call).end_part()

    def message_sent(self, call: ObservedCall, message: Any) -> None:
        """See ``Observer``."""
        if isinstance(message, EndSessionMessage):
            self._spans(call).begin(n.DRAIN_SPAN)

    def message_received(self, call: ObservedCall, message: Any) -> None:
        """See ``Observer``."""
        if isinstance(message, HeartbeatMessageInterface):
            self._spans(call).enter_phase(message.phase)
        elif isinstance(message, RawResult):
            self._calls[call.id].usages.append(Usage.of(message.fields.get("metadata")))
        elif isinstance(message, ErrorMessageInterface):
            self._note(call, n.ERROR_EVENT, n.ERROR_TEXT, message.error)
        elif isinstance(message, ArtifactUploadRequestMessageInterface):
            self._note(call, n.ARTIFACT_EVENT, n.ARTIFACT_PATH, message.filepath)

    def call_ended(self, call: ObservedCall, result: Optional[Any], error: Optional[BaseException]) -> None:
        """See ``Observer``."""
        spans, common, began, usages = self._calls.pop(call.id)
        seconds = time.monotonic() - began
        usage = sum(usages, error.usage if isinstance(error, AgentRuntimeError) else Usage())
        spans.span.set_attributes(a.of_usage(usage))
        if self._content:
            spans.span.set_attributes(a.content_of_result(result, call.request))
        failure = None if error is None else self._failure(call, error)
        spans.end(failure)
        self._meters.record(seconds, usage, common, failure, spans.context)

    def _spans(self, call: ObservedCall) -> CallSpans:
        return self._calls[call.id].spans

    def _note(self, call: ObservedCall, event: str, name: str, words: str) -> None:
        content = {name: a.redacted(words, call.request)} if self._content else {}
        self._spans(call).span.add_event(event, content)

    def _failure(self, call: ObservedCall, error: BaseException) -> Failure:
        words = a.redacted(str(error), call.request) if self._content else None
        return Failure(a.error_type(error), words)


def _rebuild(options: dict[str, Any]) -> OpenTelemetry:
    return OpenTelemetry(**options)


class _Call(NamedTuple):
    """A call under way: its spans, what its metrics are told apart by, when it began, and what it took.

    A call that asks again, for an answer that fits, has several results.
    """

    spans: CallSpans
    common: a.Attributes
    began: float
    usages: list[Usage]


class _Meters:
    """The metrics that the conventions ask a client for."""

    def __init__(self, meter: metrics.Meter) -> None:
        self._duration = meter.create_histogram(
            n.DURATION_METRIC,
            unit="s",
            description="GenAI operation duration.",
            explicit_bucket_boundaries_advisory=n.SECONDS,
        )
        self._tokens = meter.create_histogram(
            n.TOKEN_METRIC,
            unit="{token}",
            description="Number of input and output tokens used.",
            explicit_bucket_boundaries_advisory=n.TOKENS,
        )

    def record(
        self, seconds: float, usage: Usage, common: a.Attributes, failure: Optional[Failure], context: Context
    ) -> None:
        """Record one call."""
        how = {} if failure is None else {n.ERROR_TYPE: failure.type}
        self._duration.record(seconds, {**common, **how}, context)
        for kind, tokens in ((n.INPUT, a.input_tokens(usage)), (n.OUTPUT, usage.output_tokens)):
            if tokens is not None:
                self._tokens.record(tokens, {**common, n.TOKEN_TYPE: kind}, context)


class _EnvironmentSetter(Setter[dict[str, str]]):
    """Writes what a propagator says as environment variables: ``traceparent`` becomes ``TRACEPARENT``."""

    def set(self, carrier: dict[str, str], key: str, value: str) -> None:
        """Set a variable; called by the propagator."""
        carrier[re.sub(r"\W", "_", key.upper(), flags=re.ASCII)] = value
