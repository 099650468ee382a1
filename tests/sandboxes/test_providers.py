"""The examples of sandboxes, by the real packages of their providers, of which nothing is called: ``tox -e sandboxes``.

What each would call has to fit the package's signature, the endpoint is what the docs say, and the sandbox dies after a
Ctrl-C, and if the runtime cannot be started. That the providers do what their packages say is not tried.
"""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from pathlib import Path
from typing import Any, Callable
from unittest.mock import MagicMock, Mock, create_autospec

import pytest

from runtimeuse_sync.sandboxes import Endpoint, Sandbox

EXAMPLES = Path(__file__).parents[2] / "examples" / "sandboxes"


class StartError(Exception):
    """The runtime could not be started."""


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "s3cret")


def package(name: str) -> Any:
    """A provider's package; of what it warns when it is imported is its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(name)


def example(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def check(sandbox: Callable[[], Sandbox], endpoint: Endpoint, start: Mock, end: Mock) -> None:
    """It is at ``endpoint``, and ``end`` is called after a Ctrl-C, and if ``start`` fails."""
    with pytest.raises(KeyboardInterrupt), sandbox() as found:
        assert found == endpoint
        end.assert_not_called()
        raise KeyboardInterrupt
    end.assert_called_once()
    start.side_effect = StartError
    with pytest.raises(StartError), sandbox():
        raise AssertionError("the block is not entered")
    assert end.call_count == 2


def test_e2b(monkeypatch: pytest.MonkeyPatch) -> None:
    e2b = package("e2b")
    box = create_autospec(e2b.Sandbox, instance=True)
    box.kill = Mock(return_value=True)  # of the class and of its objects: autospec takes it for the former
    box.traffic_access_token = "token"
    box.get_host.return_value = "8080-abc.e2b.app"
    box.commands = create_autospec(package("e2b.sandbox_sync.commands.command").Commands, instance=True)
    monkeypatch.setattr(e2b.Sandbox, "create", create_autospec(e2b.Sandbox.create, return_value=box))
    endpoint = Endpoint("https://8080-abc.e2b.app", {"e2b-traffic-access-token": "token"})
    check(example("with_e2b").e2b_sandbox, endpoint, box.commands.run, box.kill)


def test_daytona(monkeypatch: pytest.MonkeyPatch) -> None:
    daytona = package("daytona")
    box = create_autospec(daytona.Sandbox, instance=True)
    box.get_preview_link.return_value = Mock(url="https://8080-abc.daytona.work", token="token")
    box.process = create_autospec(package("daytona._sync.process").Process, instance=True)
    monkeypatch.setenv("DAYTONA_API_KEY", "key")
    monkeypatch.setattr(daytona.Daytona, "create", create_autospec(daytona.Daytona.create, return_value=box))
    endpoint = Endpoint("https://8080-abc.daytona.work", {"X-Daytona-Preview-Token": "token"})
    check(example("with_daytona").daytona_sandbox, endpoint, box.process.execute_session_command, box.delete)


def test_modal(monkeypatch: pytest.MonkeyPatch) -> None:
    modal = package("modal")
    box = create_autospec(modal.Sandbox, instance=True)
    box.create_connect_token = Mock(return_value=Mock(url="https://abc.modal.host", token="token"))
    monkeypatch.setattr(modal.App, "lookup", create_autospec(modal.App.lookup))
    monkeypatch.setattr(modal.Sandbox, "create", create_autospec(modal.Sandbox.create, return_value=box))
    endpoint = Endpoint("https://abc.modal.host", {"Authorization": "Bearer token"})
    check(example("with_modal").modal_sandbox, endpoint, box.create_connect_token, box.terminate)


def test_vercel(monkeypatch: pytest.MonkeyPatch) -> None:
    sync = package("vercel.sandbox.sync")
    box = create_autospec(sync.SyncSandbox, instance=True)
    box.routes = (Mock(port=9, url="https://other"), Mock(port=8080, url="https://abc.vercel.run"))
    managed = MagicMock()
    managed.__enter__.return_value = box
    managed.__exit__.return_value = None
    monkeypatch.setattr(sync, "create_sandbox", create_autospec(sync.create_sandbox, return_value=managed))
    check(
        example("with_vercel").vercel_sandbox, Endpoint("https://abc.vercel.run"), box.create_process, managed.__exit__
    )


def test_docker(monkeypatch: pytest.MonkeyPatch) -> None:
    docker, containers = package("docker"), package("docker.models.containers")
    box = create_autospec(containers.Container, instance=True)
    box.ports = {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": "49153"}]}
    engine = Mock(containers=create_autospec(containers.ContainerCollection, instance=True))
    engine.containers.run.return_value = box
    monkeypatch.setattr(docker, "from_env", create_autospec(docker.from_env, return_value=engine))
    check(example("with_docker").docker_sandbox, Endpoint("ws://127.0.0.1:49153"), box.reload, box.remove)
