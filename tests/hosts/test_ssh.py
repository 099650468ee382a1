"""The example that reaches another machine over SSH, against a real ``sshd`` on loopback."""

from __future__ import annotations

import getpass
import importlib.util
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runtimeuse_sync.sandboxes import connected

from ..local.test_processes import ends, wait_for
from ..support import wait_until
from .support import EXAMPLES, PATIENCE

ROOT = EXAMPLES.parent
SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin")

pytestmark = pytest.mark.skipif(not (SSHD and shutil.which("ssh")), reason="needs sshd and ssh (openssh-server)")


@pytest.fixture
def options(tmp_path: Path) -> Iterator[list[str]]:
    """What ``ssh`` has to be told to reach the server that runs meanwhile, and to know it."""
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)], check=True)
    port = example().free_port()
    (tmp_path / "known").write_text(f"[127.0.0.1]:{port} {(tmp_path / 'host.pub').read_text()}")
    settings = {
        "ListenAddress": f"127.0.0.1:{port}",
        "HostKey": tmp_path / "host",
        "AuthorizedKeysFile": tmp_path / "user.pub",
        "PidFile": "none",
        "StrictModes": "no",
        "UsePAM": "no",
        "PermitRootLogin": "yes",
    }
    (tmp_path / "sshd_config").write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    Path("/run/sshd").mkdir(exist_ok=True) if getpass.getuser() == "root" else None
    assert SSHD is not None
    with subprocess.Popen([SSHD, "-D", "-e", "-f", str(tmp_path / "sshd_config")], stderr=subprocess.DEVNULL) as server:
        try:
            wait_until(lambda: answers(port), PATIENCE)
            given = [f"UserKnownHostsFile={tmp_path / 'known'}", f"IdentityFile={tmp_path / 'user'}"]
            yield ["-F", "none", "-p", str(port), *(word for option in given for word in ("-o", option))]
        finally:
            server.terminate()


def answers(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


def example() -> Any:
    spec = importlib.util.spec_from_file_location("with_ssh", EXAMPLES / "sandboxes" / "with_ssh.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_an_agent_on_another_machine(options: list[str], tmp_path: Path) -> None:
    module = example()
    command = f"env PYTHONPATH={ROOT} {sys.executable} -m tests.local.stand_in --pid-file {tmp_path}/pid"
    sandbox = module.ssh_sandbox("127.0.0.1", command, port=module.free_port(), options=options)
    with connected(sandbox, ready_timeout=PATIENCE) as client:
        assert client.query("Hello", system_prompt="").output == "openai: Hello"
        runtime = wait_for(tmp_path / "pid")
    assert ends(runtime)
