"""The HTTP of the WebSocket handshake: building requests, parsing and checking answers. No I/O.

Answers are parsed as RFC 9110 and 9112 allow: interim answers, repeated and folded lines, a bare LF at the end of a
line, lists with empty elements. An answer that two parsers could understand differently is refused.

websocket-client, which is used only here, makes the request for the upgrade and checks its answer. It is given a
stand-in for the socket, which hides from it the query string, the user's headers and cookies (it logs them, or keeps
them for other connections), and refuses what it would accept: redirects, and extensions that were not offered.
"""

from __future__ import annotations

import re
from typing import Any, Callable, Optional

import attrs

from .._common.hosts import bracketed
from .._common.words import harmless
from ..exceptions import ConnectionFailedError
from .endpoint import TOKEN, Endpoint
from .failures import cannot_connect
from .proxy import Proxy

# Bytes of an answer's head, together with the heads of the interim answers before it.
MAX_HEAD = 64 * 1024
# Interim answers before the final one: a busy gateway sends one every few seconds.
MAX_INTERIM = 32
# Characters of a reason phrase.
_LONGEST_REASON = 100
# The URL that websocket-client is given: no cookie in its process-wide jar is for this host.
_NOBODY = "ws://handshake.invalid/"

_STATUS_LINE = re.compile(r"HTTP/1\.[0-9] ([1-9][0-9][0-9])(?: (.*))?")
_END_OF_HEAD = re.compile(rb"\n\r?\n")
_FOLD = re.compile(r"\r?\n[ \t]+")
_SECONDS = re.compile(r"[0-9]{1,6}")
_UNREADABLE = re.compile(r"[\r\0]")
_NOT_VISIBLE_ASCII = re.compile(r"[^\t\x20-\x7e]")


# --- requests ---------------------------------------------------------------------------------------


def tunnel_request(endpoint: Endpoint, proxy: Proxy) -> bytes:
    """The request to a proxy for a tunnel to the endpoint."""
    target = f"{bracketed(endpoint.host)}:{endpoint.port}"
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if proxy.authorization is not None:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    return "\r\n".join([*lines, "", ""]).encode()


def upgrade_request(draft: bytes, endpoint: Endpoint, headers: list[tuple[str, str]]) -> bytes:
    """websocket-client's request (``draft``), with the real target and the user's headers put in."""
    extra = list(headers)
    names = {name.lower() for name, _ in extra}
    if endpoint.authorization is not None and "authorization" not in names:
        extra.append(("Authorization", endpoint.authorization))
    lines = draft.decode().split("\r\n")[1:-2]
    kept = [line for line in lines if line.partition(":")[0].lower() not in names]
    added = [f"{name}: {value}" for name, value in extra]
    return "\r\n".join([f"GET {endpoint.target} HTTP/1.1", *kept, *added, "", ""]).encode("latin-1")


# --- answers ----------------------------------------------------------------------------------------


@attrs.frozen(eq=False, repr=False)
class Answer:
    """The head of an HTTP answer.

    Attributes:
        status (int): from 100 to 999.
        reason (str): the reason phrase, without control characters.
        headers (dict of str to str): keyed by lower-case name; the values of repeated lines are joined by commas.
    """

    status: int
    reason: str
    headers: dict[str, str]

    @property
    def is_interim(self) -> bool:
        """Whether another answer follows. 101 is final: WebSocket follows."""
        return 100 <= self.status < 200 and self.status != 101

    def __str__(self) -> str:
        return f"{self.status} {self.reason}".rstrip()

    @property
    def retry_after(self) -> Optional[float]:
        """Seconds of ``Retry-After``; None without one, and for a date, since the two clocks may differ."""
        value = self.headers.get("retry-after", "")
        return float(value) if _SECONDS.fullmatch(value) else None

    def elements(self, name: str) -> list[str]:
        """The elements of a header that is a list, without empty ones (RFC 9110, section 5.6.1)."""
        return [element for element in (part.strip(" \t") for part in self.headers.get(name, "").split(",")) if element]


