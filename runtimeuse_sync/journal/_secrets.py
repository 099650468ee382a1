"""Removal of what is never written to a journal: secrets, environment values, presigned URLs, queries of URLs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Optional
from urllib.parse import parse_qsl, urlsplit

import attrs

from .. import (
    ArtifactUploadResponseMessageInterface,
    Client,
    CommandExecutionMessage,
    CommandInterface,
    CommandOutputMessageInterface,
    HeartbeatMessageInterface,
    InvocationMessage,
    RawResult,
    Redactor,
    RuntimeEnvironmentDownloadableInterface,
    UnknownMessage,
)
from ._json import all_as_json

MARK = "[REDACTED]"

# Characters. A shorter value, such as "1" or "true", is not looked for in other texts: it would be found everywhere.
# In headers and queries even longer words are no secrets, such as "europe". ``secrets_to_redact`` are looked for
# whatever their length.
_SHORTEST, _SHORTEST_OF_CLIENT = 6, 8
# In JSON text, where whatever ends a URL is a quote, a backslash, or white space: user and password, and the query.
_USER = re.compile(r'://(?:[^\s"\\/?#@]*@)+')
_QUERY = re.compile(r'(://[^\s"\\?<>]*\?)(?:[^\s"\\<>]|\\u[0-9a-f]{4}|\\\\)+')
# What a result consists of, whatever a secret may read.
_OF_RESULTS = frozenset({"message_type", "data", "structured_output", "metadata"})
_STREAMS = ("stdout", "stderr")


class Secrets:
    """The secrets of one call. Encodes messages as JSON without them."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._redactor = Redactor(texts)
        # As JSON writes them, so that a batch is searched as a whole.
        self._escaped = tuple(json.dumps(text)[1:-1] for text in self._redactor.secrets)

    def including(self, message: Any) -> Secrets:
        """These secrets, and those of ``message``, which is being sent."""
        texts = set(_secrets_of(message)) - self._redactor.secrets
        return Secrets(self._redactor.secrets | texts) if texts else self

    def as_json(self, message: Any) -> str:
        """``message`` as the wire's JSON, on one line."""
        return self._clean(_without_fields(message))

    def joined(self, received: Sequence[Any], separator: str) -> str:
        """Received messages as JSON, joined by ``separator``. Mostly one search through all of it is enough."""
        everything = separator.join(all_as_json(received))
        if _may_hold_urls(everything) or self._holds_any(everything):
            return separator.join(map(self._clean, received))
        return everything

    def _clean(self, message: Any) -> str:
        [text] = all_as_json([message])
        if self._holds_any(text):
            [text] = all_as_json([self._redacted(message)])
        return without_queries(text) if _may_hold_urls(text) else text

    def _holds_any(self, text: str) -> bool:
        return any(secret in text for secret in self._escaped)

    def value(self, value: Any) -> Any:
        """A plain value without secrets."""
        return self._redactor.value(value)

    def _redacted(self, message: Any) -> Any:
        redact = self._redactor
        if isinstance(message, RawResult):
            return RawResult(dict(self._fields_of_result(message.fields)))
        if isinstance(message, CommandOutputMessageInterface) and message.stream not in _STREAMS:
            return attrs.evolve(redact.value(message), stream=redact.text(message.stream))
        if isinstance(message, HeartbeatMessageInterface):
            return attrs.evolve(message, phase=redact.text(message.phase))
        if isinstance(message, UnknownMessage):
            return attrs.evolve(message, message_type=redact.text(message.message_type))
        return redact.value(message)

    def _fields_of_result(self, fields: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        for name, value in fields.items():
            if name == "message_type":
                yield name, value
            elif name == "data" and isinstance(value, dict):
                yield name, {key: item if key == "type" else self.value(item) for key, item in value.items()}
            elif name in _OF_RESULTS:
                yield name, self.value(value)
            else:
                yield from self.value({name: value}).items()


def without_queries(text: str) -> str:
    """JSON text whose URLs have neither user nor query.

    >>> without_queries('"see https://me:pw@example.com/a?sig=1&b=2."')
    '"see https://[REDACTED]@example.com/a?[REDACTED]"'
    """
    return _QUERY.sub(rf"\1{MARK}", _USER.sub(f"://{MARK}@", text))


def _may_hold_urls(text: str) -> bool:
    """Whether there may be one with a user or a query. To look for one character takes a tenth of the time."""
    return ("?" in text or "@" in text) and "://" in text


def secrets_of_client(client: Client) -> Secrets:
    """The secrets that a client connects with: the values of its headers, user and query of its URL."""
    headers = client.headers if isinstance(client.headers, Mapping) else {}
    words = [part for value in headers.values() for part in (str(value), *str(value).split())]
    return Secrets(_long_enough([*words, *_parts_of_url(client.ws_url or "")], _SHORTEST_OF_CLIENT))


# --- what a message of the client holds -----------------------------------------------------------------


def _secrets_of(message: Any) -> Iterator[str]:
    if isinstance(message, ArtifactUploadResponseMessageInterface):
        yield from _long_enough(_of_url(message.presigned_url))
    if not isinstance(message, (InvocationMessage, CommandExecutionMessage)):
        return
    yield from filter(None, message.secrets_to_redact)
    environments = [getattr(message, "agent_env", None), *(command.env for command in _commands(message))]
    for environment in environments:
        yield from _long_enough((environment or {}).values())
    for downloadable in _downloadables(message):
        yield from _long_enough(_of_url(downloadable.download_url))


def _long_enough(texts: Iterable[str], shortest: int = _SHORTEST) -> Iterator[str]:
    return (text for text in texts if len(text) >= shortest)


def _of_url(url: str) -> Iterator[str]:
    """A URL that is secret, and its parts. One of ``data:`` is content."""
    if not url.startswith("data:"):
        yield url
        yield from _parts_of_url(url)


def _parts_of_url(url: str) -> Iterator[str]:
    """Those parts of a URL that let somebody in."""
    try:
        parts = urlsplit(url)
        yield from filter(None, (parts.query, parts.password))
    except ValueError:
        return
    yield from (value for _, value in parse_qsl(parts.query))


def _commands(message: Any) -> Iterator[CommandInterface]:
    for name in _COMMANDS:
        yield from getattr(message, name, None) or ()


def _downloadables(message: Any) -> Iterator[RuntimeEnvironmentDownloadableInterface]:
    for name in _DOWNLOADABLES:
        yield from getattr(message, name, None) or ()


_COMMANDS = ("commands", "pre_agent_invocation_commands", "post_agent_invocation_commands")
_DOWNLOADABLES = ("pre_agent_downloadables", "pre_execution_downloadables")


# --- fields that hold nothing else ----------------------------------------------------------------------


def _without_fields(message: Any) -> Any:
    """``message`` with a mark in the place of each value that is secret by its name."""
    if isinstance(message, ArtifactUploadResponseMessageInterface):
        return attrs.evolve(message, presigned_url=MARK)
    if not isinstance(message, (InvocationMessage, CommandExecutionMessage)):
        return message
    changes: dict[str, Any] = {"secrets_to_redact": [MARK for _ in message.secrets_to_redact]}
    for names, hide in ((_COMMANDS, _without_env), (_DOWNLOADABLES, _without_url)):
        for name in names:
            items = getattr(message, name, None)
            if items is not None:
                changes[name] = [hide(item) for item in items]
    if getattr(message, "agent_env", None) is not None:
        changes["agent_env"] = _marked(message.agent_env)  # type: ignore[union-attr]
    return attrs.evolve(message, **changes)


def _without_env(command: CommandInterface) -> CommandInterface:
    return attrs.evolve(command, env=_marked(command.env))


def _without_url(downloadable: RuntimeEnvironmentDownloadableInterface) -> RuntimeEnvironmentDownloadableInterface:
    return attrs.evolve(downloadable, download_url=MARK)


def _marked(environment: Optional[Mapping[str, str]]) -> Optional[dict[str, str]]:
    return None if environment is None else dict.fromkeys(environment, MARK)
