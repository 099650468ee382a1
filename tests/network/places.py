"""Where in a call with artifacts a network may fail, how, and what comes of it."""

from __future__ import annotations

from .hostile_proxy import DOWN, UP, Act, Place, half_close, reset, stall, stall_both
from .trial import PING_TIMEOUT

# In the order of a call.
PLACES = {
    "connect": Place(DOWN, "connect"),
    "handshake, up": Place(UP, "head"),
    "handshake, down": Place(DOWN, "head"),
    "request": Place(UP, "invocation_message"),
    "stream": Place(DOWN, "assistant_message", 5),
    "artifact, asked": Place(DOWN, "artifact_upload_request_message"),
    "artifact, answered": Place(UP, "artifact_upload_response_message"),
    "result": Place(DOWN, "result_message"),
    "drain, begun": Place(UP, "end_session_message"),
    "drain, asked": Place(DOWN, "artifact_upload_request_message", 2),
    "drain, answered": Place(UP, "artifact_upload_response_message", 2),
    "drain, confirmed": Place(DOWN, "end_session_confirm_message"),
    "close, down": Place(DOWN, "close"),
    "close, up": Place(UP, "close"),
}
ORDER = list(PLACES)

LETHAL: dict[str, Act] = {"stall": stall, "stall both": stall_both, "half-close": half_close, "reset": reset}

TIMED_OUT, CLOSED, RESET = "timed out", "connection closed", "connection reset by peer"
NO_PONG = f"a ping was not answered within {PING_TIMEOUT:g} s"
CUT = "the connection ended without a Close frame"
FAILED = {"stall": TIMED_OUT, "stall both": TIMED_OUT, "half-close": CLOSED, "reset": RESET}
LOST = {"stall": NO_PONG, "stall both": NO_PONG, "half-close": CUT, "reset": RESET}


def occurs(place: str, release: str) -> bool:
    """Whether a runtime of that release gets there."""
    return place != "drain, confirmed" or release == "0.15"
