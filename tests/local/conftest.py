"""A runtime to talk to, and a client so simple that it hides nothing of the wire."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Callable, Optional

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from runtimeuse_sync.local import LocalRuntime

LAST = ("result_message", "error_message", "command_execution_result_message")

ASK = "artifact_upload_request_message"

# Seconds: far more than anything here takes.
PATIENCE = 20

Message = dict[str, Any]


class Peer:
    """One connection, message by message."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        # Every message that was heard. Questions about artifacts come when they come, before or after a result.
        self.log: list[Message] = []
        self._answered = 0

    def say(self, message_type: str, **fields: Any) -> None:
        self.connection.send(json.dumps({"message_type": message_type, **fields}))

    def hear(self, timeout: float = PATIENCE) -> Message:
        self.log.append(json.loads(self.connection.recv(timeout=timeout)))
        return self.log[-1]

    def hear_until(self, *types: str) -> list[Message]:
        heard = [self.hear()]
        while heard[-1]["message_type"] not in types:
            heard.append(self.hear())
        return heard

    def start(self, *commands: Any, **fields: Any) -> None:
        """Send a command-only request."""
        texts = [{"command": c} if isinstance(c, str) else c for c in commands]
        self.say("command_execution_message", commands=texts, **{"secrets_to_redact": [], **fields})

    def execute(self, *commands: Any, **fields: Any) -> list[Message]:
        self.start(*commands, **fields)
        return self.hear_until(*LAST)

    def invoke(self, prompt: str = "", **fields: Any) -> list[Message]:
        self.say(
            "invocation_message", **{"system_prompt": "", "user_prompt": prompt, "secrets_to_redact": [], **fields}
        )
        return self.hear_until(*LAST)

    def is_served(self) -> bool:
        """Whether the connection still does its work."""
        return self.execute("exit 3")[-1]["results"][0]["exit_code"] == 3

    def hear_close(self) -> Optional[int]:
        """Read to the end; the close code that the server sent, None if it sent an empty frame or none."""
        try:
            while True:
                self.connection.recv(timeout=PATIENCE)
        except ConnectionClosed as closed:
            return None if closed.rcvd is None or closed.rcvd.code == 1005 else closed.rcvd.code

    def asked(self) -> Message:
        """The next question about an artifact, heard already or still to come."""
        while not (waiting := self.unanswered()):
            self.hear()
        self._answered += 1
        return waiting[0]

    def unanswered(self) -> list[Message]:
        return [m for m in self.log if m["message_type"] == ASK][self._answered :]

    def end(self, url: Callable[[str], str]) -> list[Message]:
        """End the session as a client does: answer every question until the confirmation; what came meanwhile."""
        self.say("end_session_message")
        before = len(self.log)
        while not any(m["message_type"] == "end_session_confirm_message" for m in self.log):
            if self.unanswered():
                request = self.asked()
                self.upload(request, url(request["filepath"]))
            else:
                self.hear()
        return self.log[before:-1]

    def upload(self, request: Message, url: str) -> None:
        answer = {name: request[name] for name in ("filename", "filepath")}
        self.say("artifact_upload_response_message", presigned_url=url, content_type="text/plain", **answer)


def echo(invocation: Any, sender: Any) -> str:
    return str(invocation.user_prompt)


@pytest.fixture
def start_runtime() -> Iterator[Callable[..., LocalRuntime]]:
    """Starts runtimes that close at the end of the test."""
    with ExitStack() as stack:

        def start(handler: Any = echo, **options: Any) -> LocalRuntime:
            return stack.enter_context(LocalRuntime(handler, **{"settle_seconds": 0.2, **options}))

        yield start


@contextmanager
def peer_of(runtime: LocalRuntime, **options: Any) -> Iterator[Peer]:
    with connect(runtime.url, compression=None, max_size=None, proxy=None, **options) as connection:
        yield Peer(connection)


@pytest.fixture
def start_peer(start_runtime: Callable[..., LocalRuntime]) -> Iterator[Callable[..., Peer]]:
    """Starts a runtime, and connects to it."""
    with ExitStack() as stack:

        def start(handler: Any = echo, **options: Any) -> Peer:
            return stack.enter_context(peer_of(start_runtime(handler, **options)))

        yield start


class FileServer(http.server.ThreadingHTTPServer):
    """Serves what ``files`` holds, and keeps what is PUT."""

    def __init__(self) -> None:
        self.files: dict[str, tuple[str, bytes]] = {}
        self.received: dict[str, bytes] = {}
        self.headers: list[dict[str, str]] = []
        # Statuses to answer the next PUTs with; 200 when there are no more.
        self.refusals: list[int] = []
        # Set when something has arrived.
        self.arrived = threading.Event()
        super().__init__(("127.0.0.1", 0), _FileHandler)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


class _FileHandler(http.server.BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self) -> None:
        found = self.server.files.get(self.path.partition("?")[0])
        if found is None:
            self.send_error(404)
            return
        content_type, body = found
        status = 302 if content_type == "redirect" else 200
        self.send_response(status)
        self.send_header(
            "Location" if status == 302 else "Content-Type", body.decode() if status == 302 else content_type
        )
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = self.server.refusals.pop(0) if self.server.refusals else 200
        if status == 200:
            self.server.received[self.path] = body
            self.server.arrived.set()
        self.server.headers.append(dict(self.headers))
        self.send_response(status)
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def file_server() -> Iterator[FileServer]:
    with FileServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
