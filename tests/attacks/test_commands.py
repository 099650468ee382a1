"""Commands that print without end, and what the release 0.15 does with them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from runtimeuse_sync.local import LocalRuntime
from tests.local.conftest import Peer, peer_of


@pytest.fixture
def peer() -> Iterator[Peer]:
    with LocalRuntime(lambda invocation, sender: "done") as runtime, peer_of(runtime) as peer:
        yield peer


def test_a_command_that_prints_more_than_1_mib_ends_with_minus_1_and_the_rest_is_skipped(peer: Peer) -> None:
    *output, last = peer.execute("cat /dev/zero | tr '\\0' x", "echo never")
    (result,) = last["results"]
    assert result["exit_code"] == -1
    assert 1_048_576 < len(result["stdout"]) <= 1_064_960
    assert "".join(m["text"] for m in output) == result["stdout"]
    assert peer.is_served()


def test_a_command_before_the_agent_that_prints_too_much_fails_the_request(peer: Peer) -> None:
    *_, last = peer.invoke(pre_agent_invocation_commands=[{"command": "cat /dev/zero >&2"}])
    assert last["error"] == "pre-agent command failed with exit code: -1"
