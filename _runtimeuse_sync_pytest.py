"""The fixtures ``scripted_runtime`` and ``local_runtime``, which pytest finds by entry point."""

# pytest imports this in every run of every project that has the package installed. So it is no part of the package,
# which would be imported with it, before anybody measures its coverage; and what the fixtures need is imported when
# one of them is asked for.

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Callable

import pytest

if TYPE_CHECKING:
    from runtimeuse_sync.local import LocalRuntime
    from runtimeuse_sync.testing import ScriptedRuntime


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

    with ExitStack() as running:

        def start(*args: Any, **options: Any) -> ScriptedRuntime:
            return running.enter_context(ScriptedRuntime(*args, **options))

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

    with ExitStack() as running:

        def start(*args: Any, **options: Any) -> LocalRuntime:
            return running.enter_context(LocalRuntime(*args, **options))

        yield start
