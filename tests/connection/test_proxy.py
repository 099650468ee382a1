"""Which proxy, if any. The environment is set by each test, and empty otherwise."""

from __future__ import annotations

import base64
import os
from typing import Any, Optional

import pytest

from runtimeuse_sync import ConnectionFailedError
from runtimeuse_sync._connection.endpoint import parse_url
from runtimeuse_sync._connection.proxy import Proxy, check_setting, choose, parse_proxy

SECRET = "s3cret"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name == "REQUEST_METHOD":
            monkeypatch.delenv(name)


def from_environment(url: str) -> Optional[str]:
    """The host of the proxy that a connection to ``url`` goes through."""
    proxy = choose(parse_url(url), "env")
    return None if proxy is None else proxy.host


# --- a proxy's URL ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("http://proxy:3128", "proxy", 3128),
        ("http://proxy", "proxy", 80),
        ("http://proxy:0", "proxy", 0),
        ("HTTP://Proxy.Example.COM:8080/", "proxy.example.com", 8080),
        ("http://[2001:db8::1]:3128", "2001:db8::1", 3128),
    ],
)
def test_a_proxy_has_a_host_and_a_port(url: str, host: str, port: int) -> None:
    assert parse_proxy(url) == Proxy(host, port, None)


def test_a_proxy_may_want_a_password_which_is_not_shown() -> None:
    proxy = parse_proxy(f"http://us%40er:{SECRET}@proxy:3128")
    assert proxy.authorization == "Basic " + base64.b64encode(f"us@er:{SECRET}".encode()).decode()
    assert repr(proxy) == "Proxy(host='proxy', port=3128)"


HTTP_ONLY = "only HTTP proxies are supported: write the proxy as in 'http://proxy:3128', or None for none"
UNREADABLE = "the proxy's URL cannot be parsed; write it as in 'http://proxy:3128'"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", HTTP_ONLY),
        ("proxy:3128", HTTP_ONLY),
        ("https://user:s3cret@proxy", HTTP_ONLY),
        ("socks5://user:s3cret@proxy:1080", HTTP_ONLY),
        ("http://", HTTP_ONLY),
        ("http://user:s3cret@", HTTP_ONLY),
        ("http://proxy:s3cret", UNREADABLE),
        ("http://proxy:65536", UNREADABLE),
        ("http://[::1", UNREADABLE),
        ("http://user:s3cret@pr℀xy", UNREADABLE),
    ],
)
def test_a_proxy_that_cannot_be_used_is_refused_without_its_password(url: str, said: str) -> None:
    for refuse in (parse_proxy, check_setting):
        with pytest.raises(ValueError, match="proxy") as caught:
            refuse(url)
        assert str(caught.value) == said
        assert caught.value.__cause__ is None


@pytest.mark.parametrize(("url", "kind"), [(True, "bool"), (3128, "int"), (b"http://proxy", "bytes"), ({}, "dict")])
def test_a_proxy_is_a_str(url: Any, kind: str) -> None:
    for refuse in (parse_proxy, check_setting):
        with pytest.raises(TypeError) as caught:
            refuse(url)
        assert str(caught.value) == f"proxy must be 'env', None or a URL such as 'http://proxy:3128'; got a {kind}"


@pytest.mark.parametrize("setting", [None, "env", "http://proxy:3128"])
def test_a_setting_that_can_be_used(setting: Optional[str]) -> None:
    check_setting(setting)


def test_what_the_environment_says_is_no_matter_of_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://proxy")
    check_setting("env")


# --- which one ------------------------------------------------------------------------------------------------


def test_none_is_none_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://proxy:3128")
    assert choose(parse_url("wss://box.example.com"), None) is None


def test_the_one_given_is_taken_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://other:3128")
    monkeypatch.setenv("NO_PROXY", "*")
    assert choose(parse_url("wss://box.example.com"), "http://mine:3128") == Proxy("mine", 3128, None)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "box.localhost"])
@pytest.mark.parametrize("setting", ["env", "http://proxy:3128"])
def test_loopback_never_goes_through_one(monkeypatch: pytest.MonkeyPatch, host: str, setting: str) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://proxy:3128")
    assert choose(parse_url(f"ws://{host}:8080"), setting) is None


