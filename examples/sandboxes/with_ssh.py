"""An agent on another machine, over SSH: ``python with_ssh.py user@machine "What runs here?"``.

The machine needs Node.js, and the model's key in its environment. The program ``ssh`` makes the connection, as it
knows the keys, hosts and jumps of ``~/.ssh/config``. The tests run this against a real ``sshd`` on loopback, with a
stand-in for the runtime.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from runtimeuse_sync.sandboxes import Endpoint, connected

LIFETIME = 3600  # seconds; the runtime ends by itself then, even if this machine is gone


@contextmanager
def ssh_sandbox(
    machine: str, command: str = "npx -y runtimeuse", *, port: int = 8080, options: Sequence[str] = ()
) -> Iterator[Endpoint]:
    """The runtime on ``machine``, reached by a port of this one that SSH forwards.

    It listens on every address of the machine, and whoever can connect runs commands there: a firewall has to keep
    others off.
    """
    here = free_port()
    program = [
        *("ssh", "-tt"),  # with a terminal, so that what runs there is hung up when the connection ends
        *("-o", "BatchMode=yes", "-o", "ExitOnForwardFailure=yes", "-o", "ServerAliveInterval=15"),
        *("-L", f"127.0.0.1:{here}:127.0.0.1:{port}"),
        *options,
        *("--", machine, f"exec timeout {LIFETIME} {command} --port {port}"),
    ]
    connection = subprocess.Popen(program, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        yield Endpoint(f"ws://127.0.0.1:{here}")
    finally:
        connection.terminate()
        connection.wait()


def free_port() -> int:
    """A port that is free now. If another program takes it first, ``ssh`` ends, and says so."""
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port: int = place.getsockname()[1]
        return port


def main() -> None:
    """Ask the agent what the command line says."""
    machine, *words = sys.argv[1:]
    question = " ".join(words) or "Which version of Node.js is this?"
    with connected(ssh_sandbox(machine), ready_timeout=120) as client:
        print(client.query(question, system_prompt="Be brief.", timeout=600).output)


if __name__ == "__main__":
    main()
