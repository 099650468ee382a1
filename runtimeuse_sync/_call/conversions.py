"""Conversions of a runtime's result and of a callback's return value into the types that the call needs."""

from __future__ import annotations

from typing import Any

from .. import messages as m
from .._common.validation import kind
from .._protocol.codec import RawResult, structure_result
from ..exceptions import ProtocolError


def as_result(message: Any, result_cls: type) -> Any:
    """Convert a result message to the caller's class; raises ``ProtocolError``."""
    if isinstance(message, result_cls):
        return message
    if isinstance(message, RawResult) and issubclass(result_cls, m.ResultMessageInterface):
        return structure_result(message, result_cls)
    if isinstance(message, RawResult) or not issubclass(result_cls, type(message)):
        message_type = getattr(message, "message_type", "result_message")
        raise ProtocolError(f"a result that answers another kind of request: {message_type}")
    raise ProtocolError(f"the transport brought a {type(message).__name__}, not a {result_cls.__name__}")


def as_upload_result(answer: Any) -> m.ArtifactUploadResult:
    """Check what ``on_artifact_upload_request`` returned, and convert it."""
    if isinstance(answer, m.ArtifactUploadResult):
        return answer
    if isinstance(answer, tuple) and len(answer) == 2:
        return m.ArtifactUploadResult(presigned_url=answer[0], content_type=answer[1])
    what, answer = kind(answer), None  # error reporters show local variables: a presigned URL must not be among them
    raise TypeError(
        "on_artifact_upload_request must return an ArtifactUploadResult or a (presigned_url, content_type) tuple; "
        f"it returned {what}"
    )
