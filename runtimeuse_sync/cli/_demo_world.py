"""The environment of the demo, on this machine: a file server, a workspace, an agent."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from attrs import frozen

from ..messages import InvocationMessage

if TYPE_CHECKING:
    from ..local import ArtifactReceiver, LocalRuntime, Sender

LIST_NAME = "shopping.txt"
LIST = "tea\nbread\napples\nolive oil\n"
SORTED = sorted(LIST.split("\n")[:-1])
REPORT_NAME = "report.json"
MESSAGES = [
    f"Reading {LIST_NAME}.",
    "It has 4 items, and the longest is olive oil.",
    "The key of the shop is [REDACTED].",
]
ANSWER = {"items": 4, "longest": "olive oil"}
SCHEMA = {
    "type": "object",
    "properties": {"items": {"type": "integer"}, "longest": {"type": "string"}},
    "required": ["items", "longest"],
}
KEY_VARIABLE = "SHOP_KEY"
KEY = "correct-horse-battery"

# Seconds between two messages of the agent, so that a reader can follow.
_PACE = 0.5

# Seconds that the file server's thread has to end.
_PATIENCE = 2.0


@frozen
class World:
    """The running parts of the demo's environment.

    Attributes:
        list_url (str): what to download.
        workspace (Path): where the agent works.
        out (Path): where its artifacts are.
        runtime (LocalRuntime): hosts the agent.
        receiver (ArtifactReceiver): saves the artifacts.
    """

    list_url: str
    workspace: Path
    out: Path
    runtime: LocalRuntime
    receiver: ArtifactReceiver


@contextmanager
def world() -> Iterator[World]:
    """Everything that the demo needs, running, and gone at the end."""
    from ..local import ArtifactReceiver, LocalRuntime

    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="runtimeuse-sync-demo-"))).resolve()
        workspace, out = folder / "workspace", folder / "workspace" / "out"
        out.mkdir(parents=True)
        yield World(
            list_url=stack.enter_context(_file_server()),
            workspace=workspace,
            out=out,
            runtime=stack.enter_context(
                LocalRuntime(_Agent(workspace, out), settle_seconds=0.2, heartbeat_interval=0.5)
            ),
            receiver=stack.enter_context(ArtifactReceiver(folder / "received", roots=[str(out)])),
        )


@frozen
class _Agent:
    """Reads a list, tells of it, and writes a report."""

    workspace: Path
    out: Path

    def __call__(self, invocation: InvocationMessage, sender: Sender) -> dict[str, Any]:
        items = (self.workspace / LIST_NAME).read_text(encoding="utf-8").splitlines()
        answer = {"items": len(items), "longest": max(items, key=len)}
        key = (invocation.agent_env or {})[KEY_VARIABLE]
        for text in (
            f"Reading {LIST_NAME}.",
            f"It has {answer['items']} items, and the longest is {answer['longest']}.",
            f"The key of the shop is {key}.",
        ):
            sender.assistant(text)
            sender.cancelled.wait(_PACE)
        (self.out / REPORT_NAME).write_text(json.dumps(answer), encoding="utf-8")
        return answer


@contextmanager
def _file_server() -> Iterator[str]:
    """Serves the list on a loopback port; yields its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _ListHandler)
    ended = threading.Event()
    thread = threading.Thread(target=_serve, args=(server, ended), name="runtimeuse-demo-files", daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/{LIST_NAME}"
    finally:
        ended.set()
        # A last connection wakes the thread. Its serve_forever() would look for the end many times a second.
        socket.create_connection(server.server_address, _PATIENCE).close()  # type: ignore[arg-type]
        thread.join(_PATIENCE)
        server.server_close()


def _serve(server: ThreadingHTTPServer, ended: threading.Event) -> None:
    while not ended.is_set():
        server.handle_request()


class _ListHandler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = LIST.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Do nothing: the demo itself shows the request."""
