"""Results on their way out of a Celery task, a Flask view and a FastAPI endpoint, in servers of their own."""

from __future__ import annotations

import json
import pickle
import socket
import subprocess
import sys
import textwrap
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Callable

import pytest

from runtimeuse_sync import Client, CommandExecutionResult, InvocationMessage, QueryResult, ResultMessageInterface
from runtimeuse_sync.local import Sender

from . import answers
from .support import PATIENCE, environment, running

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs fork, and programs that inherit sockets")

CLASSES: list[Any] = [QueryResult, QueryResult, ResultMessageInterface, CommandExecutionResult]

CELERY = """
    import os

    from answers import results
    from celery import Celery
    from runtimeuse_sync import Client

    app = Celery("project", broker="filesystem://", backend="file://results")
    app.conf.broker_transport_options = {
        "data_folder_in": "messages", "data_folder_out": "messages", "control_folder": "control"
    }
    app.conf.result_serializer = os.environ["SERIALIZER"]
    app.conf.result_accept_content = [app.conf.result_serializer]

    @app.task
    def ask():
        return results(Client(os.environ["RUNTIME_URL"]))
"""

ASK = """
    import pickle, sys
    from project import ask

    sys.stdout.buffer.write(pickle.dumps(ask.delay().get(PATIENCE)))
"""

FLASK = """
    import os

    import flask
    from answers import results
    from runtimeuse_sync import Client

    app = flask.Flask(__name__)

    @app.get("/")
    def ask():
        return [result.to_dict() for result in results(Client(os.environ["RUNTIME_URL"]))]
"""

FASTAPI = """
    import os

    import fastapi
    from answers import results
    from runtimeuse_sync import Client

    app = fastapi.FastAPI()

    @app.get("/")
    def ask():
        return [result.to_dict() for result in results(Client(os.environ["RUNTIME_URL"]))]
"""


def agent(invocation: InvocationMessage, sender: Sender) -> Any:
    entries = [{"key": "files", "value": 3}]
    return {"entries": entries} if invocation.output_format_json_schema_str else f"„{invocation.user_prompt}“"


@pytest.fixture
def url(local_runtime: Callable[..., Any]) -> str:
    return str(local_runtime(agent).url)


@pytest.fixture
def expected(url: str) -> list[Any]:
    return answers.results(Client(url))


def write(folder: Path, project: str) -> None:
    (folder / "project.py").write_text(textwrap.dedent(project), encoding="utf-8")
    (folder / "answers.py").write_text(Path(answers.__file__).read_text(encoding="utf-8"), encoding="utf-8")


@pytest.mark.parametrize("serializer", ["pickle", "json"])
def test_out_of_a_celery_task(url: str, expected: list[Any], tmp_path: Path, serializer: str) -> None:
    pytest.importorskip("celery")
    write(tmp_path, CELERY)
    for folder in ("messages", "control", "results"):
        (tmp_path / folder).mkdir()
    options: dict[str, Any] = {"cwd": tmp_path, "env": environment(url, SERIALIZER=serializer)}
    with running("celery", "-A", "project", "worker", "--concurrency", "1", "--loglevel", "ERROR", **options):
        ask = textwrap.dedent(ASK).replace("PATIENCE", str(PATIENCE))
        asked = subprocess.run(
            [sys.executable, "-c", ask], stdout=subprocess.PIPE, timeout=PATIENCE, check=True, **options
        )
    returned = pickle.loads(asked.stdout)
    if serializer == "json":
        # kombu asks a result for its __json__.
        returned = [cls.from_dict(fields) for cls, fields in zip(CLASSES, returned)]
    else:
        assert returned[0].output == {"files": 3}
    assert returned == expected


@pytest.mark.parametrize(("project", "server"), [(FLASK, "gunicorn"), (FASTAPI, "uvicorn")], ids=["flask", "fastapi"])
def test_out_of_a_view(url: str, expected: list[Any], tmp_path: Path, project: str, server: str) -> None:
    pytest.importorskip(server)
    write(tmp_path, project)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        descriptor, port = listener.fileno(), listener.getsockname()[1]
        where = ("--fd", str(descriptor)) if server == "uvicorn" else ("--bind", f"fd://{descriptor}")
        options = {"cwd": tmp_path, "env": environment(url), "pass_fds": [descriptor]}
        with running(server, *where, "--log-level", "error", "project:app", **options):
            browser = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
            browser.request("GET", "/")
            returned = json.loads(browser.getresponse().read())
            browser.close()
    assert [cls.from_dict(fields) for cls, fields in zip(CLASSES, returned)] == expected
