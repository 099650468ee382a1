"""What the whole suite shares: the guard against leaks, tests that run alone, the names of docstring examples."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from importlib.util import find_spec
from typing import IO, Any, Optional, Union

import pytest
import pytest_timeout
from hypothesis import HealthCheck, settings

try:
    import fcntl
except ImportError:  # Windows: there is company there.
    fcntl = None  # type: ignore[assignment]

pytest_plugins = ["pytester"]

# A busy machine is no fault of the code: what must be quick has a test that says how quick. Each interpreter of tox
# draws examples of its own, so that all of them together try more than one does by default.
settings.register_profile("suite", max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

# A shell ignores it for what it starts in the background, and the processes that tests start would ignore it too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# What is collected only where its dependency is installed: suites with a tox environment of their own,
# and the modules behind an extra.
NEEDS = {
    "runtimeuse_sync/cli": "rich",
    "runtimeuse_sync/local": "websockets",
    "runtimeuse_sync/otel": "opentelemetry.trace",
    "runtimeuse_sync/outputs": "msgspec",
    "runtimeuse_sync/testing": "websockets",
    "tests/browser": "selenium",
    "tests/conformance": "kosoku",
    "tests/docs": "sphinx",
    "tests/gevent": "gevent",
    "tests/hosts": "gunicorn",
    "tests/interop": "runtimeuse_client",
    "tests/otel": "opentelemetry.sdk.trace",
    "tests/outputs": "msgspec",
    "tests/packaging": "build",
    "tests/sandboxes/test_providers.py": "e2b",
}


def is_installed(module: str) -> bool:
    """Whether it is a module indeed: a mere folder of that name, such as pip's ``build``, is none."""
    try:
        spec = find_spec(module)
    except ModuleNotFoundError:  # what it is a part of is missing
        return False
    return spec is not None and spec.origin is not None


collect_ignore = [path for path, module in NEEDS.items() if not is_installed(module)]

# --- nothing is left behind --------------------------------------------------------------------------

DESCRIPTORS = "/proc/self/fd"

# Seconds that a peer's thread may need to notice that its connection is closed, on a machine that is busy.
GRACE = 10.0

Resource = Union[threading.Thread, tuple[int, str]]


def _resources() -> set[Resource]:
    """The threads that live, and the descriptors that are open, each with what it points to."""
    found: set[Resource] = set(threading.enumerate())
    for name in os.listdir(DESCRIPTORS) if os.path.isdir(DESCRIPTORS) else ():
        # The descriptor of this very listing is gone by now.
        with contextlib.suppress(FileNotFoundError):
            found.add((int(name), os.readlink(f"{DESCRIPTORS}/{name}")))
    return found


def _left_since(before: set[Resource]) -> set[Resource]:
    give_up = time.monotonic() + GRACE
    while left := _resources() - before:
        if time.monotonic() > give_up:
            break
        time.sleep(0.005)
    return left


def _describe(resource: Resource) -> str:
    if isinstance(resource, threading.Thread):
        return f"thread {resource.name!r}"
    descriptor, target = resource
    ends = _ends(descriptor) if target.startswith("socket:") else ""
    return f"descriptor {descriptor} ({target}{ends})"


def _ends(descriptor: int) -> str:
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as end:
        return f" from {end.getsockname()} to {end.getpeername()}"
    return ""


@pytest.fixture(autouse=True)
def no_leaks(company: None, examples: None) -> Iterator[None]:
    """Fail a test that leaves a thread or a descriptor behind. Being the first fixture, it is torn down last."""
    before = _resources()
    yield
    if left := _left_since(before):
        pytest.fail("left behind: " + ", ".join(sorted(map(_describe, left))), pytrace=False)


# --- alone or in company ------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def door_and_room(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Optional[tuple[IO[bytes], IO[bytes]]]]:
    """Two files that the workers of pytest-xdist lock; None where there is one process."""
    if fcntl is None or not hasattr(request.config, "workerinput"):
        yield None
        return
    shared = tmp_path_factory.getbasetemp().parent
    with open(shared / "door", "wb") as door, open(shared / "room", "wb") as room:
        yield door, room


@pytest.fixture
def company(request: pytest.FixtureRequest, door_and_room: Optional[tuple[IO[bytes], IO[bytes]]]) -> Iterator[None]:
    """See to it that no other worker runs a test beside one that is marked ``alone``."""
    if door_and_room is None:
        yield
        return
    door, room = door_and_room
    item = request.node
    item.ihook.pytest_timeout_cancel_timer(item=item)  # Its time begins with its turn: others may take minutes.
    fcntl.flock(door, fcntl.LOCK_EX)  # Or those who can share the room would go on keeping out who cannot.
    try:
        fcntl.flock(room, fcntl.LOCK_EX if request.node.get_closest_marker("alone") else fcntl.LOCK_SH)
    finally:
        fcntl.flock(door, fcntl.LOCK_UN)
    settings_of_timeout = pytest_timeout._get_item_settings(item)
    if settings_of_timeout.timeout:
        item.ihook.pytest_timeout_set_timer(item=item, settings=settings_of_timeout)
    try:
        yield
    finally:
        fcntl.flock(room, fcntl.LOCK_UN)


# --- docstring examples ------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def example_names() -> Iterator[dict[str, Any]]:
    """What every docstring example may use: the public names, and a client whose agent says what it was told."""
    import runtimeuse_sync
    from runtimeuse_sync.local import LocalRuntime, Sender

    def agent(invocation: runtimeuse_sync.InvocationMessage, sender: Sender) -> str:
        sender.assistant(f"You said: {invocation.user_prompt}")
        return invocation.user_prompt

    public = {name: getattr(runtimeuse_sync, name) for name in runtimeuse_sync.__all__}
    with LocalRuntime(agent) as runtime:
        client = runtimeuse_sync.Client(runtime.url)
        # The runtime keeps what it needs for commands until it ends: to the first example they would look left behind.
        client.execute_commands(["true"])
        yield {**public, "client": client}


@pytest.fixture
def examples(request: pytest.FixtureRequest, doctest_namespace: dict[str, Any]) -> None:
    if isinstance(request.node, pytest.DoctestItem):
        doctest_namespace.update(request.getfixturevalue("example_names"))
        # What an example writes, it writes to a place of its own.
        request.getfixturevalue("monkeypatch").chdir(request.getfixturevalue("tmp_path"))
