"""What the end of a connection means to the request that it carried."""

from __future__ import annotations

from ..exceptions import ConnectionLostError, RuntimeUseError


def is_normal_end(error: RuntimeUseError) -> bool:
    """Whether the peer closed as peers do that are done: 1000 and 1001, or without a code."""
    return isinstance(error, ConnectionLostError) and error.code in (1000, 1001, 1005)


def second_request_refused(error: ConnectionLostError) -> ConnectionLostError:
    """What it mostly means when a runtime closes upon the second request of a session."""
    explained = ConnectionLostError(
        code=error.code,
        reason="the runtime closed it; runtimes before 0.11 serve one request a connection: open a session for "
        "each, or call the client itself",
    )
    explained.__cause__ = error
    return explained
