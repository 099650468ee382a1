"""Views under ASGI, in uvicorn, and a browser that leaves."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable

import pytest

from runtimeuse_sync import AssistantMessageInterface
from runtimeuse_sync.testing import Reply, ScriptedRuntime, generation

from ..support import SESSIONS, is_within
from .support import Agent, environment, running
from .visitors import JSON, NOTICED, URLENCODED, seconds_to_cancel

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a program inherits its socket by POSIX means")

Start = Callable[..., ScriptedRuntime]

FASTAPI = "from fastapi_view import app"
DJANGO = """
import django_view
from django.core.asgi import get_asgi_application

app = get_asgi_application()
"""
# The middleware puts a task and a queue between a response and its server.
STARLETTE = """
import os

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import StreamingResponse
from starlette.routing import Route

from runtimeuse_sync import Client, InvocationMessage
from runtimeuse_sync.web import SSE_HEADERS, AsyncStream, sse

client = Client(os.environ["RUNTIME_URL"])


async def stream(request):
    question = InvocationMessage(system_prompt="Be brief.", user_prompt=(await request.json())["question"])
    return StreamingResponse(AsyncStream(sse(client.stream(question, tick=0.5))), headers=SSE_HEADERS)


async def dispatch(request, call_next):
    return await call_next(request)


app = Starlette(
    routes=[Route("/streams", stream, methods=["POST"])],
    middleware=[Middleware(BaseHTTPMiddleware, dispatch=dispatch)],
)
"""
APPS = {"fastapi": (FASTAPI, JSON), "django": (DJANGO, URLENCODED), "starlette": (STARLETTE, JSON)}

# A run that the garbage collector ended would be ended too late, and by chance.
NO_COLLECTOR = "import gc\n\ngc.disable()\n"


@contextmanager
def served(app: str, url: str, folder: Path) -> Iterator[int]:
    """The port where ``app`` listens. It is there before uvicorn is, so that nobody has to wait for that."""
    (folder / "project.py").write_text(NO_COLLECTOR + APPS[app][0], encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        descriptor = listener.fileno()
        options = {"cwd": folder, "env": environment(url), "pass_fds": [descriptor]}
        with running("uvicorn", "--fd", str(descriptor), "--log-level", "error", "project:app", **options):
            yield listener.getsockname()[1]


@pytest.mark.parametrize("app", ["fastapi", "django"])
def test_views(local_runtime: Callable[..., Any], tmp_path: Path, app: str) -> None:
    form = APPS[app][1]
    with served(app, local_runtime(Agent()).url, tmp_path) as port:
        browser = form.post(port, "/answers", b"hello")
        assert json.loads(browser.getresponse().read()) == {"answer": "hello"}
        browser.close()

        browser = form.post(port, "/streams", b"hello")
        told = browser.getresponse().read()
        browser.close()
        assert b"You said: hello" in told
        assert b'{"message_type":"end"}' in told


@pytest.mark.parametrize(("app", "said"), [("fastapi", {"detail": "no"}), ("django", {"error": "no"})])
def test_views_when_the_agent_fails(scripted_runtime: Start, tmp_path: Path, app: str, said: dict[str, str]) -> None:
    form, runtime = APPS[app][1], scripted_runtime(generation("0.15", Reply(error="no")))
    with served(app, runtime.url, tmp_path) as port:
        browser = form.post(port, "/answers", b"hello")
        response = browser.getresponse()
        assert (response.status, json.loads(response.read())) == (502, said)
        browser.close()

        browser = form.post(port, "/streams", b"hello")
        assert b'"error":"AgentRuntimeError","message":"no"' in browser.getresponse().read()
        browser.close()


@pytest.mark.parametrize("release", SESSIONS)
@pytest.mark.parametrize("app", APPS)
def test_a_browser_that_leaves_a_silent_agent_cancels_the_run(
    scripted_runtime: Start, tmp_path: Path, app: str, release: str
) -> None:
    runtime = scripted_runtime(generation(release, Reply(hangs=True)))
    with served(app, runtime.url, tmp_path) as port:
        assert is_within(NOTICED, lambda: seconds_to_cancel(runtime, port, APPS[app][1]))


@pytest.mark.parametrize("app", APPS)
def test_a_browser_that_never_reads_and_leaves_cancels_the_run(
    scripted_runtime: Start, tmp_path: Path, app: str
) -> None:
    """The server is cancelled while it sends, not while it waits for the run."""
    much = [AssistantMessageInterface(text_blocks=["x" * 50_000])] * 400
    runtime = scripted_runtime(generation("0.15", Reply(messages=much, hangs=True)))
    with served(app, runtime.url, tmp_path) as port:
        assert is_within(NOTICED, lambda: seconds_to_cancel(runtime, port, APPS[app][1], reads=False))
