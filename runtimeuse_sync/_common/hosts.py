"""Functions on a host name or address: its form in a URL, and whether it is this machine. No look-up."""

from __future__ import annotations

import ipaddress
from functools import lru_cache


def bracketed(host: str) -> str:
    """``host`` as written in a URL or a Host header: an IPv6 address in brackets.

    >>> bracketed("::1"), bracketed("localhost")
    ('[::1]', 'localhost')
    """
    return f"[{host}]" if ":" in host else host


@lru_cache(maxsize=128)  # called at each connect, and parsing an address takes a twentieth of a one-shot call
def is_loopback(host: str) -> bool:
    """Whether ``host`` is this machine: a loopback address, ``localhost`` or a name below it (RFC 6761).

    >>> is_loopback("127.0.0.1"), is_loopback("box.localhost"), is_loopback("0.0.0.0"), is_loopback("")
    (True, True, False, False)
    """
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