def test_without_one_there_is_none() -> None:
    assert from_environment("wss://box.example.com") is None


@pytest.mark.parametrize(
    ("url", "proxy"),
    [("ws://h", "for-http"), ("http://h", "for-http"), ("wss://h", "for-https"), ("https://h", "for-https")],
)
@pytest.mark.parametrize("change", [str.upper, str.lower])
def test_the_environment_has_one_for_each_scheme(
    monkeypatch: pytest.MonkeyPatch, url: str, proxy: str, change: Any
) -> None:
    monkeypatch.setenv(change("http_proxy"), "http://for-http:3128")
    monkeypatch.setenv(change("https_proxy"), "http://for-https:3128")
    monkeypatch.setenv(change("all_proxy"), "http://for-all:3128")
    assert from_environment(url) == proxy


def test_a_web_socket_s_own_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSS_PROXY", "http://for-wss:3128")
    monkeypatch.setenv("HTTPS_PROXY", "http://for-https:3128")
    assert from_environment("https://h") == "for-wss"
    monkeypatch.setenv("HTTP_PROXY", "http://for-http:3128")
    assert from_environment("ws://h") == "for-http"


def test_the_one_for_all_comes_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://for-all:3128")
    monkeypatch.setenv("HTTPS_PROXY", "http://for-https:3128")
    assert (from_environment("ws://h"), from_environment("wss://h")) == ("for-all", "for-https")


def test_an_empty_one_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "")
    assert from_environment("wss://h") is None


def test_the_environment_may_leave_out_the_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "user:pass@proxy:3128")
    assert choose(parse_url("wss://h"), "env") == parse_proxy("http://user:pass@proxy:3128")


def test_one_that_cannot_be_used_is_not_passed_over_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"socks5://user:{SECRET}@proxy:1080")
    said = r"^cannot connect to wss://h: the environment's proxy .* only HTTP proxies .*; unset it, or give Client\("
    with pytest.raises(ConnectionFailedError, match=said) as caught:
        from_environment("wss://h")
    assert SECRET not in str(caught.value)


# --- NO_PROXY ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("no_proxy", "url", "is_bypassed"),
    [
        ("*", "wss://box.example.com", True),
        ("", "wss://box.example.com", False),
        ("example.com", "wss://example.com", True),
        ("example.com", "wss://box.example.com", True),
        (".example.com", "wss://box.example.com", True),
        ("example.com", "wss://a.b.example.com:8443", True),
        ("EXAMPLE.com", "wss://Box.Example.COM", True),
        # What websocket-client gets wrong: a suffix of letters is none of labels.
        ("example.com", "wss://notexample.com", False),
        (".example.com", "wss://notexample.com", False),
        ("example.com", "wss://example.com.evil.org", False),
        ("box.example.com", "wss://example.com", False),
        ("a.org, example.com ,b.org", "wss://example.com", True),
        ("example.com:8443", "wss://example.com:8443", True),
        ("example.com:8443", "wss://example.com", False),
        ("example.com:443", "wss://example.com", True),
        ("10.0.0.1", "ws://10.0.0.1:8080", True),
        ("10.0.0.1", "ws://10.0.0.2:8080", False),
        ("10.0.0.0/8", "ws://10.200.3.4", True),
        ("10.0.0.0/8", "ws://11.0.0.1", False),
        ("10.0.0.1/8", "ws://10.200.3.4", True),
        ("nonsense/8, 192.168.0.0/16", "ws://192.168.1.1", True),
        (" 192.168.0.0/16 ", "ws://192.168.1.1", True),
        ("10.0.0.0/8", "ws://10.example.com", False),
        ("2001:db8::/32", "ws://[2001:db8::5]:8080", True),
        ("2001:db8::1", "ws://[2001:DB8::1]:8080", True),
        ("2001:db8::/32", "ws://[2001:db9::5]:8080", False),
        ("2001:db8::/32", "ws://10.0.0.1", False),
    ],
)
def test_what_goes_through_none(monkeypatch: pytest.MonkeyPatch, no_proxy: str, url: str, is_bypassed: bool) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert from_environment(url) == (None if is_bypassed else "proxy")


def test_the_one_given_is_not_bypassed_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "h")
    assert choose(parse_url("wss://h"), "http://mine:3128") == Proxy("mine", 3128, None)
