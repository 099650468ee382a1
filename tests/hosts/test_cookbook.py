"""The recipes of docs/cookbook.rst, in what they are for: stamina, Temporal's test environment, Streamlit's runner."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Callable

import pytest

from runtimeuse_sync import ConnectionLostError, InvocationMessage
from runtimeuse_sync.testing import Reply, ScriptedRuntime, generation

from ..support import load_program
from .support import EXAMPLES, PATIENCE, Agent

COOKBOOK = EXAMPLES / "cookbook"

Start = Callable[..., Any]


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], ModuleType]:
    """A recipe as a module, its client one for a URL."""
    return lambda name, url: load_program(COOKBOOK / f"{name}.py", url, monkeypatch)


def when_it_waits(agent: Agent, act: Callable[[], object]) -> threading.Thread:
    """Act on another thread, once the agent waits."""
    thread = threading.Thread(target=lambda: agent.is_waiting.wait(PATIENCE) and act())
    thread.start()
    return thread


# --- trying again -----------------------------------------------------------------------------------


@pytest.fixture
def stamina() -> Iterator[Any]:
    """Without pauses."""
    stamina = pytest.importorskip("stamina")
    stamina.set_testing(True, attempts=4)
    yield stamina
    stamina.set_testing(False)


@pytest.mark.usefixtures("stamina")
def test_stamina_tries_again_what_was_never_sent(scripted_runtime: Start, recipe: Callable[..., Any]) -> None:
    runtime: ScriptedRuntime = scripted_runtime([503, 503, generation("0.15", Reply(result="done"))])
    assert recipe("retry", runtime.url).ask("Hello") == "done"
    assert len(runtime.connections) == 3


@pytest.mark.usefixtures("stamina")
def test_stamina_does_not_try_again_what_was_sent(scripted_runtime: Start, recipe: Callable[..., Any]) -> None:
    runtime = scripted_runtime(lambda peer: peer.expect(InvocationMessage))
    with pytest.raises(ConnectionLostError):
        recipe("retry", runtime.url).ask("Hello")
    assert len(runtime.connections) == 1


def test_a_rate_limit_is_waited_out(
    scripted_runtime: Start, recipe: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECONDS_BETWEEN", "0.01")
    monkeypatch.setenv("SECONDS_HELD", "0.01")
    limited = [generation("0.15", Reply(error="Rate limit reached")) for _ in range(2)]
    runtime = scripted_runtime([*limited, generation("0.15", Reply(result="done"))])
    assert recipe("rate_limits", runtime.url).ask("Hello") == "done"
    assert len(runtime.connections) == 3


def test_threads_take_turns(recipe: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    module, slept = recipe("rate_limits", "ws://localhost"), []
    monkeypatch.setattr(module.time, "monotonic", lambda: 100.0)
    monkeypatch.setattr(module.time, "sleep", slept.append)
    pace = module.Pace(2)
    for _ in range(3):
        pace.wait()
    pace.hold(30)
    pace.wait()
    assert slept == [0, 2, 4, 30]


# --- Temporal ---------------------------------------------------------------------------------------


def test_a_temporal_activity_heartbeats(local_runtime: Start, recipe: Callable[..., Any]) -> None:
    testing = pytest.importorskip("temporalio.testing")
    beats: list[str] = []
    environment = testing.ActivityEnvironment()
    environment.on_heartbeat = beats.append
    module = recipe("temporal_activity", local_runtime(Agent(), heartbeat_interval=60).url)
    assert environment.run(module.ask, "Hello") == "Hello"
    assert beats == ["You said: Hello", ""]


def test_a_temporal_activity_that_is_cancelled_cancels_the_run(
    local_runtime: Start, recipe: Callable[..., Any]
) -> None:
    testing = pytest.importorskip("temporalio.testing")
    from temporalio.exceptions import CancelledError

    agent, environment = Agent(), testing.ActivityEnvironment()
    module = recipe("temporal_activity", local_runtime(agent).url)
    canceller = when_it_waits(agent, environment.cancel)
    with pytest.raises(CancelledError):
        environment.run(module.ask, "wait")
    canceller.join()
    assert agent.was_cancelled.wait(PATIENCE)


def test_a_temporal_activity_is_not_repeated_when_the_agent_may_have_worked(
    scripted_runtime: Start, recipe: Callable[..., Any]
) -> None:
    testing = pytest.importorskip("temporalio.testing")
    from temporalio.exceptions import ApplicationError

    module = recipe("temporal_activity", scripted_runtime(generation("0.15", Reply(error="no"))).url)
    with pytest.raises(ApplicationError, match="no") as caught:
        testing.ActivityEnvironment().run(module.ask, "Hello")
    assert (caught.value.type, caught.value.non_retryable) == ("AgentRuntimeError", True)


# --- Streamlit --------------------------------------------------------------------------------------


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """The page as a browser has it when it is opened."""
    testing = pytest.importorskip("streamlit.testing.v1")

    def page(url: str) -> Any:
        monkeypatch.setenv("RUNTIME_URL", url)
        return testing.AppTest.from_file(str(Path(COOKBOOK, "streamlit_app.py")), default_timeout=PATIENCE).run()

    return page


def test_a_streamlit_page(local_runtime: Start, page: Callable[[str], Any]) -> None:
    shown = page(local_runtime(Agent()).url)
    shown.chat_input[0].set_value("Hello").run()
    assert [text.value.strip() for text in shown.markdown] == ["Hello", "You said: Hello"]
    assert [text.value for text in shown.success] == ["done"]
    assert not shown.exception


def test_a_streamlit_page_tells_what_went_wrong(scripted_runtime: Start, page: Callable[[str], Any]) -> None:
    shown = page(scripted_runtime(generation("0.15", Reply(error="no"))).url)
    shown.chat_input[0].set_value("Hello").run()
    assert [text.value for text in shown.error] == ["AgentRuntimeError: no"]


def test_stop_on_a_streamlit_page_cancels_the_run_of_a_silent_agent(
    local_runtime: Start, page: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = Agent()
    shown = page(local_runtime(agent, heartbeat_interval=60).url)
    from streamlit.testing.v1 import app_test

    def runner(*args: Any, **options: Any) -> Any:
        made = runner.kind(*args, **options)
        stoppers.append(when_it_waits(agent, made.request_stop))
        return made

    stoppers: list[threading.Thread] = []
    runner.kind = app_test.LocalScriptRunner
    monkeypatch.setattr(app_test, "LocalScriptRunner", runner)
    shown.chat_input[0].set_value("wait").run()
    assert [stopper.join() for stopper in stoppers] == [None]
    assert agent.was_cancelled.wait(PATIENCE)
    assert not shown.success
