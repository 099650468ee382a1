"""The examples' views under WSGI, in gunicorn, and a browser that leaves."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable

import pytest

from runtimeuse_sync.testing import Reply, ScriptedRuntime, generation

from ..support import SESSIONS, is_within
from .support import PATIENCE, Agent, environment, running
from .visitors import JSON, NOTICED, URLENCODED, seconds_to_cancel

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="gunicorn needs POSIX")

DJANGO = """
import django_view
from django.core.wsgi import get_wsgi_application

app = get_wsgi_application()
"""

APPS = {"flask_view": JSON, "django_project": URLENCODED}


@contextmanager
def served(app: str, url: str, folder: Path, worker: str) -> Iterator[int]:
    """The port where ``app`` listens. It is there before gunicorn is, so that nobody has to wait for that."""
    (folder / "django_project.py").write_text(DJANGO, encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        bind = f"fd://{listener.fileno()}"
        options = {"cwd": folder, "env": environment(url), "pass_fds": [listener.fileno()]}
        with running(
            "gunicorn", "--bind", bind, "--worker-class", worker, "--log-level", "error", f"{app}:app", **options
        ):
            yield listener.getsockname()[1]


@pytest.mark.parametrize("worker", ["sync", "gthread"])
@pytest.mark.parametrize("app", APPS)
def test_views(local_runtime: Callable[..., Any], tmp_path: Path, app: str, worker: str) -> None:
    agent, form = Agent(), APPS[app]
    with served(app, local_runtime(agent, heartbeat_interval=0.1).url, tmp_path, worker) as port:
        browser = form.post(port, "/answers", b"hello")
        assert browser.getresponse().read().strip().replace(b" ", b"") == b'{"answer":"hello"}'
        browser.close()

        browser = form.post(port, "/streams", b"wait")
        stream = browser.getresponse()
        while b"You said: wait" not in stream.readline():
            pass
        stream.close()
        browser.close()
        assert agent.was_cancelled.wait(PATIENCE)


@pytest.mark.parametrize("release", SESSIONS)
@pytest.mark.parametrize("worker", ["sync", "gthread"])
@pytest.mark.parametrize("app", APPS)
def test_a_browser_that_leaves_a_silent_agent_cancels_the_run(
    scripted_runtime: Callable[..., ScriptedRuntime], tmp_path: Path, app: str, worker: str, release: str
) -> None:
    runtime = scripted_runtime(generation(release, Reply(hangs=True)))
    with served(app, runtime.url, tmp_path, worker) as port:
        assert is_within(NOTICED, lambda: seconds_to_cancel(runtime, port, APPS[app]))
