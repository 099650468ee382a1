"""``--record FILE``: a journal of what a command does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Optional

import click

from ..client import Client
from ..journal import record

record_option = click.option(
    "--record",
    "journal",
    metavar="FILE",
    help="Write what is sent and received to FILE, without secrets, for replay and show.",
)


@contextmanager
def recorded(client: Client, journal: Optional[str]) -> Iterator[Client]:
    """``client``, whose calls are written to ``journal`` inside the block, if there is one."""
    if journal is None:
        yield client
        return
    with record(client, journal) as recording:
        yield recording
