"""A runtime over TLS for a crowd: ``python crowd_server.py CERTIFICATE ROUNDS`` prints its port, and serves.

To each client it sends ROUNDS artifact requests, several ahead of the answers, and a message behind each, so that
all the while something goes in either direction.
"""

from __future__ import annotations

import asyncio
import functools
import json
import ssl
import sys
from typing import Any

from websockets.asyncio.server import ServerConnection, serve

# Requests that wait for their answers at a time.
AHEAD = 16


def padding(number: int) -> str:
    """Mostly short; now and then several TLS records long."""
    return "x" * (40_000 if number % 101 == 100 else number % 300)


async def say(client: ServerConnection, message_type: str, **fields: Any) -> None:
    await client.send(json.dumps({"message_type": message_type, **fields}))


async def ask(client: ServerConnection, rounds: int, ahead: asyncio.Semaphore) -> None:
    for number in range(rounds):
        await ahead.acquire()
        await say(client, "artifact_upload_request_message", filename=f"{number}", filepath=f"/out/{number}")
        await say(client, "assistant_message", text_blocks=[f"{number} {padding(number)}"])


async def check(client: ServerConnection, rounds: int, ahead: asyncio.Semaphore) -> None:
    for number in range(rounds):
        answer = json.loads(await client.recv())
        assert answer["filepath"] == f"/out/{number}", answer
        assert answer["presigned_url"] == f"https://example.com/{number}?{padding(number + 50)}"
        ahead.release()


async def handle(client: ServerConnection, rounds: int) -> None:
    assert json.loads(await client.recv())["message_type"] == "invocation_message"
    ahead = asyncio.Semaphore(AHEAD)
    await asyncio.gather(ask(client, rounds, ahead), check(client, rounds, ahead))
    await say(client, "result_message", data={"type": "text", "text": f"{rounds} answers"})
    assert json.loads(await client.recv())["message_type"] == "end_session_message"
    await say(client, "end_session_confirm_message")


async def main(certificate: str, rounds: int) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    # That everybody comes at once, and nobody is served quickly, is no reason to give anybody up.
    patience: dict[str, Any] = {"open_timeout": None, "close_timeout": None, "ping_interval": None}
    handler = functools.partial(handle, rounds=rounds)
    async with serve(handler, "127.0.0.1", 0, ssl=context, compression=None, **patience) as server:
        print(next(iter(server.sockets)).getsockname()[1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
