"""The programs in examples/. Those of web frameworks are tried where the framework is installed: ``tox -e docs``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Any, Callable

import pytest

from runtimeuse_sync import AssistantMessageInterface, CancelMessage, InvocationMessage
from runtimeuse_sync.testing import Reply, ScriptedRuntime, generation

from ..support import load_program

EXAMPLES = Path(__file__).parents[2] / "examples"
TRIED = {
    "script",
    "many_prompts",
    "many_processes",
    "artifacts",
    "notebook",
    "flask_view",
    "django_view",
    "fastapi_view",  # in tests/hosts
    "celery_task",
    "dask_prompts",  # in tests/hosts
}

Start = Callable[..., ScriptedRuntime]


def test_every_example_is_tried_and_listed() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == TRIED
    listed = (EXAMPLES / "README.rst").read_text(encoding="utf-8")
    assert [name for name in TRIED if f"``{name}.py``" not in listed] == []


def test_every_example_of_a_sandbox_is_shown() -> None:
    page = (EXAMPLES.parent / "docs" / "sandboxes.rst").read_text(encoding="utf-8")
    programs = sorted((EXAMPLES / "sandboxes").glob("*.py"))
    assert len(programs) == 6
    assert [path.name for path in programs if f"literalinclude:: ../examples/sandboxes/{path.name}\n" not in page] == []


# --- programs ---------------------------------------------------------------------------------------


def start(name: str, url: str, *args: str, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py"), *args],
        env={**os.environ, "RUNTIME_URL": url},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def run(name: str, url: str, *args: str, stdin: str = "") -> tuple[int, str, str]:
    with start(name, url, *args) as program:
        out, err = program.communicate(stdin, timeout=30)
    return program.returncode, out, err


def test_script(url: str) -> None:
    assert run("script", url, "Hello", "there") == (0, "Hello there\n", "You said: Hello there\n")


def test_script_when_the_agent_fails(scripted_runtime: Start) -> None:
    runtime = scripted_runtime([generation("0.15"), generation("0.15", Reply(error="rate limited"))])
    assert run("script", runtime.url, "Hello") == (1, "", "AgentRuntimeError: rate limited\n")


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_script_and_ctrl_c(scripted_runtime: Start) -> None:
    runtime = scripted_runtime(generation("0.15", Reply(hangs=True)))
    with start("script", runtime.url, "Hello") as program:
        runtime.wait_for(InvocationMessage, timeout=20)
        program.send_signal(signal.SIGINT)
        assert (program.wait(30), *program.communicate()) == (130, "", "")
    runtime.wait_for(CancelMessage)


@pytest.mark.parametrize("name", ["many_prompts", "many_processes"])
def test_many_prompts(url: str, name: str) -> None:
    prompts = [f"prompt {number}" for number in range(20)]
    code, out, err = run(name, url, stdin="\n".join(prompts))
    assert (code, err) == (0, "")
    assert out.splitlines() == [f"{prompt}: {prompt}" for prompt in prompts]


def test_artifacts(url: str, tmp_path: Path) -> None:
    expected = "Wrote report.txt.\nreport.txt: Three short words\nwords.txt: 3\n"
    assert run("artifacts", url, str(tmp_path)) == (0, expected, "")
    assert (tmp_path / "report.txt").read_text() == "Three short words"


def test_notebook(url: str) -> None:
    expected = "You said: And now?\nAnd now?\n"  # without a notebook, no values are shown
    assert run("notebook", url) == (0, expected, "")


# --- views and tasks --------------------------------------------------------------------------------


def load(name: str, url: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The example as a module, its client one for ``url``."""
    return load_program(EXAMPLES / f"{name}.py", url, monkeypatch)


def message_types(lines: str) -> list[str]:
    """Of what was streamed, as events or as lines."""
    return [json.loads(line[line.index("{") :])["message_type"] for line in lines.splitlines() if "{" in line]


def leave_after_the_first(response: Any) -> None:
    """What a server does when the browser has left: it closes the response."""
    next(iter(response))
    response.close()


HANGS = Reply(messages=[AssistantMessageInterface(text_blocks=["one"])], hangs=True)
STREAMED = ["assistant_message", "result_message", "end"]


def test_flask_view(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("flask")
    browser = load("flask_view", url, monkeypatch).app.test_client()
    assert browser.post("/answers", json={"question": "Why?"}).get_json() == {"answer": "Why?"}
    response = browser.post("/streams", json={"question": "Why?"})
    assert response.mimetype == "text/event-stream"
    assert [kind for kind in message_types(response.get_data(as_text=True)) if "heartbeat" not in kind] == STREAMED


def test_flask_view_when_things_go_wrong(scripted_runtime: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("flask")
    runtime = scripted_runtime(generation("0.15", Reply(error="no"), Reply(error="no"), HANGS))
    browser = load("flask_view", runtime.url, monkeypatch).app.test_client()
    response = browser.post("/answers", json={"question": "Why?"})
    assert (response.status_code, response.get_json()) == (502, {"error": "no"})
    failed = browser.post("/streams", json={"question": "Why?"}).get_data(as_text=True)
    assert message_types(failed) == ["error", "end"]
    leave_after_the_first(browser.post("/streams", json={"question": "Why?"}).response)
    runtime.wait_for(CancelMessage)


def test_django_view(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("django")
    load("django_view", url, monkeypatch)
    from django.test import Client as Browser

    assert Browser().post("/answers", {"question": "Why?"}).json() == {"answer": "Why?"}
    response = Browser().post("/streams", {"question": "Why?"})
    streamed = b"".join(response.streaming_content).decode()
    assert response.headers["Content-Type"] == "application/x-ndjson"
    assert [kind for kind in message_types(streamed) if "heartbeat" not in kind] == STREAMED


def test_django_view_when_the_browser_leaves(scripted_runtime: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("django")
    runtime = scripted_runtime(generation("0.15", HANGS))
    module = load("django_view", runtime.url, monkeypatch)
    from django.test import RequestFactory

    # Without the URLs, which Django keeps from the module that another test has loaded.
    leave_after_the_first(module.stream(RequestFactory().post("/streams", {"question": "Why?"})))
    runtime.wait_for(CancelMessage)


# In a process of its own: Celery opens what it never closes.
ASK = """
    import sys
    from celery_task import ask

    ask.retry_backoff = False
    done = ask.apply(["Why?"])
    print(done.state, done.result if done.successful() else type(done.result).__name__)
"""


def ask_celery(url: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(ASK)],
        env={**os.environ, "RUNTIME_URL": url, "PYTHONPATH": str(EXAMPLES)},
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    return done.stdout.strip()


def test_celery_task(url: str) -> None:
    pytest.importorskip("celery")
    assert ask_celery(url) == "SUCCESS {'answer': 'Why?'}"


def test_celery_task_tries_again_what_was_never_sent(scripted_runtime: Start) -> None:
    pytest.importorskip("celery")
    runtime = scripted_runtime([*[503] * 3, generation("0.15", Reply(result="done"))])
    assert ask_celery(runtime.url) == "SUCCESS {'answer': 'done'}"
    assert len(runtime.connections) == 4


def test_celery_task_does_not_try_again_what_was_sent(scripted_runtime: Start) -> None:
    pytest.importorskip("celery")
    runtime = scripted_runtime(lambda peer: peer.expect(InvocationMessage))
    assert ask_celery(runtime.url) == "FAILURE ConnectionLostError"
    assert len(runtime.connections) == 1
