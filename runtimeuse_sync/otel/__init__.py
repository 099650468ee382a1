"""Calls as OpenTelemetry traces and metrics: ``Client(url, observers=[OpenTelemetry()])``.

A call is a span of the GenAI semantic conventions, a child of the span that was current where the call was made. Below
it are ``connect``, a span for each phase that the runtime's heartbeats tell of, and ``drain``. What runs in the sandbox
gets the call's span by environment variables (``TRACEPARENT`` and what else the propagator writes), so that its own
spans are children of it.

Nothing that was said is in a span unless ``content=True`` asks for it. It needs the extra ``otel``, the API of
OpenTelemetry alone: what becomes of spans and metrics is up to the SDK that the program has set up.

===============  ===========================================================
``_telemetry``   ``OpenTelemetry``: the observer
``_spans``       the spans of one call
``_attributes``  what a request, a result and an error say as attributes
``_names``       every name that leaves this package
===============  ===========================================================
"""

try:
    import opentelemetry.trace as _trace  # noqa: F401
except ImportError as error:
    raise ImportError(
        'runtimeuse_sync.otel needs opentelemetry-api: pip install "runtimeuse-sync[otel]"', name="opentelemetry"
    ) from error

from ._telemetry import OpenTelemetry

__all__ = ["OpenTelemetry"]
