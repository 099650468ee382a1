"""A client of something that has a URL and is closed at the end: a sandbox, a container, a child process.

A sandbox of any provider becomes one by a function of a few lines: it starts it, yields where the runtime listens, and
ends it. ``docs/sandboxes.rst`` has one for each of six.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Callable, Optional, Protocol, Union

import attrs

from . import Client

Headers = Union[Mapping[str, str], Callable[[], Mapping[str, str]], None]


class HasUrl(Protocol):
    """Says where a runtime listens. If it has ``headers`` as well, they are sent when connecting."""

    @property
    def url(self) -> str:
        """As ``Client`` takes it: ws://, wss://, http:// or https://."""
        ...


class Sandbox(Protocol):
    """Something with a URL that is closed at the end: a context manager, entered as what says where a runtime listens.

    A generator that yields an ``Endpoint`` is one, under ``contextlib.contextmanager``; so are ``LocalRuntime``,
    ``NodeRuntime`` and ``ScriptedRuntime``.
    """

    def __enter__(self) -> HasUrl: ...

    def __exit__(
        self,
        exc_type: Optional[type[BaseException]],
        exc_value: Optional[BaseException],
        traceback: Optional[TracebackType],
        /,
    ) -> Optional[bool]: ...


@attrs.frozen
class Endpoint:
    """The URL of a runtime, and the headers that a gateway before it needs. Its ``repr`` shows neither.

    Attributes:
        url (str): as ``Client`` takes it.
        headers (mapping, callable or None): those of ``Client``. Default None.

    >>> Endpoint("https://8080-abc.sandbox.example.com", {"X-Token": "s3cret"})
    Endpoint()
    """

    url: str = attrs.field(repr=False)
    headers: Headers = attrs.field(default=None, repr=False)


@contextmanager
def connected(sandbox: Sandbox, *, ready_timeout: Optional[float] = 60.0, **settings: Any) -> Iterator[Client]:
    """Open ``sandbox``, wait until its runtime is ready, and lend a client of it: a context manager.

    However the block ends, or the waiting before it (an error, Ctrl-C, a runtime that does not come up), the sandbox is
    closed. What kills this process outright leaves a remote one running: give that a limit of its own, too.

    Args:
        sandbox (Sandbox): what to open. It is opened when the block is entered, and not before.
        ready_timeout (float or None): seconds that its runtime may take from then on. Default 60; None: no limit.
        settings: those of ``Client``, beside its URL. ``headers`` take the place of the sandbox's.

    Returns:
        a context manager, entered as a ``Client``.

    Raises:
        TypeError, ValueError: for settings that cannot be meant; nothing is opened then.
        ConnectionFailedError: the runtime is not ready in time, or refuses.
        Otherwise what opening and closing the sandbox raise.

    >>> from runtimeuse_sync.local import LocalRuntime
    >>> sandbox = connected(LocalRuntime(lambda invocation, sender: invocation.user_prompt.upper()))
    >>> with sandbox as client:
    ...     client.query("hello").output
    'HELLO'
    """
    Client("ws://localhost", **settings)  # raises for bad settings before anything is opened
    with sandbox as opened:
        client = Client(opened.url, **{"headers": getattr(opened, "headers", None), **settings})
        client.wait_until_ready(ready_timeout)
        yield client
