"""A scripted runtime: test code that talks to a runtime, without a runtime and without an agent.

A script is a plain function. It gets the server's side of one connection, and says what the runtime says:

>>> from runtimeuse_sync import Client, InvocationMessage, QueryOptions
>>> def script(peer):
...     peer.expect(InvocationMessage, user_prompt="Hello")
...     peer.send({"message_type": "result_message", "data": {"type": "text", "text": "Good morning."}})
>>> with ScriptedRuntime(script) as runtime:
...     Client(runtime.url).query("Hello", QueryOptions(system_prompt="Be polite.")).data.text
'Good morning.'

It is a real WebSocket server on a loopback port. A failed expectation, like any exception of a script, is
raised at the end of the ``with`` block. Where the habits of a real runtime matter, ``generation`` makes the script:

>>> with ScriptedRuntime(generation("0.4", Reply(result={"files": 3}))) as runtime:
...     Client(runtime.url).query("Hello", QueryOptions(system_prompt="Be polite.")).data.structured_output
{'files': 3}

From the outside in:

==========================  =======================================================================
``_runtime``                ``ScriptedRuntime``: what a test starts, asks and waits for
``_generations``            scripts that behave as releases of the runtime do
``_server``                 accepts connections, and runs a script for each on a thread of its own
``_cassettes``              what the fixture ``runtime_cassette`` records and plays
``_record``                 what has happened on all connections
``_peer``, ``_comparison``  one connection as its script sees it; a message beside the one expected
``_link``                   one connection's socket and WebSocket protocol
``_mailbox``                what came in on one connection, for its script to wait for
``_loop``                   the one thread that owns all the sockets
==========================  =======================================================================
"""

from __future__ import annotations

try:
    import websockets as _websockets  # noqa: F401
except ImportError as error:
    raise ImportError(
        'runtimeuse_sync.testing needs websockets: pip install "runtimeuse-sync[local]"', name="websockets"
    ) from error

from ._cassettes import Cassette
from ._generations import Reply, generation
from ._loop import Disconnected
from ._peer import Peer, Script
from ._runtime import ScriptedRuntime

__all__ = ["Cassette", "Disconnected", "Peer", "Reply", "Script", "ScriptedRuntime", "generation"]
