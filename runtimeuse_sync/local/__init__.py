"""An agent runtime in Python: host any callable, or any command-line agent, behind the runtimeuse protocol.

>>> from runtimeuse_sync.local import LocalRuntime
>>> def handler(invocation, sender):
...     sender.assistant("Thinking…")
...     return invocation.user_prompt.upper()
>>> with LocalRuntime(handler) as runtime:
...     print(runtime.url)  # doctest: +ELLIPSIS
ws://127.0.0.1:...

From the outside in:

| module | its one job |
|---|---|
| ``runtime`` | ``LocalRuntime``: what users start and stop |
| ``_settings`` | its arguments, checked |
| ``_listener`` | the WebSocket server: every connection tracked, none left behind |
| ``_admission`` | who may connect |
| ``_session`` | one connection: reads messages, one request at a time, the end of the session |
| ``_request`` | one request: its steps, its one last message |
| ``_outbox`` | the way out: redacted, encoded |
| ``_downloads`` | what is fetched first; archives |
| ``_commands`` | one command, its output and its end |
| ``_processes`` | process trees, found and ended |
| ``_artifacts`` | which files are asked for, answered, uploaded |
| ``_watching``, ``_settling``, ``_ignore`` | which files there are, which are finished, which do not count |
| ``_uploads``, ``_http`` | the transfers |
| ``handlers`` | the contract with agents: ``Handler``, ``Sender``, ``HandlerResult`` |
| ``agents`` | ``CommandLineAgent``: a program as a handler |
| ``receiver`` | ``ArtifactReceiver``: where a local user's artifacts go |

Needs the extra ``local``.
"""

from __future__ import annotations

try:
    import watchfiles as _watchfiles  # noqa: F401
    import websockets as _websockets  # noqa: F401
except ImportError as error:
    raise ImportError(
        f'runtimeuse_sync.local needs {error.name}: pip install "runtimeuse-sync[local]"', name=error.name
    ) from error

from .agents import CommandLineAgent
from .handlers import Handler, HandlerResult, Sender
from .receiver import ArtifactReceiver
from .runtime import LocalRuntime

__all__ = ["ArtifactReceiver", "CommandLineAgent", "Handler", "HandlerResult", "LocalRuntime", "Sender"]
