"""A runtime for a crowd: ``python crowd_server.py TOGETHER`` prints its port, and serves until its input ends.

A call is told that it waits. When as many wait as TOGETHER says, the results come, all at once. Whoever cancels is
told so.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed


class Crowd:
    """Those who wait."""

    def __init__(self, together: int) -> None:
        self._together = together
        self._waiting = 0
        self._complete = asyncio.Event()

    async def handle(self, client: ServerConnection) -> None:
        # A client that is gone needs nothing any more.
        with suppress(ConnectionClosed):
            await client.recv()
            await say(client, "assistant_message", text_blocks=["waiting"])
            answer = asyncio.create_task(self._answer(client))
            try:
                async for message in client:
                    if json.loads(message)["message_type"] == "cancel_message":
                        await say(client, "error_message", error="Request cancelled")
            finally:
                answer.cancel()

    async def _answer(self, client: ServerConnection) -> None:
        self._waiting += 1
        if self._waiting == self._together:
            self._complete.set()
        await self._complete.wait()
        await say(client, "result_message", data={"type": "text", "text": "all together"})


async def say(client: ServerConnection, message_type: str, **fields: Any) -> None:
    await client.send(json.dumps({"message_type": message_type, **fields}))


async def main(together: int) -> None:
    # That everybody comes at once, and nobody is served quickly, is no reason to give anybody up.
    patience: dict[str, Any] = {"open_timeout": None, "close_timeout": None, "ping_interval": None}
    handler = Crowd(together).handle
    async with serve(handler, "127.0.0.1", 0, compression=None, backlog=4096, **patience) as server:
        print(next(iter(server.sockets)).getsockname()[1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
