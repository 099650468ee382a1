"""Many TLS connections at once, with traffic in both directions all the time."""

from __future__ import annotations

import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from runtimeuse_sync import ArtifactUploadRequestMessageInterface, AssistantMessageInterface, Client

from ..support import invocation

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

CONNECTIONS = 60
ROUNDS = 2000
# Seconds for all of it.
DEADLINE = 240.0

SERVER = Path(__file__).with_name("crowd_server.py")


def padding(number: int) -> str:
    return "x" * (40_000 if number % 101 == 100 else number % 300)


class Caller(threading.Thread):
    """One call; what goes wrong is in ``failure``."""

    def __init__(self, client: Client) -> None:
        super().__init__(daemon=True)
        self.client = client
        self.answered = 0
        self.heard = 0
        self.failure: object = "not finished"

    def run(self) -> None:
        try:
            result = self.client.invoke(
                invocation(artifacts_dirs=["/out"]),
                on_assistant_message=self.hear,
                on_artifact_upload_request=self.answer,
            )
            assert result.text == f"{ROUNDS} answers"
            assert (self.answered, self.heard) == (ROUNDS, ROUNDS)
            self.failure = None
        except BaseException as error:  # noqa: BLE001 - the test counts them
            self.failure = error

    def answer(self, request: ArtifactUploadRequestMessageInterface) -> tuple[str, str]:
        number, self.answered = self.answered, self.answered + 1
        assert request.filepath == f"/out/{number}"
        return f"https://example.com/{number}?{padding(number + 50)}", "text/plain"

    def hear(self, message: AssistantMessageInterface) -> None:
        number, self.heard = self.heard, self.heard + 1
        assert message.text_blocks == [f"{number} {padding(number)}"]


@contextmanager
def crowd_server(certificate: trustme.LeafCert) -> Iterator[str]:
    with certificate.private_key_and_cert_chain_pem.tempfile() as path:
        command = [sys.executable, str(SERVER), path, str(ROUNDS)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                yield f"wss://127.0.0.1:{server.stdout.readline().strip()}"
            finally:
                server.kill()


def test_sixty_connections_with_two_thousand_round_trips_each(authority: trustme.CA, trust: ssl.SSLContext) -> None:
    with crowd_server(authority.issue_cert("127.0.0.1")) as url:
        client = Client(url, ssl_context=trust, ping_interval=0.5, ping_timeout=60)
        callers = [Caller(client) for _ in range(CONNECTIONS)]
        give_up = time.monotonic() + DEADLINE
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join(max(0.0, give_up - time.monotonic()))
        assert [caller.failure for caller in callers if caller.failure is not None] == []
