"""The fixtures ``scripted_runtime``, ``local_runtime`` and ``runtime_cassette``, which pytest finds by entry point."""

# pytest imports this in every run of every project that has the package installed. So it is no part of the package,
# which would be imported with it, before anybody measures its coverage; and what the fixtures need is imported when
# one of them is asked for.

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import pytest

if TYPE_CHECKING:
    from runtimeuse_sync.local import LocalRuntime
    from runtimeuse_sync.testing import Cassette, ScriptedRuntime

_MARK = "runtime_cassette"
_BLOCK = "--runtimeuse-block-network"

# Characters of a cassette's name: file systems take 255 bytes.
_LONGEST_NAME = 60

# Of the runtimes that fixtures have started.
_ports: set[int] = set()
# Connections that were refused since the test began.
_refused: list[str] = []
_cassettes: WeakKeyDictionary[Any, Cassette] = WeakKeyDictionary()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("runtimeuse-sync")
    group.addoption(
        "--runtimeuse-record",
        choices=("none", "new", "all"),
        default="none",
        help="what the fixture runtime_cassette records with a real runtime: nothing (default), the tests that have "
        "no cassette yet, or all of them anew",
    )
    group.addoption(
        _BLOCK,
        action="store_true",
        help="fail a test that connects to a runtime, unless a fixture has started that, or a cassette is recorded",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"{_MARK}(**options): how a test's cassette is played, as Replay(...) takes it")


@pytest.fixture
def scripted_runtime() -> Iterator[Callable[..., ScriptedRuntime]]:
    """Start a ``ScriptedRuntime`` with the arguments given; at the test's end, stop it and check its scripts.

    ::

        def test_query(scripted_runtime):
            runtime = scripted_runtime(generation("0.15", Reply(result="done")))
            assert summarise(runtime.url) == "done"
            assert runtime.wait_for(InvocationMessage).user_prompt.startswith("Summarise")
    """
    from runtimeuse_sync.testing import ScriptedRuntime

    with _starting(ScriptedRuntime) as start:
        yield start


@pytest.fixture
def local_runtime() -> Iterator[Callable[..., LocalRuntime]]:
    """Start a ``LocalRuntime`` with the arguments given; at the test's end, stop it.

    ::

        def test_query(local_runtime):
            runtime = local_runtime(lambda invocation, sender: invocation.user_prompt.upper())
            assert summarise(runtime.url) == "SUMMARISE"
    """
    from runtimeuse_sync.local import LocalRuntime

    with _starting(LocalRuntime) as start:
        yield start


@contextmanager
def _starting(kind: type[Any]) -> Iterator[Callable[..., Any]]:
    with ExitStack() as running:

        def start(*args: Any, **options: Any) -> Any:
            runtime = running.enter_context(kind(*args, **options))
            _ports.add(port := urlsplit(runtime.url).port or 0)
            running.callback(_ports.discard, port)
            return runtime

        yield start


@pytest.fixture
def runtime_cassette(request: pytest.FixtureRequest) -> Iterator[Cassette]:
    """Record the calls of all clients in a test once, and play them ever after.

    ::

        def test_summary(runtime_cassette):
            assert summarise("ws://localhost:8080", "A long text.") == "Short."

    The first time, with a real runtime: ``pytest --runtimeuse-record=new``. The calls are kept in
    ``cassettes/<module>/<test>.jsonl`` beside the module, if the test passes. From then on nothing is connected, and a
    call that is not there fails the test.
    """
    from runtimeuse_sync.testing import _cassettes as tapes

    path, mode = _path_of(request.node), request.config.getoption("--runtimeuse-record")
    cassette = tapes.Cassette(path, is_recording=mode == "all" or (mode == "new" and not path.exists()))
    _cassettes[request.node] = cassette
    marker = request.node.get_closest_marker(_MARK)
    failed = request.session.testsfailed
    if cassette.is_recording:
        taping = tapes.recording(cassette, is_wanted=lambda: request.session.testsfailed == failed)
    else:
        told = partial(request.node.add_report_section, "call", "runtime_cassette")
        taping = tapes.playing(cassette, told, **(marker.kwargs if marker else {}))
    with taping:
        yield cassette


def _path_of(item: pytest.Item) -> Path:
    """One for each test, in a folder for each module."""
    name = item.nodeid.partition("::")[2].replace("::", ".")
    plain = re.sub(r"[^\w.-]+", "-", name)[:_LONGEST_NAME].strip("-")
    if plain != name:
        plain += "-" + hashlib.sha256(name.encode()).hexdigest()[:8]
    return item.path.parent / "cassettes" / item.path.stem / f"{plain}.jsonl"


@pytest.fixture(autouse=True, scope="session")
def _no_network(request: pytest.FixtureRequest) -> Iterator[None]:
    if not request.config.getoption(_BLOCK):
        yield
        return
    from runtimeuse_sync.testing import _cassettes as tapes

    def refuse(where: str) -> None:
        _refused.append(where)
        pytest.fail(_refusal(), pytrace=False)

    with tapes.refusing(_ports, refuse):
        yield


def _refusal() -> str:
    return f"connections refused by {_BLOCK}: " + ", ".join(sorted(set(_refused)))


# Behind the test itself, if that has not failed: the code under test may have handled what was raised.
@pytest.hookimpl(trylast=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    cassette = _cassettes.get(item)
    if cassette is not None and cassette.missing:
        pytest.fail(cassette.complaint, pytrace=False)
    if _refused:
        pytest.fail(_refusal(), pytrace=False)


def pytest_runtest_setup() -> None:
    _refused.clear()
