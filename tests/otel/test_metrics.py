"""The metrics of calls, and the names of the conventions."""

from __future__ import annotations

from types import ModuleType
from typing import Callable

import pytest

from runtimeuse_sync import AgentRuntimeError, Client
from runtimeuse_sync.otel import _names
from runtimeuse_sync.testing import Reply, ScriptedRuntime, generation

from .conftest import Telemetry

Start = Callable[..., ScriptedRuntime]

DURATION = "gen_ai.client.operation.duration"
TOKENS = "gen_ai.client.token.usage"

PUBLISHED = (
    "_incubating.attributes.gen_ai_attributes",
    "_incubating.metrics.gen_ai_metrics",
    "attributes.error_attributes",
    "attributes.server_attributes",
)


def constants(module: ModuleType) -> set[str]:
    return {value for name, value in vars(module).items() if name.isupper() and isinstance(value, str)}


def test_duration_and_tokens(scripted_runtime: Start, telemetry: Telemetry) -> None:
    openai = {"usage": {"inputTokens": 100, "outputTokens": 7, "totalTokens": 107}}
    runtime = scripted_runtime(generation("0.15", Reply(metadata=openai)))
    client = Client(runtime.url, observers=[telemetry.observer(provider="openai")])
    client.query("Hello", model="small")
    common = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "small",
        "server.address": "127.0.0.1",
        "server.port": int(runtime.url.rpartition(":")[2]),
    }
    points = {point.attributes["gen_ai.token.type"]: point for point in telemetry.points(TOKENS)}
    assert {kind: point.sum for kind, point in points.items()} == {"input": 100, "output": 7}
    assert dict(points["input"].attributes) == {**common, "gen_ai.token.type": "input"}
    assert points["input"].explicit_bounds == _names.TOKENS

    client.query("Hello", model="small")
    (point,) = telemetry.points(DURATION)
    assert dict(point.attributes) == common
    assert point.count == 2
    assert 0 < point.sum < 60
    assert point.explicit_bounds == _names.SECONDS


def test_what_is_not_told_is_not_counted(scripted_runtime: Start, telemetry: Telemetry) -> None:
    client = Client(scripted_runtime(generation("0.15")).url, observers=[telemetry.observer()])
    client.query("Hello")
    assert telemetry.points(TOKENS) == []


def test_failures_and_commands_are_told_apart(scripted_runtime: Start, telemetry: Telemetry) -> None:
    script = [generation("0.15", Reply(error="no")), generation("0.15")]
    client = Client(scripted_runtime(script).url, observers=[telemetry.observer()])
    with pytest.raises(AgentRuntimeError):
        client.query("Hello")
    client.execute_commands(["true"])
    points = telemetry.points(DURATION)
    assert {(p.attributes["gen_ai.operation.name"], p.attributes.get("error.type")) for p in points} == {
        ("invoke_agent", "AgentRuntimeError"),
        ("execute_commands", None),
    }


def test_the_names_are_those_of_the_published_conventions() -> None:
    # The package marks them as moved: they may be gone from it one day.
    modules = [pytest.importorskip(f"opentelemetry.semconv.{name}") for name in PUBLISHED]
    known = {value for module in modules for value in constants(module)}
    assert {name for name in constants(_names) if name.startswith(("gen_ai.", "error.", "server."))} <= known
