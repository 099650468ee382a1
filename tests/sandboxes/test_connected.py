"""A client of what is opened for it: that it is closed, however the block ends, and the waiting before it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from runtimeuse_sync import CancelledException, Client, ConnectionFailedError
from runtimeuse_sync.local import LocalRuntime
from runtimeuse_sync.sandboxes import Endpoint, connected
from runtimeuse_sync.testing import ScriptedRuntime, generation


class Provider:
    """What a provider's SDK has: something is started, and killed."""

    def __init__(self, url: str, headers: Any = None) -> None:
        self.endpoint = Endpoint(url, headers)
        self.events: list[str] = []

    @contextmanager
    def sandbox(self) -> Iterator[Endpoint]:
        self.events.append("created")
        try:
            yield self.endpoint
        finally:
            self.events.append("killed")


@pytest.fixture
def runtime() -> Iterator[ScriptedRuntime]:
    with ScriptedRuntime(generation("0.15")) as runtime:
        yield runtime


def test_a_sandbox_is_opened_at_the_block_and_closed_at_its_end(runtime: ScriptedRuntime) -> None:
    provider = Provider(runtime.url)
    sandbox = connected(provider.sandbox())
    assert provider.events == []
    with sandbox as client:
        client.query("Hello", system_prompt="")
        assert provider.events == ["created"]
    assert provider.events == ["created", "killed"]


def test_the_token_of_the_sandbox_is_sent_and_not_shown(runtime: ScriptedRuntime) -> None:
    provider = Provider(runtime.url, {"X-Token": "s3cret"})
    with connected(provider.sandbox()):
        pass
    assert runtime.connections[0].request_headers["X-Token"] == "s3cret"
    assert "s3cret" not in repr(provider.endpoint)


def test_headers_of_ones_own_take_the_place_of_the_sandbox_s(runtime: ScriptedRuntime) -> None:
    provider = Provider(runtime.url, {"X-Token": "s3cret"})
    with connected(provider.sandbox(), headers={"X-Other": "1"}, ping_interval=5) as client:
        assert client.ping_interval == 5
    assert "X-Token" not in runtime.connections[0].request_headers


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError])
def test_it_is_closed_whatever_ends_the_block(runtime: ScriptedRuntime, error: type[BaseException]) -> None:
    provider = Provider(runtime.url)
    with pytest.raises(error), connected(provider.sandbox()):
        raise error
    assert provider.events == ["created", "killed"]


def test_it_is_closed_if_the_runtime_does_not_come_up() -> None:
    with ScriptedRuntime(refuse=503) as runtime:
        provider = Provider(runtime.url)
        with pytest.raises(ConnectionFailedError, match="not ready within 0.2 s"):
            with connected(provider.sandbox(), ready_timeout=0.2):
                raise AssertionError("the block is not entered")
    assert provider.events == ["created", "killed"]


def test_it_is_closed_if_the_waiting_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(client: Client, timeout: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Client, "wait_until_ready", interrupted)
    provider = Provider("ws://127.0.0.1:1")
    with pytest.raises(KeyboardInterrupt), connected(provider.sandbox()):
        raise AssertionError("the block is not entered")
    assert provider.events == ["created", "killed"]


def test_nothing_is_opened_for_settings_that_cannot_be_meant() -> None:
    provider = Provider("ws://127.0.0.1:1")
    with pytest.raises(ValueError, match="ping_interval"), connected(provider.sandbox(), ping_interval=-1):
        raise AssertionError("the block is not entered")
    assert provider.events == []


def test_an_error_of_the_sandbox_itself_is_the_callers(runtime: ScriptedRuntime) -> None:
    @contextmanager
    def unavailable() -> Iterator[Endpoint]:
        raise OSError("out of credits")
        yield

    with pytest.raises(OSError, match="out of credits"), connected(unavailable()):
        raise AssertionError("the block is not entered")


def test_a_runtime_of_this_library_is_one() -> None:
    cancelled = threading.Event()
    cancelled.set()
    with connected(LocalRuntime(lambda invocation, sender: invocation.user_prompt)) as client:
        assert client.query("Hello", system_prompt="").output == "Hello"
        with pytest.raises(CancelledException):
            client.query("Hello", system_prompt="", is_cancelled=cancelled)
