"""The settings of a WebSocket connection, which a client and a transport share."""

from __future__ import annotations

import inspect
from typing import Any

import attrs
import pytest

from runtimeuse_sync import Client
from runtimeuse_sync._connection.settings import ConnectionSettings, by_name, changed
from runtimeuse_sync.transports import WebSocketTransport

OTHERS: dict[str, Any] = {
    "headers": {"X-A": "b"},
    "ssl_context": None,
    "proxy": None,
    "connect_timeout": 1,
    "ping_interval": None,
    "ping_timeout": 2,
    "max_message_size": 3,
}


def test_a_client_hands_all_of_them_to_its_transport() -> None:
    transport = Client("ws://h", **OTHERS)._transport
    assert isinstance(transport, WebSocketTransport)
    assert by_name(transport) == OTHERS


@pytest.mark.parametrize("cls", [Client, WebSocketTransport])
def test_both_take_them_by_name_and_with_the_same_defaults(cls: type) -> None:
    taken = inspect.signature(cls).parameters
    for field in attrs.fields(ConnectionSettings):
        assert taken[field.name].kind is inspect.Parameter.KEYWORD_ONLY
        assert taken[field.name].default == field.default


def test_those_that_differ_from_their_defaults() -> None:
    assert changed(ConnectionSettings()) == []
    assert changed(Client("ws://h")) == []
    assert changed(ConnectionSettings(**OTHERS)) == [name for name in OTHERS if name != "ssl_context"]
    assert changed(ConnectionSettings(max_message_size=64 * 1024 * 1024, connect_timeout=60)) == []


def test_headers_and_proxies_are_not_shown() -> None:
    assert "s3cret" not in repr(ConnectionSettings(headers={"X": "s3cret"}, proxy="http://u:s3cret@p"))
