"""What a host is, told from its text alone, for the client and the local runtime alike."""

from __future__ import annotations

import pytest

from runtimeuse_sync._common.hosts import bracketed, is_loopback


@pytest.mark.parametrize(
    ("host", "written"),
    [
        ("localhost", "localhost"),
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "[::1]"),
        ("2001:db8::1", "[2001:db8::1]"),
        ("fe80::1%eth0", "[fe80::1%eth0]"),
    ],
)
def test_an_ipv6_address_stands_in_brackets(host: str, written: str) -> None:
    assert bracketed(host) == written


LOOPBACK = [
    "localhost",
    "LOCALHOST",
    "localhost.",
    "box.localhost",
    "Box.Localhost.",
    "127.0.0.1",
    "127.255.255.254",
    "::1",
    "0:0:0:0:0:0:0:1",
    "::ffff:127.0.0.1",
]
ELSEWHERE = [
    "",
    ".",
    "0.0.0.0",
    "::",
    "10.0.0.1",
    "128.0.0.1",
    "2001:db8::1",
    "::ffff:10.0.0.1",
    "::ffff:0.0.0.0",
    "notlocalhost",
    "localhost.example.com",
    "127.0.0.1.example.com",
    "[::1]",
]


@pytest.mark.parametrize("host", LOOPBACK)
def test_loopback_is_this_very_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ELSEWHERE)
def test_others_are_not(host: str) -> None:
    assert not is_loopback(host)
