"""Interpretation of a lost connection, for the error of the request that it carried."""

from __future__ import annotations

from ..exceptions import ConnectionLostError, RuntimeUseError


def is_normal_end(error: RuntimeUseError) -> bool:
    """Whether the peer closed the connection without an error: with code 1000 or 1001, or without a code."""
    return isinstance(error, ConnectionLostError) and error.code in (1000, 1001, 1005)


def second_request_refused(error: ConnectionLostError) -> ConnectionLostError:
    """The likely reason why a runtime closes the connection when a session sends its second request."""
    explained = ConnectionLostError(
        code=error.code,
        reason="the runtime closed it; runtimes before 0.11 serve one request a connection: open a session for "
        "each, or call the client itself",
    )
    explained.__cause__ = error
    return explained