class AnswerReader:
    """An incremental parser that returns the head of the final answer, and skips interim answers.

    Args:
        endpoint (Endpoint): named in errors.
        speaker (str): the subject in errors: the server, as "it", or the proxy.
    """

    def __init__(self, endpoint: Endpoint, speaker: str = "it") -> None:
        self._endpoint = endpoint
        self._speaker = speaker
        self._data = bytearray()
        self._searched = 0  # up to where no end of a head begins
        self._size = 0  # bytes of the heads so far
        self._passed_over = 0

    def feed(self, data: bytes) -> Optional[Answer]:
        """Add ``data``; return the final answer once its head is complete. Raises ``ConnectionFailedError``."""
        self._data += data
        answer = self._next()
        while answer is not None and answer.is_interim:
            self._passed_over += 1
            if self._passed_over > MAX_INTERIM:
                raise self._failure(f"sent more than {MAX_INTERIM} interim answers", "too many interim answers")
            answer = self._next()
        return answer

    def rest(self) -> bytes:
        """The data received after the head."""
        return bytes(self._data)

    def _next(self) -> Optional[Answer]:
        end = _END_OF_HEAD.search(self._data, self._searched)
        size = len(self._data) if end is None else end.end()
        if self._size + size > MAX_HEAD:
            raise self._failure(f"sent an answer whose header is longer than {MAX_HEAD} bytes", "header too long")
        if end is None:
            self._searched = max(0, size - 2)
            return None
        head = self._data[: end.start()].decode("latin-1")
        del self._data[:size]
        self._size, self._searched = self._size + size, 0
        return self._parse(head)

    def _parse(self, head: str) -> Answer:
        first, _, rest = head.partition("\n")
        status_line = _STATUS_LINE.fullmatch(_without_end(first))
        if status_line is None or _UNREADABLE.search(status_line[0]):
            raise self._failure("does not answer in HTTP", "not HTTP")
        headers = parse_fields(rest)
        if headers is None:
            raise self._failure("sent an answer with a malformed header", "malformed header")
        return Answer(int(status_line[1]), harmless((status_line[2] or "").strip(), _LONGEST_REASON), headers)

    def _failure(self, text: str, reason: str) -> ConnectionFailedError:
        return cannot_connect(self._endpoint, f"{self._speaker} {text}", reason)


def parse_fields(text: str) -> Optional[dict[str, str]]:
    r"""The header fields of an answer, or None if they are malformed.

    >>> parse_fields("Connection: keep-alive\r\nCONNECTION:\r\n Upgrade \r")
    {'connection': 'keep-alive, Upgrade'}
    >>> parse_fields("Upgrade : websocket")
    """
    if text[:1] in (" ", "\t"):  # it would continue the status line
        return None
    fields: dict[str, list[str]] = {}
    for line in _FOLD.sub(" ", text).split("\n") if text else ():
        name, colon, value = _without_end(line).partition(":")
        if not colon or not TOKEN.fullmatch(name) or _UNREADABLE.search(value):
            return None
        fields.setdefault(name.lower(), []).append(value.strip(" \t"))
    return {name: ", ".join(values) for name, values in fields.items()}


def _without_end(line: str) -> str:
    """``line`` without the CR of a CR LF."""
    return line[:-1] if line.endswith("\r") else line


# --- checks -----------------------------------------------------------------------------------------


def check_tunnel(answer: Answer, rest: bytes, endpoint: Endpoint) -> None:
    """Raise ``ConnectionFailedError`` unless the proxy has opened the tunnel."""
    if not 200 <= answer.status < 300:
        raise cannot_connect(endpoint, f"the proxy answered {answer}", answer.reason, answer.status)
    # The answer has no body, whatever its headers say (RFC 9110, section 9.3.6), and nothing was sent through the
    # tunnel that could have been answered.
    if rest:
        raise cannot_connect(endpoint, "the proxy sent data before the tunnel was used", "bad proxy")


