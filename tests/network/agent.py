"""A runtime that does one thing after the other, so that a place in its traffic is a point in time."""

from __future__ import annotations

import json
from typing import Any

import attrs

from runtimeuse_sync import (
    ArtifactUploadRequestMessageInterface,
    ArtifactUploadResponseMessageInterface,
    CancelMessage,
    EndSessionConfirmMessage,
    EndSessionMessage,
    ErrorMessageInterface,
    InvocationMessage,
    ProtocolError,
)
from runtimeuse_sync.testing import Peer, Script

EARLY = "/out/early.txt"
LATE = ["/out/late.txt", "/out/last.txt"]
# Headers of either length, and characters of several bytes.
TEXTS = [f"{number:02d} " + "ü🎉" * (number * number) for number in range(10)]
RESULT = {"success": True, "says": "ü🎉" * 50}
NONSENSE = "Invalid message"


class _CancelledError(Exception):
    pass


def agent(release: str, texts: list[str] = TEXTS) -> Script:
    """A script for ``ScriptedRuntime``, with the habits of that release: see ``_Agent``."""
    return lambda peer: _Agent(peer, int(release.partition(".")[2]), texts).live()


@attrs.define
class _Agent:
    """Ten messages, an artifact, the result, two artifacts: each waits for the answer to the one before.

    Without ``artifacts_dirs``, only messages and the result. Unlike a real runtime it waits without end: a
    client that hears nothing any more has to help itself.
    """

    peer: Peer
    minor: int
    texts: list[str]
    has_artifacts: bool = False
    is_served: bool = False
    is_in_flight: bool = False
    is_ending: bool = False

    @property
    def has_sessions(self) -> bool:
        return self.minor >= 11

    def live(self) -> None:
        while True:
            message = self.hear()
            if isinstance(message, InvocationMessage):
                self.is_served = True
                self.has_artifacts = bool(message.artifacts_dirs)
                self.serve()
            elif self.is_ending:
                self.end()

    def hear(self) -> Any:
        try:
            message = self.peer.receive(None)
        except ProtocolError:
            if not self.is_served and not self.has_sessions:
                self.peer.send(ErrorMessageInterface(error=NONSENSE))
            return None
        if isinstance(message, EndSessionMessage):
            self.is_ending = self.has_sessions
        elif isinstance(message, CancelMessage) and not self.has_sessions:
            self.peer.close_empty()
        elif isinstance(message, CancelMessage) and self.is_in_flight:
            raise _CancelledError
        return message

    def serve(self) -> None:
        self.is_in_flight = True
        try:
            self.answer()
        except _CancelledError:
            self.peer.send(ErrorMessageInterface(error="Request cancelled"))
        self.is_in_flight = False
        if self.has_artifacts and not self.has_sessions:
            self.end()

    def answer(self) -> None:
        for text in self.texts:
            self.peer.send_text(
                json.dumps({"message_type": "assistant_message", "text_blocks": [text]}, ensure_ascii=False)
            )
        if self.has_artifacts:
            self.ask(EARLY)
        self.peer.send({"message_type": "result_message", **self.result()})

    def result(self) -> dict[str, Any]:
        if self.minor < 5:
            return {"structured_output": RESULT}
        return {"data": {"type": "structured_output", "structured_output": RESULT}}

    def ask(self, path: str) -> None:
        self.peer.send(ArtifactUploadRequestMessageInterface(filename=path.rpartition("/")[2], filepath=path))
        while not isinstance(self.hear(), ArtifactUploadResponseMessageInterface):
            pass

    def end(self) -> None:
        for path in LATE:
            self.ask(path)
        if self.minor >= 13:
            self.peer.send(EndSessionConfirmMessage())
        self.peer.close_empty()
