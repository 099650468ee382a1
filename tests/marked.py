"""A pytest plugin, ``-p tests.marked``: adds secrets to the traffic of a suite, and says at its end which ones showed.

Each call of the suite carries a secret header, query, ``agent_env``, command ``env`` and ``secrets_to_redact``
beside its own. All loggers are on DEBUG, websocket-client's trace included. Looked through:
every log record, and every exception of this library that was made, with its pickle.
"""

from __future__ import annotations

import json
import logging
import pickle
from typing import Any, Callable

import attrs
import websocket

import runtimeuse_sync
from runtimeuse_sync import RuntimeUseError, exceptions, transports

MARK = "zq7secretzq7"
# Of the line that says what was found.
PREFIX = "marked: "


class Watch(logging.Handler):
    """Counts what is logged and raised, and keeps what shows a secret."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.log_records = self.exceptions = self.handshakes = 0
        self.shown: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if not record.name.startswith("websockets."):  # the other side's, in some tests
            self.log_records += 1
            self.look_at(f"{self.format(record)} {record.__dict__!r}")

    def look_at(self, text: str) -> None:
        if MARK in text:
            self.shown.append(text)


watch = Watch()


def pytest_configure() -> None:
    logging.getLogger().addHandler(watch)
    logging.getLogger().setLevel(logging.DEBUG)
    websocket.enableTrace(True, handler=watch)
    look_at_errors()
    mark_handshakes()
    mark_requests()


def look_at_errors() -> None:
    for cls in vars(exceptions).values():
        if isinstance(cls, type) and issubclass(cls, RuntimeUseError) and "__init__" in vars(cls):
            look_at_errors_of(cls)


def look_at_errors_of(cls: Any) -> None:
    init = cls.__init__

    def then_look(self: RuntimeUseError, *args: Any, **options: Any) -> None:
        init(self, *args, **options)
        watch.exceptions += 1
        watch.look_at(f"{self} {self!r} {vars(self)!r} {pickle.dumps(self, 0)!r}")

    cls.__init__ = then_look


def mark_handshakes() -> None:
    checked_headers, parse_url = transports.checked_headers, transports.parse_url

    def with_header(headers: Any) -> list[tuple[str, str]]:
        watch.handshakes += 1
        return [*checked_headers(headers), ("X-Marked", MARK)]

    def with_query(url: Any) -> Any:
        endpoint = parse_url(url)
        separator = "&" if "?" in endpoint.target else "?"
        return attrs.evolve(endpoint, target=f"{endpoint.target}{separator}marked={MARK}")

    transports.checked_headers = with_header
    transports.parse_url = with_query


def mark_requests() -> None:
    add_defaults(runtimeuse_sync.InvocationMessage, agent_env={"MARKED": MARK}, secrets_to_redact=[MARK])
    add_defaults(runtimeuse_sync.CommandExecutionMessage, secrets_to_redact=[MARK])
    add_defaults(runtimeuse_sync.CommandInterface, env={"MARKED": MARK})


def add_defaults(cls: type, **defaults: Any) -> None:
    init: Callable[..., None] = cls.__init__  # type: ignore[misc]

    def with_defaults(self: Any, **fields: Any) -> None:
        init(self, **{**defaults, **fields})

    cls.__init__ = with_defaults  # type: ignore[misc]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    report = {name: getattr(watch, name) for name in ("handshakes", "log_records", "exceptions", "shown")}
    terminalreporter.write_line(PREFIX + json.dumps(report))
