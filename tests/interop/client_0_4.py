"""Runs the asyncio client 0.4 once, and prints what it got as JSON. Its own process: two versions share one name.

Usage: client_0_4.py URL, with the fields of the invocation as JSON on standard input.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import runtimeuse_client as peer


async def main(url: str, fields: dict[str, Any]) -> dict[str, Any]:
    got: list[Any] = []
    target = fields.pop("upload_to", None)
    cancel_after = fields.pop("cancel_after", None)

    async def keep(message: Any) -> None:
        got.append(message.model_dump())

    async def on_artifact(request: Any) -> Any:
        await keep(request)
        return target, "text/plain"

    async def is_cancelled() -> bool:
        return cancel_after is not None and len(got) >= cancel_after

    invocation = peer.InvocationMessage(message_type="invocation_message", **fields)
    try:
        await peer.RuntimeUseClient(ws_url=url).invoke(
            invocation,
            keep,
            peer.ResultMessageInterface,
            on_assistant_message=keep,
            on_artifact_upload_request=on_artifact,
            on_error_message=keep,
            is_cancelled=is_cancelled,
            timeout=3,
        )
        end = "returned"
    except Exception as error:  # noqa: BLE001 - which one is what the test asks
        end = type(error).__name__
    return {"got": got, "end": end}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1], json.load(sys.stdin)))))
