"""The application in gunicorn, and an agent that does what the test says."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import socket
import stat
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

from runtimeuse_sync import InvocationMessage

from .way import Way

APPLICATION = Path(__file__).parents[2] / "examples" / "web_app"

# Seconds that anything may take on a busy machine.
PATIENCE = 30


class Agent:
    """Does, in its runs, what the test says, one after the other."""

    def __init__(self) -> None:
        self._deeds: queue.Queue[Callable[[InvocationMessage, Any], Any]] = queue.Queue()
        self.cancelled = threading.Event()

    def __call__(self, invocation: InvocationMessage, sender: Any) -> str:
        while True:
            answer = self._next(sender)(invocation, sender)
            if answer is not None:
                return str(answer)

    def _next(self, sender: Any) -> Callable[[InvocationMessage, Any], Any]:
        while not sender.cancelled.is_set():
            with contextlib.suppress(queue.Empty):
                return self._deeds.get(timeout=0.05)
        self.cancelled.set()
        return lambda invocation, sender: "nobody hears it"

    def say(self, *words: str) -> None:
        self._deeds.put(lambda invocation, sender: sender.assistant(*words))

    def leave(self, name: str, text: str) -> None:
        """Leave a file where the system prompt says."""

        def leave(invocation: InvocationMessage, sender: Any) -> None:
            assert invocation.artifacts_dirs
            Path(invocation.artifacts_dirs[0], name).write_text(text, encoding="utf-8")

        self._deeds.put(leave)

    def answer(self, text: str) -> None:
        self._deeds.put(lambda invocation, sender: text)

    def fail(self, words: str) -> None:
        def fail(invocation: InvocationMessage, sender: Any) -> None:
            raise RuntimeError(words)

        self._deeds.put(fail)


class Stage:
    """What the runtime runs: the agent of the test that is under way."""

    def __init__(self) -> None:
        self.agent = Agent()

    def __call__(self, invocation: InvocationMessage, sender: Any) -> str:
        return self.agent(invocation, sender)


class Server:
    """The application in gunicorn, with two workers. What each run has is in ``folder``."""

    def __init__(self, listener: socket.socket, folder: Path, runtime_url: str, app_url: str) -> None:
        self.folder = folder
        self._url = app_url
        bind = f"fd://{listener.fileno()}"
        self._program = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "--bind", bind, "--log-level", "error", "app:app"],
            cwd=APPLICATION,
            env={
                **os.environ,
                "RUNTIME_URL": runtime_url,
                "RUNS_DIR": str(folder),
                "APP_URL": app_url,
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            pass_fds=[listener.fileno()],
        )

    def worker_of(self, run_id: str) -> int:
        """The process that runs it: that which writes its journal."""
        journal = self.folder / run_id / "journal.jsonl"
        children = Path(f"/proc/{self._program.pid}/task/{self._program.pid}/children").read_text(encoding="ascii")
        for pid in map(int, children.split()):
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(FileNotFoundError):
                    if descriptor.readlink() == journal and os.lstat(descriptor).st_mode & stat.S_IWUSR:
                        return pid
        raise AssertionError("nobody runs it")

    def events(self, run_id: str) -> Iterator[bytes]:
        """The stream that the page of the run gets."""
        with urllib.request.urlopen(f"{self._url}runs/{run_id}/events", timeout=PATIENCE) as response:
            yield from response

    def kill_worker_of(self, run_id: str) -> None:
        os.kill(self.worker_of(run_id), signal.SIGKILL)

    def close(self) -> None:
        self._program.terminate()
        try:
            self._program.wait(PATIENCE)
        finally:
            self._program.kill()
            self._program.wait()


@contextlib.contextmanager
def served(folder: Path, runtime_url: str) -> Iterator[tuple[Server, Way]]:
    """The application, and the way to it. It can be asked at once: what listens is there before gunicorn is."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener, contextlib.ExitStack() as stack:
        address = listener.getsockname()
        server = Server(listener, folder, runtime_url, f"http://127.0.0.1:{address[1]}/")
        stack.callback(server.close)
        way = Way(address)
        stack.callback(way.close)
        yield server, way
