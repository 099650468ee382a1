"""Who may connect: a runtime runs commands for whoever gets in."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Optional

from attrs import field, frozen
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection

from ..._common.hosts import is_loopback
from ..._common.validation import kind, strings


def _is_token(_: object, __: object, value: Any) -> None:
    if value is not None and not (isinstance(value, str) and value.isascii() and value.isprintable() and value.strip()):
        raise ValueError("token must be a string of visible ASCII characters, as a header can carry it")


def _origins(values: object) -> tuple[str, ...]:
    return strings(values, "allowed_origins must be a list of strings, such as ['https://app.example.com']")


@frozen
class Admission:
    """The rules for the opening handshake.

    Attributes:
        token (str or None): what ``Authorization: Bearer`` has to give.
        allowed_origins (tuple of str): the web pages that may connect.
    """

    token: Optional[str] = field(repr=False, validator=_is_token)
    allowed_origins: Sequence[str] = field(converter=_origins)

    def check_host(self, host: str) -> None:
        """Refuse to listen where others can connect, unless they need a token."""
        if not isinstance(host, str):
            raise TypeError(f"host must be a str, such as '127.0.0.1'; got {kind(host)}")
        if not is_loopback(host) and self.token is None:
            raise ValueError(
                f"host {host!r} can be reached from other machines, and a runtime runs commands:"
                " give it a token, or host='127.0.0.1'"
            )

    def __call__(self, connection: ServerConnection, request: Request) -> Optional[Response]:
        """None to let the handshake go on; what ``websockets`` asks."""
        if not self._is_authorized(request):
            response = connection.respond(HTTPStatus.UNAUTHORIZED, "A valid bearer token is needed.\n")
            response.headers["WWW-Authenticate"] = "Bearer"
            return response
        # A browser always tells the page's origin, and no other client does.
        if any(origin not in self.allowed_origins for origin in request.headers.get_all("Origin")):
            return connection.respond(HTTPStatus.FORBIDDEN, "Connections from this origin are not allowed.\n")
        return None

    def _is_authorized(self, request: Request) -> bool:
        if self.token is None:
            return True
        given = request.headers.get_all("Authorization")
        scheme, _, credentials = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        # Both are looked at in any case, so that the time taken tells neither.
        given_bytes = credentials.strip().encode(errors="surrogateescape")
        is_right = hmac.compare_digest(given_bytes, self.token.encode())
        return is_right and scheme.lower() == "bearer"
