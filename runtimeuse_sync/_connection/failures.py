"""The errors for a connection that cannot be established."""

from __future__ import annotations

import errno
from typing import Optional

from ..exceptions import ConnectionFailedError
from .endpoint import Endpoint


def cannot_connect(
    endpoint: Endpoint,
    text: str,
    reason: str,
    status: Optional[int] = None,
    retry_after: Optional[float] = None,
) -> ConnectionFailedError:
    """The error to raise; ``text`` is the explanation, ``reason`` the same in a few words.

    >>> from runtimeuse_sync._connection.endpoint import parse_url
    >>> str(cannot_connect(parse_url("ws://sandbox:8080"), "the proxy answered 407", "No", 407))
    'cannot connect to ws://sandbox:8080: the proxy answered 407'
    """
    message = f"cannot connect to {endpoint}: {text}"
    return ConnectionFailedError(message, status=status, reason=reason, retry_after=retry_after)


def system_failure(endpoint: Endpoint, error: OSError, stage: str = "") -> ConnectionFailedError:
    """The error to raise for an ``OSError``; ``stage`` is the step in which it came."""
    while_ = f" while {stage}" if stage else ""
    return cannot_connect(endpoint, f"{words(error)}{while_}{_advice(error)}", words(error))


def words(error: OSError) -> str:
    """The text of a system or TLS error, without OpenSSL's file and line."""
    import ssl  # here, so that it is imported with the modules of a connection, not with the package

    reason = getattr(error, "reason", None)  # not every SSLError has one
    if isinstance(error, ssl.SSLError) and reason:
        return str(reason).lower().replace("_", " ")
    return (error.strerror or type(error).__name__).lower()


def _advice(error: OSError) -> str:
    """Advice to append to the text of an error, if no descriptors are left; otherwise an empty string."""
    if error.errno == errno.EMFILE:
        limit = _descriptor_limit()
        number = "no more" if limit is None else str(limit)
        return f"; this process may have {number} open (ulimit -n): raise the limit, or make fewer calls at once"
    if error.errno == errno.ENFILE:
        return "; it is the machine's limit (on Linux, fs.file-max): raise it, or make fewer calls at once"
    return ""


def _descriptor_limit() -> Optional[int]:
    try:
        import resource
    except ImportError:  # Windows
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft
