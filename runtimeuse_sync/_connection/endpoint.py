"""Parsing and checking of URLs and headers, before anything is sent. No I/O."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any, Callable, Optional, Union
from urllib.parse import SplitResult, quote, unquote, urlsplit

import attrs

from .._common.hosts import bracketed, is_loopback
from .._common.tracebacks import hides_arguments
from .._common.validation import check_callable, check_type, kind

Headers = Mapping[str, str]
HeaderSource = Union[Headers, Callable[[], Headers], None]

_SCHEMES = {"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}
_DEFAULT_PORTS = {"ws": 80, "wss": 443}
TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# Lone surrogates, which cannot be encoded.
UNPRINTABLE = re.compile(r"[\x00-\x20\x7f\ud800-\udfff]")
# RFC 7230: visible characters, and spaces or tabs between them. Above all no CR, LF or NUL.
_FIELD_VALUE = re.compile(r"(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?")
_HANDSHAKE_HEADERS = frozenset({"upgrade", "connection"})


@attrs.frozen
class Endpoint:
    """A parsed WebSocket URL. Its ``str`` omits what may be secret: user, path and query."""

    scheme: str
    host: str
    port: int
    target: str = attrs.field(repr=False)
    authorization: Optional[str] = attrs.field(repr=False)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"

    @property
    def authority(self) -> str:
        """``host[:port]``, as in the Host header."""
        host = bracketed(self.host)
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        return is_loopback(self.host)

    @property
    def is_secure(self) -> bool:
        return self.scheme == "wss"


@hides_arguments
def parse_url(url: Any) -> Endpoint:
    """Parse ``url``; ws, wss, http (means ws) and https (means wss).

    >>> str(parse_url("https://box.example.com/agent?token=s3cret"))
    'wss://box.example.com'
    """
    check_type("ws_url", url, str, "a str such as 'ws://localhost:8080'")
    if UNPRINTABLE.search(url):
        raise ValueError("ws_url has a space or a control character in it; percent-encode it")
    parts, port = _split(url)
    if parts.scheme not in _SCHEMES or not url[len(parts.scheme) :].startswith("://"):
        raise ValueError("ws_url must begin with ws://, wss://, http:// or https://, as in 'ws://localhost:8080'")
    if not parts.hostname:
        raise ValueError("ws_url names no host; write it as in 'ws://localhost:8080'")
    if parts.fragment:
        raise ValueError("ws_url has a fragment ('#…'), which WebSocket URLs must not have")
    scheme = _SCHEMES[parts.scheme]
    target = parts.path or "/"
    if parts.query:
        target += f"?{parts.query}"
    return Endpoint(
        scheme=scheme,
        host=_ascii_host(parts.hostname),
        port=_DEFAULT_PORTS[scheme] if port is None else port,
        target=quote(target, safe="/%?:@!$&'()*+,;=~-._[]|"),
        authorization=basic_authorization(parts.username, parts.password),
    )


def _split(url: str) -> tuple[SplitResult, Optional[int]]:
    # The standard library's own error text would quote what it could not parse, which may be a password.
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError("ws_url names a host that cannot be read; write it as in 'ws://localhost:8080'") from None
    try:
        return parts, parts.port
    except ValueError:
        raise ValueError("ws_url names a port that is not a number from 0 to 65535") from None


def _ascii_host(host: str) -> str:
    try:
        return host.encode("idna").decode()
    except UnicodeError:
        raise ValueError("ws_url has a host name that is not valid") from None


def basic_authorization(username: Optional[str], password: Optional[str]) -> Optional[str]:
    """The Authorization value for the user part of a URL, if it has one."""
    if username is None:
        return None
    credentials = f"{unquote(username)}:{unquote(password or '')}"
    return "Basic " + base64.b64encode(credentials.encode()).decode()


@hides_arguments
def check_header_source(headers: HeaderSource) -> None:
    """Check as much of ``headers`` as is possible before the first connect: a callable is not called."""
    if callable(headers):
        check_callable("headers", headers)
    else:
        checked_headers(headers)


def current_headers(source: HeaderSource) -> Any:
    """The headers to send now, not yet checked; a callable is called at each connect, since tokens expire."""
    return source() if callable(source) else source


@hides_arguments
def checked_headers(headers: Any) -> list[tuple[str, str]]:
    """The headers as they are sent; raises ``TypeError`` and ``ValueError`` for what HTTP forbids."""
    if headers is None:
        return []
    if not isinstance(headers, Mapping):
        raise TypeError(f"headers must be a mapping of str to str, or return one; got {kind(headers)}")
    return [_checked_header(name, value) for name, value in headers.items()]


def _checked_header(name: Any, value: Any) -> tuple[str, str]:
    if not isinstance(name, str) or not isinstance(value, str):
        raise TypeError("headers must map str to str")
    if not TOKEN.fullmatch(name):
        raise ValueError("a header name has characters that HTTP does not allow in it")
    if name.lower() in _HANDSHAKE_HEADERS or name.lower().startswith("sec-websocket-"):
        raise ValueError(f"the header {name} belongs to the WebSocket handshake; leave it out")
    if not _FIELD_VALUE.fullmatch(value):
        # The error does not quote the value: headers carry tokens.
        raise ValueError(f"the value of the header {name} has a line break, or another character that HTTP forbids")
    return name, value
