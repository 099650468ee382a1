"""What the journal's tests have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

from runtimeuse_sync import Client, ResultMessageInterface
from runtimeuse_sync.journal import RecordedRun, load, record
from runtimeuse_sync.testing import ScriptedRuntime

from ..support import invocation

Start = Callable[..., ScriptedRuntime]
Seen = tuple[list[str], Any]


def said(text: str) -> dict[str, Any]:
    return {"message_type": "assistant_message", "text_blocks": [text]}


def recorded_run(runtime: ScriptedRuntime, path: Path, **fields: Any) -> RecordedRun:
    """A recorded call: what the journal has of it."""
    with record(Client(runtime.url), path) as client:
        client.invoke(invocation(**fields))
    return load(path)[-1]


def seen(client: Client, **fields: Any) -> Seen:
    """What a caller sees of a call: the texts, and its result or its error."""
    texts: list[str] = []

    def see(message: Any) -> None:
        texts.extend(getattr(message, "text_blocks", None) or [message.text])

    keywords: dict[str, Any] = {"on_assistant_message": see, "on_command_output": see}
    if fields.get("artifacts_dirs"):
        keywords["on_artifact_upload_request"] = lambda request: texts.append(request.filepath) or ("http://x/", "a/b")
    try:
        result: ResultMessageInterface = client.invoke(invocation(**fields), **keywords)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what the caller sees
        return texts, (type(error), str(error))
    return texts, (result.structured_output, result.text, result.metadata)
