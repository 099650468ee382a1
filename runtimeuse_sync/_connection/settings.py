"""The settings of a WebSocket connection apart from its URL, with their defaults and checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional

import attrs

from .._common.validation import check_seconds, check_size, check_type
from . import proxy
from .endpoint import HeaderSource, check_header_source

if TYPE_CHECKING:
    import ssl

# Bytes. Large enough for large results; it limits the memory that one message takes.
_MAX_MESSAGE_SIZE = 64 * 1024 * 1024


@attrs.frozen(kw_only=True, eq=False)
class ConnectionSettings:
    """The settings, as a base class. They are documented at ``Client``."""

    headers: HeaderSource = attrs.field(default=None, repr=False)
    ssl_context: Optional[ssl.SSLContext] = attrs.field(default=None, repr=False)
    proxy: Optional[str] = attrs.field(default=proxy.FROM_ENVIRONMENT, repr=False)
    connect_timeout: Optional[float] = 60.0
    ping_interval: Optional[float] = 20.0
    ping_timeout: Optional[float] = 20.0
    max_message_size: Optional[int] = _MAX_MESSAGE_SIZE


def check_settings(settings: ConnectionSettings) -> None:
    """Raise ``TypeError`` or ``ValueError`` for settings that are not usable."""
    check_header_source(settings.headers)
    proxy.check_setting(settings.proxy)
    check_seconds("connect_timeout", settings.connect_timeout)
    check_seconds("ping_interval", settings.ping_interval, none_means="no pings")
    check_seconds("ping_timeout", settings.ping_timeout)
    check_size("max_message_size", settings.max_message_size)
    if settings.ssl_context is not None:
        import ssl  # who has a context has imported it

        check_type("ssl_context", settings.ssl_context, ssl.SSLContext, "an ssl.SSLContext")


def by_name(settings: ConnectionSettings) -> dict[str, Any]:
    """The connection settings of an object that may have more, as keyword arguments for another such object.

    >>> by_name(ConnectionSettings(ping_interval=5))["ping_interval"]
    5
    """
    return {field.name: getattr(settings, field.name) for field in attrs.fields(ConnectionSettings)}


def changed(settings: ConnectionSettings) -> list[str]:
    """The names of the settings that are not at their default.

    >>> changed(ConnectionSettings(ping_interval=5, proxy=None))
    ['proxy', 'ping_interval']
    """
    defaults = by_name(ConnectionSettings())
    return [name for name, value in by_name(settings).items() if value != defaults[name]]