def upgrade(endpoint: Endpoint, headers: list[tuple[str, str]], exchange: Callable[[bytes], Answer]) -> None:
    """Have websocket-client make the request and check the answer; raises ``ConnectionFailedError``.

    ``exchange`` sends the request and returns the answer; its exceptions are raised unchanged.
    """
    import websocket  # imported late: it takes as long as this package

    stand_in = _StandIn(endpoint, headers, exchange)
    peer: Any = websocket.WebSocket(enable_multithread=False)
    try:
        peer.connect(_NOBODY, socket=stand_in, host=endpoint.authority, suppress_origin=True, redirect_limit=0)
    except Exception as error:
        if stand_in.error is not None:
            raise stand_in.error from None
        raise cannot_connect(endpoint, "its answer is no valid WebSocket upgrade", "bad upgrade") from error
    finally:
        peer.sock = None


class _StandIn:
    """The object that websocket-client uses as its socket during the handshake."""

    def __init__(self, endpoint: Endpoint, headers: list[tuple[str, str]], exchange: Callable[[bytes], Answer]) -> None:
        self.error: Optional[BaseException] = None  # raised by ``send``; websocket-client replaces some
        self._endpoint = endpoint
        self._headers = headers
        self._exchange = exchange
        self._answer = b""

    def send(self, draft: bytes) -> int:
        try:
            answer = self._exchange(upgrade_request(draft, self._endpoint, self._headers))
            check_upgrade(answer, self._endpoint)
        except BaseException as error:
            self.error = error
            raise
        self._answer = _to_be_judged(answer)
        return len(draft)

    def recv(self, size: int) -> bytes:
        """Return a line, then its end, whatever ``size`` says: one byte at a time took a tenth of a call's time."""
        line, end, rest = self._answer.partition(b"\n")
        self._answer = rest if not line else end + rest
        return line or end

    def gettimeout(self) -> Optional[float]:
        return None

    def close(self) -> None:
        """Do nothing: the real socket is closed by whoever opened it."""


def _to_be_judged(answer: Answer) -> bytes:
    """The lines of the answer for websocket-client to check. It strips any white space, so only ASCII is left in."""
    names = ("upgrade", "connection", "sec-websocket-accept")
    fields = [f"{name}: {answer.headers[name]}" for name in names if name in answer.headers]
    lines = ["HTTP/1.1 101 Switching Protocols", *fields, "", ""]
    return "\r\n".join(_NOT_VISIBLE_ASCII.sub("?", line) for line in lines).encode()


def check_upgrade(answer: Answer, endpoint: Endpoint) -> None:
    """Raise for an answer that websocket-client would accept, or refuse with a poor explanation."""
    if answer.status != 101:
        raise cannot_connect(endpoint, _refusal(answer), answer.reason, answer.status, answer.retry_after)
    for name in ("sec-websocket-extensions", "sec-websocket-protocol"):
        if answer.elements(name):
            raise cannot_connect(endpoint, f"it chose a {name} that was not offered", "bad upgrade", 101)
    # A 101 has no body, whatever its headers say (RFC 9112, section 6.3), but an intermediary may think that it has.
    lengths = set(answer.elements("content-length"))
    if lengths - {"0"} or (lengths and "transfer-encoding" in answer.headers):
        raise cannot_connect(endpoint, "it announced a body with the upgrade, which has none", "bad upgrade", 101)


_IS_STARTING = "the sandbox may still be starting; use wait_until_ready()"
_CHECK_THE_TOKEN = "check the token or headers"
_HINTS = {
    401: _CHECK_THE_TOKEN,
    403: _CHECK_THE_TOKEN,
    404: "nothing there speaks WebSocket (yet); check the URL's path, or use wait_until_ready()",
    **dict.fromkeys((425, 429, 500, 502, 503, 504, *range(520, 531)), _IS_STARTING),
}


def _refusal(answer: Answer) -> str:
    if 300 <= answer.status < 400:
        return f"it answered {answer}; redirects are not followed, since the headers would go along: give the final URL"
    return f"it answered {answer}, not 101 (WebSocket); {_HINTS.get(answer.status, 'is this the URL of a runtime?')}"
