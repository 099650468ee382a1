"""One call through a hostile network: made within a deadline, and summed up so that a table can be held to it."""

from __future__ import annotations

import faulthandler
import json
import tempfile
import threading
import time
from collections import Counter
from typing import Any, Callable, Optional

import attrs

from runtimeuse_sync import (
    AgentRuntimeError,
    ArtifactUploadRequestMessageInterface,
    ArtifactUploadResponseMessageInterface,
    AssistantMessageInterface,
    CancelledException,
    Client,
    ConnectionFailedError,
    ConnectionLostError,
    InvocationMessage,
    InvocationTimeoutError,
    ProtocolError,
)
from runtimeuse_sync.testing import ScriptedRuntime

from ..support import invocation
from .hostile_proxy import DOWN, HostileProxy, payload_of

# Seconds that any call may take: every limit that is set here, one after the other, and a busy machine.
DEADLINE = 10.0
# Limits that end what stands still, and nothing that a busy machine holds up for a while; where nothing does, none.
CONNECT_TIMEOUT = 1.0
PING_TIMEOUT = 1.0
IMPATIENT: dict[str, Any] = {
    "connect_timeout": CONNECT_TIMEOUT,
    "ping_interval": 0.05,
    "ping_timeout": PING_TIMEOUT,
}
PATIENT: dict[str, Any] = {"ping_interval": None}


class Warnings:
    """A logger that keeps warnings."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def warning(self, text: str, *args: object) -> None:
        self.texts.append(text % args)

    def __getattr__(self, level: str) -> Callable[..., None]:
        return lambda *args, **options: None


@attrs.define
class Trial:
    """What a call heard, was asked, and came to."""

    heard: list[str] = attrs.field(factory=list)
    asked: list[str] = attrs.field(factory=list)
    result: Any = None
    error: Optional[BaseException] = None
    logger: Warnings = attrs.field(factory=Warnings)
    began: float = 0.0
    seconds: float = 0.0

    @property
    def outcome(self) -> str:
        """How it ended, in words."""
        end = "result" if self.error is None else _sum_up(self.error)
        return f"{end}, warned" if self.logger.texts else end

    def hear(self, message: AssistantMessageInterface) -> None:
        self.heard += message.text_blocks

    def answer(self, request: ArtifactUploadRequestMessageInterface) -> tuple[str, str]:
        self.asked.append(request.filepath)
        return f"https://example.com{request.filepath}", "text/plain"

    def call(self, client: Client, request: InvocationMessage, timeout: Optional[float]) -> None:
        """Call on this thread."""
        self.began = time.monotonic()
        try:
            result = client.invoke(
                request,
                on_assistant_message=self.hear,
                on_artifact_upload_request=self.answer if request.artifacts_dirs else None,
                timeout=timeout,
            )
            self.result = result.structured_output
        except Exception as error:  # noqa: BLE001 - which one it is, is the question
            self.error = error
        self.seconds = time.monotonic() - self.began


def _sum_up(error: BaseException) -> str:
    if isinstance(error, ConnectionFailedError):
        return f"failed: {error.reason}"
    if isinstance(error, ConnectionLostError):
        return f"lost {error.code}: {error.reason}"
    if isinstance(error, ProtocolError):
        return f"protocol {error.close_code}"
    if isinstance(error, AgentRuntimeError):
        return f"agent: {error.error}"
    names = {InvocationTimeoutError: "timed out", CancelledException: "cancelled"}
    return names.get(type(error)) or repr(error)


def attempt(
    proxy: HostileProxy,
    *,
    client: dict[str, Any],
    meanwhile: Callable[[Client], object] = lambda client: None,
    timeout: Optional[float] = None,
    **fields: Any,
) -> Trial:
    """Call through ``proxy`` in a thread, and do something ``meanwhile``; fails after ``DEADLINE`` seconds.

    It does not end before the fault of ``proxy`` has happened, which may be after the call.
    """
    trial = Trial()
    caller = Client(proxy.url, logger=trial.logger, **client)
    request = invocation(**{"artifacts_dirs": ["/out"], **fields})
    thread = threading.Thread(target=trial.call, args=(caller, request, timeout), name="caller", daemon=True)
    thread.start()
    meanwhile(caller)
    thread.join(DEADLINE)
    assert not thread.is_alive(), "the call hangs:\n" + _stacks()
    if proxy.fault is not None:
        assert proxy.struck.wait(DEADLINE), "the call did not get to the place of the fault"
    return trial


def _stacks() -> str:
    with tempfile.TemporaryFile("w+") as file:
        faulthandler.dump_traceback(file)
        file.seek(0)
        return file.read()


# --- what has to hold in any case --------------------------------------------------------------------


def texts_of(proxy: HostileProxy) -> list[str]:
    """The texts of the messages that passed whole to the client."""
    return [
        text
        for name, frame in proxy.units(DOWN)
        if name == "assistant_message"
        for text in json.loads(payload_of(frame))["text_blocks"]
    ]


def requests_of(proxy: HostileProxy) -> list[str]:
    """The paths of the artifact requests that passed whole to the client."""
    return [
        json.loads(payload_of(frame))["filepath"]
        for name, frame in proxy.units(DOWN)
        if name == "artifact_upload_request_message"
    ]


def check_deliveries(trial: Trial, proxy: HostileProxy, *, may_lose: bool = False) -> None:
    """All that passed whole has been delivered, once and in order; or lost, but for its beginning."""
    for delivered, passed in ((trial.heard, texts_of(proxy)), (trial.asked, requests_of(proxy))):
        assert delivered == (passed[: len(delivered)] if may_lose else passed)


def check_requests(runtime: ScriptedRuntime) -> None:
    """Nothing reached the runtime twice."""
    count = Counter(
        (type(message).__name__, message.filepath)
        if isinstance(message, ArtifactUploadResponseMessageInterface)
        else type(message).__name__
        for message in runtime.received
    )
    assert set(count.values()) <= {1}
