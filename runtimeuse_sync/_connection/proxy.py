"""The choice of the HTTP proxy that a connection goes through, if any. Loopback addresses never go through one."""

from __future__ import annotations

import ipaddress
from typing import Any, Optional
from urllib.parse import urlsplit

import attrs

from .._common.tracebacks import hides_arguments
from .._common.validation import check_type
from .endpoint import UNPRINTABLE, Endpoint, basic_authorization
from .failures import cannot_connect

FROM_ENVIRONMENT = "env"
_UNREADABLE = "the proxy's URL cannot be parsed; write it as in 'http://proxy:3128'"


@attrs.frozen
class Proxy:
    """An HTTP proxy that is asked for a tunnel (CONNECT)."""

    host: str
    port: int
    authorization: Optional[str] = attrs.field(repr=False)


@hides_arguments
def check_setting(setting: Any) -> None:
    """Raise for a value of ``Client(proxy=…)`` that is not usable."""
    if setting is not None and setting != FROM_ENVIRONMENT:
        parse_proxy(setting)


def choose(endpoint: Endpoint, setting: Optional[str]) -> Optional[Proxy]:
    """The proxy for ``endpoint``: None, the environment's (``"env"``) or the one given."""
    if setting is None or endpoint.is_loopback:
        return None
    if setting != FROM_ENVIRONMENT:
        return parse_proxy(setting)
    try:
        return _from_environment(endpoint)
    except ValueError as error:
        complaint = str(error)
    # Raised here, where no variable holds the proxy's URL: error reporters show the variables of each frame.
    raise cannot_connect(
        endpoint,
        f"the environment's proxy (HTTPS_PROXY, HTTP_PROXY or ALL_PROXY) cannot be used: {complaint}; "
        "unset it, or give Client(..., proxy=None)",
        "bad proxy",
    )


def _from_environment(endpoint: Endpoint) -> Optional[Proxy]:
    url = _environment_proxy(endpoint)
    if url is None:
        return None
    return parse_proxy(url if "://" in url else f"http://{url}")


@hides_arguments
def parse_proxy(url: Any) -> Proxy:
    """Parse a proxy's URL.

    >>> parse_proxy("http://user:s3cret@proxy.example.com:3128")
    Proxy(host='proxy.example.com', port=3128)
    """
    check_type("proxy", url, str, "'env', None or a URL such as 'http://proxy:3128'")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(_UNREADABLE) from None
    if UNPRINTABLE.search(url):
        raise ValueError(_UNREADABLE)
    if parts.scheme != "http" or not host:
        raise ValueError("only HTTP proxies are supported: write the proxy as in 'http://proxy:3128', or None for none")
    return Proxy(host, 80 if port is None else port, basic_authorization(parts.username, parts.password))


def _environment_proxy(endpoint: Endpoint) -> Optional[str]:
    from urllib.request import getproxies  # imported late: it imports half of the standard library

    proxies = getproxies()
    scheme = "https" if endpoint.is_secure else "http"
    url = proxies.get(endpoint.scheme) or proxies.get(scheme) or proxies.get("all")
    return None if not url or _is_bypassed(endpoint, proxies.get("no", "")) else url


def _is_bypassed(endpoint: Endpoint, no_proxy: str) -> bool:
    from urllib.request import proxy_bypass

    # The standard library matches names by whole labels, "*" and ports; networks are matched below.
    if proxy_bypass(f"{endpoint.host}:{endpoint.port}"):
        return True
    try:
        address = ipaddress.ip_address(endpoint.host)
    except ValueError:
        return False
    return any(address in network for network in _networks(no_proxy))


def _networks(no_proxy: str) -> list[Any]:
    networks = []
    for entry in no_proxy.split(","):
        try:
            networks.append(ipaddress.ip_network(entry.strip(), strict=False))
        except ValueError:
            continue
    return networks
