"""What several test files say to a runtime, and hear from it."""

from __future__ import annotations

import contextlib
import importlib.util
import socket
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Callable

import pytest

from runtimeuse_sync import InvocationMessage

ALL = ["0.4", "0.9", "0.12", "0.15"]
ONE_REQUEST = ["0.4", "0.9"]
SESSIONS = ["0.12", "0.15"]


def invocation(**fields: Any) -> InvocationMessage:
    return InvocationMessage(**{"system_prompt": "Be brief.", "user_prompt": "Hello", **fields})


def text_result(text: str) -> dict[str, Any]:
    return {"message_type": "result_message", "data": {"type": "text", "text": text}}


def wait_until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """For what another thread does in its own time, and no event tells of."""
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "it did not come about"
        time.sleep(0.005)


def usual(measure: Callable[[], float]) -> float:
    """Seconds that it takes, but for when the machine happens to stand still."""
    return statistics.median(measure() for _ in range(5))


def is_within(limit: float, measure: Callable[[], float]) -> bool:
    """Whether it takes less than ``limit`` seconds: for what takes long, and is measured again only if it seems not."""
    return any(measure() < limit for _ in range(3))


@contextlib.contextmanager
def port_without_listener() -> Iterator[int]:
    """One that refuses connections: it is taken, so that no other process comes to listen there meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def load_program(path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A program of the examples as a module, its client one for ``url``."""
    monkeypatch.setenv("RUNTIME_URL", url)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, path.stem, module)
    spec.loader.exec_module(module)
    return module
