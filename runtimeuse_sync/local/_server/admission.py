"""Access control of the opening handshake: a client that is admitted can run commands."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Optional

from attrs import field, frozen
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol

from ..._common.hosts import is_loopback
from ..._common.validation import kind, strings


def _is_token(_: object, __: object, value: Any) -> None:
    if value is not None and not (isinstance(value, str) and value.isascii() and value.isprintable() and value.strip()):
        raise ValueError("token must be a string of visible ASCII characters, as a header can carry it")


def _origins(values: object) -> tuple[str, ...]:
    return strings(values, "allowed_origins must be a list of strings, such as ['https://app.example.com']")


def _hosts(values: object) -> tuple[str, ...]:
    hosts = strings(values, "allowed_hosts must be a list of strings, such as ['runtime.internal']")
    return tuple(host.lower() for host in hosts)


@frozen
class Admission:
    """The rules for the opening handshake.

    Attributes:
        token (str or None): what ``Authorization: Bearer`` has to give.
        allowed_origins (tuple of str): the web pages that may connect.
        allowed_hosts (tuple of str): the names that clients may call this machine by, if there is no token.
        host (str): the address that is listened on, which is such a name too.
    """

    token: Optional[str] = field(repr=False, validator=_is_token)
    allowed_origins: Sequence[str] = field(converter=_origins)
    allowed_hosts: Sequence[str] = field(converter=_hosts, default=())
    host: str = field(default="127.0.0.1")

    @host.validator
    def _check_host(self, _: object, host: object) -> None:
        """Refuse to listen where others can connect, unless they need a token."""
        if not isinstance(host, str):
            raise TypeError(f"host must be a str, such as '127.0.0.1'; got {kind(host)}")
        if not is_loopback(host) and self.token is None:
            raise ValueError(
                f"host {host!r} can be reached from other machines, and a runtime runs commands:"
                " give it a token, or host='127.0.0.1'"
            )

    def refusal(self, protocol: ServerProtocol, request: Request) -> Optional[Response]:
        """The answer to a client that may not connect; None for one that may."""
        if not self._is_authorized(request):
            response = protocol.reject(HTTPStatus.UNAUTHORIZED, "A valid bearer token is needed.\n")
            response.headers["WWW-Authenticate"] = "Bearer"
            return response
        # A browser always tells the page's origin, and no other client does.
        if any(origin not in self.allowed_origins for origin in request.headers.get_all("Origin")):
            return protocol.reject(HTTPStatus.FORBIDDEN, "Connections from this origin are not allowed.\n")
        # Against DNS rebinding: a web page whose own name resolves to this machine sends that name as Host. Not needed
        # with a token, which the page would not have.
        if self.token is None and not self._is_called_rightly(request):
            return protocol.reject(HTTPStatus.FORBIDDEN, "This runtime is not called by that name (allowed_hosts).\n")
        return None

    def _is_authorized(self, request: Request) -> bool:
        if self.token is None:
            return True
        given = request.headers.get_all("Authorization")
        scheme, _, credentials = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        # Both are always compared, so that the time taken reveals nothing.
        given_bytes = credentials.strip().encode(errors="surrogateescape")
        is_right = hmac.compare_digest(given_bytes, self.token.encode())
        return is_right and scheme.lower() == "bearer"

    def _is_called_rightly(self, request: Request) -> bool:
        given = request.headers.get_all("Host")
        if len(given) != 1:
            return False
        name = _without_port(given[0].strip().lower())
        return is_loopback(name) or name.endswith(".localhost") or name in (*self.allowed_hosts, self.host)


def _without_port(authority: str) -> str:
    """The host of ``host:port``, without the brackets of an IPv6 address.

    >>> _without_port("localhost:80"), _without_port("[::1]:80"), _without_port("::1"), _without_port("a")
    ('localhost', '::1', '', 'a')
    """
    if authority.startswith("["):
        return authority[1:].partition("]")[0]
    return authority.partition(":")[0]
