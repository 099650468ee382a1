"""What several test files say to a runtime, and hear from it."""

from __future__ import annotations

from typing import Any

from runtimeuse_sync import InvocationMessage

ALL = ["0.4", "0.9", "0.12", "0.15"]
ONE_REQUEST = ["0.4", "0.9"]
SESSIONS = ["0.12", "0.15"]


def invocation(**fields: Any) -> InvocationMessage:
    return InvocationMessage(**{"system_prompt": "Be brief.", "user_prompt": "Hello", **fields})


def text_result(text: str) -> dict[str, Any]:
    return {"message_type": "result_message", "data": {"type": "text", "text": text}}
