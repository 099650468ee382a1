"""Where Python's documentation has the names that these pages use: an inventory for intersphinx that needs no network.

A name that is not here is not linked, which is all that happens to it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SITE = "https://docs.python.org/3/"

MODULES = [
    "atexit",
    "bz2",
    "concurrent.futures",
    "contextvars",
    "lzma",
    "ssl",
    "tarfile",
    "traceback",
    "typing",
    "urllib.request",
    "zipfile",
]

# By the page that has them.
NAMES = {
    "asyncio-runner": ["asyncio.run"],
    "asyncio-task": ["asyncio.gather", "asyncio.to_thread", "asyncio.wait_for"],
    "concurrent.futures": [
        "concurrent.futures.CancelledError",
        "concurrent.futures.Future",
        "concurrent.futures.ThreadPoolExecutor",
        "concurrent.futures.as_completed",
        "concurrent.futures.wait",
    ],
    "contextlib": ["contextlib.contextmanager"],
    "exceptions": [
        "AssertionError",
        "ConnectionError",
        "Exception",
        "KeyError",
        "KeyboardInterrupt",
        "LookupError",
        "OSError",
        "RuntimeError",
        "StopIteration",
        "TimeoutError",
        "TypeError",
        "ValueError",
    ],
    "functions": ["bool", "float", "int", "repr"],
    "json": ["json.dumps", "json.loads"],
    "logging": ["logging.Logger"],
    "os": ["os.eventfd"],
    "queue": ["queue.Queue", "queue.SimpleQueue"],
    "signal": ["signal.signal"],
    "socket": ["socket.create_connection", "socket.getaddrinfo", "socket.send_fds"],
    "ssl": ["ssl.SSLContext"],
    "stdtypes": ["bytearray", "bytes", "dict", "str"],
    "subprocess": ["subprocess.Popen", "subprocess.run"],
    "sys": ["sys.exit"],
    "threading": ["threading.Event", "threading.Lock"],
    "time": ["time.monotonic"],
    "traceback": ["traceback.TracebackException"],
}

LINKED = {*MODULES, *(name for names in NAMES.values() for name in names)}


def entries() -> Iterator[str]:
    """The lines of an inventory. What kind of thing a name is makes no difference to those who ask for an object."""
    yield from (f"{name} py:module 0 library/{name}.html#module-$ -" for name in MODULES)
    yield from (f"{name} py:class 1 library/{page}.html#$ -" for page, names in NAMES.items() for name in names)


def write(app: Any, config: Any) -> None:
    """Write the inventory, before intersphinx looks for it."""
    inventory = Path(app.doctreedir, "python.inv")
    head = "# Sphinx inventory version 2\n# Project: Python\n# Version: 3\n# compressed by zlib\n"
    inventory.parent.mkdir(parents=True, exist_ok=True)
    inventory.write_bytes(head.encode() + zlib.compress("\n".join([*entries(), ""]).encode()))
    config.intersphinx_mapping = {"python": (SITE, str(inventory))}


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("config-inited", write)
    return {"parallel_read_safe": True}
