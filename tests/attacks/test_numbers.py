"""A runtime that sends numbers for which JSON has no word once they are read: what is written of them stays JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable, NoReturn

import pytest

from runtimeuse_sync import Client, InvocationMessage
from runtimeuse_sync.journal import record
from runtimeuse_sync.testing import Peer, ScriptedRuntime
from runtimeuse_sync.web import ndjson, sse

RESULT = '{"message_type":"result_message","data":{"type":"structured_output","structured_output":{"a":1e999}}}'


def overflow(peer: Peer) -> None:
    peer.expect(InvocationMessage)
    peer.send_text(RESULT)


def refused(name: str) -> NoReturn:
    raise AssertionError(f"{name} is no JSON")


@pytest.mark.parametrize("written", [sse, ndjson])
def test_a_page_gets_the_result_and_the_end(written: Callable[[Any], Any]) -> None:
    with ScriptedRuntime(overflow) as runtime:
        *_, result, end = written(Client(runtime.url).stream("Hello"))
    data = json.loads(result[result.index("{") :], parse_constant=refused)
    assert data["data"]["structured_output"] == {"a": "Infinity"}
    assert '{"message_type":"end"}' in end


def test_a_journal_has_the_result(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with ScriptedRuntime(overflow) as runtime, record(Client(runtime.url), path) as client:
        assert client.query("Hello").data.structured_output == {"a": float("inf")}
    for line in path.read_text().splitlines():
        json.loads(line, parse_constant=refused)
    assert '"a":"Infinity"' in path.read_text()
