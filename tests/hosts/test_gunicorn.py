"""The examples' views in gunicorn, and a browser that leaves."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Callable

import pytest

from .support import PATIENCE, Agent, environment, running

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="gunicorn needs POSIX")

DJANGO = """
import django_view
from django.core.wsgi import get_wsgi_application

app = get_wsgi_application()
"""

APPS = {
    "flask_view": (b'{"question": "%s"}', "application/json"),
    "django_project": (b"question=%s", "application/x-www-form-urlencoded"),
}


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
    agent = Agent()
    form, content_type = APPS[app]
    with served(app, local_runtime(agent, heartbeat_interval=0.1).url, tmp_path, worker) as port:

        def post(path: str, question: bytes) -> HTTPConnection:
            browser = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
            browser.request("POST", path, form % question, {"Content-Type": content_type})
            return browser

        browser = post("/answers", b"hello")
        assert browser.getresponse().read().strip().replace(b" ", b"") == b'{"answer":"hello"}'
        browser.close()

        browser = post("/streams", b"wait")
        stream = browser.getresponse()
        while b"You said: wait" not in stream.readline():
            pass
        stream.close()
        browser.close()
        # A server notices at the next heartbeat, which it cannot pass on.
        assert agent.was_cancelled.wait(PATIENCE)
