"""``wait``: until a runtime is ready."""

from __future__ import annotations

import json
import signal
import subprocess
from typing import Callable

import pytest

from runtimeuse_sync.testing import Peer, ScriptedRuntime

from .conftest import Done

Cli = Callable[..., Done]
Start = Callable[..., subprocess.Popen[str]]
Scripted = Callable[..., ScriptedRuntime]


def silent(peer: Peer) -> None:
    peer.silence()


def test_until_it_is_ready(cli: Cli, scripted_runtime: Scripted) -> None:
    runtime = scripted_runtime([503, 502, silent])
    done = cli("wait", runtime.url)
    assert (done.code, done.out, done.err[:12]) == (0, "", "ready after ")
    assert len(runtime.connections) == 3


def test_json(cli: Cli, scripted_runtime: Scripted) -> None:
    done = cli("wait", scripted_runtime(silent).url, "--json")
    event = json.loads(done.out)
    assert (done.code, done.err, event.pop("event")) == (0, "", "ready")
    assert 0 <= event.pop("elapsed_ms") < 20_000
    assert not event


def test_not_in_time(cli: Cli) -> None:
    done = cli("wait", "ws://127.0.0.1:1", "--timeout", "0.05")
    assert (done.code, done.out) == (1, "")
    assert "not ready within 0.05 s" in done.err


def test_what_waiting_does_not_help(cli: Cli, scripted_runtime: Scripted) -> None:
    runtime = scripted_runtime(refuse=401)
    done = cli("wait", runtime.url)
    assert (done.code, len(runtime.connections)) == (1, 1)
    assert "401" in done.err


def test_ctrl_c(start: Start, scripted_runtime: Scripted) -> None:
    runtime = scripted_runtime(refuse=503)
    process = start("wait", runtime.url)
    runtime.wait_for_connections(1, timeout=20)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=20) == ("", "runtimeuse-sync: interrupted\n")
    assert process.returncode == 130


def test_the_url_of_the_environment(cli: Cli, scripted_runtime: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIMEUSE_URL", scripted_runtime(silent).url)
    assert cli("wait").code == 0
    monkeypatch.delenv("RUNTIMEUSE_URL")
    done = cli("wait")
    assert (done.code, done.out) == (2, "")
    assert "Error: Missing argument 'URL'. RUNTIMEUSE_URL is not set either." in done.err
