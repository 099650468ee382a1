"""An agent runtime in Python: host any callable, or any command-line agent, behind the runtimeuse protocol.

>>> from runtimeuse_sync.local import LocalRuntime
>>> def handler(invocation, sender):
...     sender.assistant("Thinking…")
...     return invocation.user_prompt.upper()
>>> with LocalRuntime(handler) as runtime:
...     print(runtime.url)  # doctest: +ELLIPSIS
ws://127.0.0.1:...

Where things are:

| module | its one job |
|---|---|
| ``runtime`` | ``LocalRuntime``: what users start and stop |
| ``handlers`` | the contract with agents: ``Handler``, ``Sender``, ``HandlerResult`` |
| ``agents`` | ``CommandLineAgent``: a program as a handler |
| ``presets`` | ``ClaudeAgent``, ``CodexAgent``: programs whose output is known |
| ``node`` | ``NodeRuntime``: the Node runtime of this machine, as a child |
| ``receiver`` | ``ArtifactReceiver``: where a local user's artifacts go |
| ``_server`` | connections and who may have one, the session on each, the request in each |
| ``_processes`` | commands and their output; keepers, which start processes and end all that they started |
| ``_artifacts`` | directories watched: which files there are, which are finished, which do not count |
| ``_transfers`` | downloads, archives, uploads |

The threads: one accepts connections. Each connection has one, which alone touches its socket, takes in what the
client says, and waits for nothing else; so a cancellation is heard whatever else goes on. A request in flight has one,
on which its steps and its handler run, and a command two more for its output. They hand what they have to say to the
connection's queue, and wait there when the client is behind.

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
from .node import NodeRuntime, RuntimeNotStartedError
from .presets import ClaudeAgent, CodexAgent
from .receiver import ArtifactReceiver
from .runtime import LocalRuntime

__all__ = [
    "ArtifactReceiver",
    "ClaudeAgent",
    "CodexAgent",
    "CommandLineAgent",
    "Handler",
    "HandlerResult",
    "LocalRuntime",
    "NodeRuntime",
    "RuntimeNotStartedError",
    "Sender",
]
