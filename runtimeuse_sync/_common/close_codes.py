"""The meanings of WebSocket close codes (RFC 6455, section 7.4.1, and IANA's registry)."""

from __future__ import annotations

# Only codes that a peer may send, and whose meaning is more than that the connection is closed.
_MEANINGS = {
    1001: "the runtime, or a gateway before it, is going away: a shutdown, a restart, an idle limit",
    1002: "the runtime says that this client broke the WebSocket protocol",
    1003: "the runtime does not take messages of this kind",
    1007: "the runtime could not read a message as text",
    1008: "a rule of the runtime or of a gateway forbids it: a token that has run out, a quota, a size",
    1009: "the message was larger than the runtime takes",
    1010: "the runtime wants a WebSocket extension, and this client has none",
    1011: "the runtime ran into an error of its own",
    1012: "the runtime restarts",
    1013: "the runtime, or a gateway before it, has too much to do; try again later",
    1014: "a gateway got no valid answer from the runtime behind it",
    3000: "not authorised; check the token or headers",
    3003: "forbidden; check the token or headers",
    3008: "a time limit of the runtime or of a gateway has run out",
}
_TOO_LARGE = 1009


def explain(code: int, reason: str = "", *, largest_sent: int = 0) -> str:
    """The reason in words why a peer closed the connection with ``code``.

    Args:
        reason (str): the peer's own reason, without control characters.
        largest_sent (int): the size of the largest message that was sent, in bytes; 0 if it is not known.

    >>> explain(1005)
    'the runtime closed it (code 1005)'
    >>> explain(1000, "bye")
    'bye (code 1000)'
    >>> explain(1009, "Max payload size exceeded", largest_sent=120_000_000)
    'the message was larger than the runtime takes (120000000 bytes were sent): Max payload size exceeded (code 1009)'
    """
    meaning = _MEANINGS.get(code, "")
    if code == _TOO_LARGE and largest_sent:
        meaning += f" ({largest_sent} bytes were sent)"
    said = [part for part in (meaning, reason) if part]
    return f"{': '.join(said) or 'the runtime closed it'} (code {code})"
