"""``Cassette``: the calls of a test from a file instead of a runtime; and connections that nobody wanted, refused.

Clients are made anywhere, in the code under test. So what all of them connect by is replaced for the time of a test.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import threading
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Callable

from .._files import sandbox
from .._titles import title
from ..client import Client
from ..journal import Replay, ReplayError, record
from ..transports import Connection, WebSocketTransport

# The original functions, before a cassette replaces them.
_connection = WebSocketTransport.connection
_call_settings = Client._call_settings

OnMissing = Callable[[str], None]


class Cassette:
    """The calls of one test, recorded or played: what the fixture ``runtime_cassette`` gives.

    Attributes:
        path (pathlib.Path): the journal that they are in.
        is_recording (bool): whether they are real ones, which make the journal. Else nothing is connected.
        missing (list[str]): calls that were made and are not in the journal.

    >>> Cassette(Path("cassettes/test_it.jsonl"), is_recording=False).missing
    []
    """

    def __init__(self, path: Path, *, is_recording: bool) -> None:
        self.path = path
        self.is_recording = is_recording
        self.missing: list[str] = []

    def __repr__(self) -> str:
        return f"<Cassette: {'records' if self.is_recording else 'plays'} {self.path}>"

    @property
    def complaint(self) -> str:
        """The missing calls, and how to record them, as text; "" if none is missing."""
        if not self.missing:
            return ""
        mode = "all" if self.path.exists() else "new"
        calls = "".join(f"\n  {name}" for name in self.missing)
        return f"calls that are not in {self.path}:{calls}\nTo record this test: pytest --runtimeuse-record={mode}"


@contextmanager
def playing(cassette: Cassette, on_missing: OnMissing, **options: Any) -> Iterator[None]:
    """Every client gets what was recorded; ``options`` are those of ``Replay``."""
    replay = _Played(cassette, on_missing, options)
    with _names_of(cassette), _replaced(WebSocketTransport, "connection", lambda _: replay.connection()):
        yield


class _Played(Replay):
    def __init__(self, cassette: Cassette, on_missing: OnMissing, options: dict[str, Any]) -> None:
        super().__init__(cassette.path if cassette.path.exists() else os.devnull, **options)
        self._cassette = cassette
        self._on_missing = on_missing

    def answer(self, request: Any) -> Any:
        try:
            return super().answer(request)
        except ReplayError as error:
            self._cassette.missing.append(title(request))
            difference = f"\n\n{error}" if self._cassette.path.exists() else ""
            complaint = self._cassette.complaint + difference
            # The code under test may handle what is raised, or be on another thread.
            self._on_missing(complaint)
            raise ReplayError(complaint) from None


@contextmanager
def recording(cassette: Cassette, is_wanted: Callable[[], bool]) -> Iterator[None]:
    """Every client connects, and its calls are recorded; at the end they become the journal, if they are wanted."""
    draft = cassette.path.with_name(f"{cassette.path.name}.part")
    draft.parent.mkdir(parents=True, exist_ok=True)
    draft.unlink(missing_ok=True)
    with _names_of(cassette), _recorded_into(draft), _replaced(WebSocketTransport, "connection", _connection):
        yield
    if draft.exists():
        if is_wanted():
            draft.replace(cassette.path)
        else:
            draft.unlink()


@contextmanager
def _recorded_into(path: Path) -> Iterator[None]:
    lock, recorded = threading.Lock(), dict[Client, Client]()

    def call_settings(client: Client, *args: Any, **keywords: Any) -> Any:
        if not isinstance(client._transport, WebSocketTransport):
            return _call_settings(client, *args, **keywords)  # it could not be played
        with lock:
            if client not in recorded:
                # Each for itself: what is secret depends on the client.
                recorded[client] = recordings.enter_context(record(client, path))
        return _call_settings(recorded[client], *args, **keywords)

    with ExitStack() as recordings, _replaced(Client, "_call_settings", call_settings):
        yield


@contextmanager
def _names_of(cassette: Cassette) -> Iterator[None]:
    """Have ``run``, ``upload`` and ``download`` call things in a sandbox the same each time, and in this test alone."""
    numbers, test = itertools.count(1), f"{cassette.path.parent.name}/{cassette.path.name}"

    def new_name() -> str:
        return hashlib.sha256(f"{test}/{next(numbers)}".encode()).hexdigest()[:32]

    with _replaced(sandbox, "new_name", new_name):
        yield


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


@contextmanager
def refusing(ports: Collection[int], refuse: Callable[[str], None]) -> Iterator[None]:
    """No client connects, unless to one of the ``ports`` of loopback: ``refuse`` is told where it would, and raises."""

    def connection(transport: WebSocketTransport) -> Connection:
        if not (transport.endpoint.is_loopback and transport.endpoint.port in ports):
            refuse(f"{transport.endpoint}")
        return _connection(transport)

    with _replaced(WebSocketTransport, "connection", connection):
        yield
