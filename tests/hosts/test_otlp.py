"""Spans and metrics on their way to a collector, over OTLP, from this process and from inside the sandbox."""

from __future__ import annotations

import http.server
import shlex
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Callable

import pytest

pytest.importorskip("opentelemetry.exporter.otlp.proto.http")

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from runtimeuse_sync import Client
from runtimeuse_sync.otel import OpenTelemetry

# What a program in the sandbox does that traces itself.
AGENT_PROGRAM = """
import os, sys
from opentelemetry import trace, propagate
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(sys.argv[1])))
caller = propagate.extract({"traceparent": os.environ["TRACEPARENT"]})
with provider.get_tracer("agent").start_as_current_span("a tool of the agent", context=caller):
    pass
provider.shutdown()
"""


class Collector(http.server.ThreadingHTTPServer):
    """Takes OTLP over HTTP, and keeps what it was sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[Any] = []  # appended by the server's threads

    def url(self, signal: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1/{signal}"

    @property
    def spans(self) -> dict[str, Any]:
        """By their names."""
        traces = [request for request in self.requests if isinstance(request, ExportTraceServiceRequest)]
        scopes = [scope for traced in traces for resource in traced.resource_spans for scope in resource.scope_spans]
        return {span.name: span for scope in scopes for span in scope.spans}

    @property
    def metrics(self) -> dict[str, Any]:
        """By their names."""
        exports = [request for request in self.requests if isinstance(request, ExportMetricsServiceRequest)]
        scopes = [
            scope for export in exports for resource in export.resource_metrics for scope in resource.scope_metrics
        ]
        return {metric.name: metric for scope in scopes for metric in scope.metrics}


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        kind = {"/v1/traces": ExportTraceServiceRequest, "/v1/metrics": ExportMetricsServiceRequest}[self.path]
        self.server.requests.append(kind.FromString(body))
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def collecting() -> Iterator[Collector]:
    with Collector() as collector:
        thread = threading.Thread(target=collector.serve_forever)
        thread.start()
        try:
            yield collector
        finally:
            collector.shutdown()
            thread.join()


def test_a_collector_gets_one_trace_of_caller_call_and_sandbox(local_runtime: Callable[..., Any]) -> None:
    runtime = local_runtime(lambda *_: "done")
    with collecting() as collector:
        tracers = TracerProvider()
        tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(collector.url("traces"))))
        meters = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter(collector.url("metrics")))])
        observer = OpenTelemetry(tracer_provider=tracers, meter_provider=meters)
        with tracers.get_tracer("program").start_as_current_span("the view"):
            program = shlex.join([sys.executable, "-c", AGENT_PROGRAM, collector.url("traces")])
            Client(runtime.url, observers=[observer]).execute_commands([program], check=True)
        tracers.shutdown()
        meters.shutdown()
    view, call, tool = (collector.spans[name] for name in ("the view", "execute_commands", "a tool of the agent"))
    assert call.parent_span_id == view.span_id
    assert tool.parent_span_id == call.span_id
    assert len({span.trace_id for span in (view, call, tool)}) == 1
    (point,) = collector.metrics["gen_ai.client.operation.duration"].histogram.data_points
    assert point.count == 1
