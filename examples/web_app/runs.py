"""Runs that outlive the request that began them, and that every process can follow and stop. Each is a folder:

``events.jsonl``  what has happened, a line of JSON each; its number is the id of the event on the page
``lock``          locked while the run lives: the system unlocks it, however the process that runs it ends
``stop``          there as soon as somebody wants the run to stop
``tickets/``      the right to upload one file, once
``files/``        the files that the agent has left
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Optional

# Seconds from one look at a file that another process writes to the next.
POLL = 0.2

# A number, and the event that has it; None: nothing new.
Event = Optional[tuple[int, dict[str, Any]]]


class RunFolder:
    """What is kept of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.id = path.name

    @classmethod
    def create(cls, root: Path, question: str) -> tuple[RunFolder, IO[bytes]]:
        """A new one, and its lock: the run lives until that is closed."""
        run = cls(root / secrets.token_hex(8))
        (run.path / "tickets").mkdir(parents=True)
        (run.path / "files").mkdir()
        lock = (run.path / "lock").open("wb")
        fcntl.flock(lock, fcntl.LOCK_EX)
        run.tell("question", text=question)
        return run, lock

    # --- what has happened ------------------------------------------------------------------------------

    def append(self, event: str) -> None:
        """Add a line of JSON. In one write, so that several processes may do so."""
        line = f"{event.rstrip()}\n".encode()
        file = os.open(self.path / "events.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(file, line)
        finally:
            os.close(file)

    def tell(self, message_type: str, **fields: Any) -> None:
        """Add an event of the application's own."""
        self.append(json.dumps({"message_type": message_type, **fields}))

    def events(self, after: int = 0) -> Iterator[Event]:
        """The events behind that number, as they come, until the run has ended, or the process that ran it."""
        number = 0
        with (self.path / "events.jsonl").open("rb") as file:
            while True:
                is_alive = self.is_alive()  # asked first: what has been written until then is then read
                for line in _whole_lines(file):
                    number += 1
                    event = json.loads(line)
                    if number > after:
                        yield number, event
                    if event["message_type"] == "end":
                        return
                if not is_alive:
                    yield number + 1, {"message_type": "interrupted"}
                    return
                yield None
                time.sleep(POLL)

    def is_alive(self) -> bool:
        """Whether a process still runs it."""
        with (self.path / "lock").open("rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    # --- to stop it ---------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Ask for its end, from any process."""
        (self.path / "stop").touch()

    def is_stopped(self) -> bool:
        """Whether somebody has."""
        return (self.path / "stop").exists()

    # --- its files ----------------------------------------------------------------------------------------

    def new_ticket(self, name: str) -> str:
        """Permit the upload of one file, once. Nobody guesses a ticket."""
        ticket = secrets.token_urlsafe(16)
        (self.path / "tickets" / ticket).write_text(name, encoding="utf-8", errors="replace")
        return ticket

    def receive(self, ticket: str, body: IO[bytes]) -> None:
        """Keep the file of that ticket. It is named by a number: the agent's name for it is shown, but never a path.

        Raises:
            FileNotFoundError: if there is no such ticket, or no longer.
        """
        used = self.path / "tickets" / f"{ticket}.used"
        (self.path / "tickets" / ticket).rename(used)
        part = self.path / f"{ticket}.part"
        with part.open("wb") as file:
            shutil.copyfileobj(body, file)
        part.rename(self.path / "files" / ticket)
        self.tell("artifact", name=used.read_text(encoding="utf-8"), file=ticket)


def _whole_lines(file: IO[bytes]) -> Iterator[bytes]:
    """Those behind where it stands; one that is still being written is left for the next time."""
    while True:
        start = file.tell()
        line = file.readline()
        if not line.endswith(b"\n"):
            file.seek(start)
            return
        yield line


def latest(root: Path, count: int) -> list[tuple[str, str]]:
    """The newest runs: their ids, and what was asked."""
    paths = sorted(root.glob("*/events.jsonl"), key=lambda path: path.parent.stat().st_ctime, reverse=True)
    return [(path.parent.name, _question(path)) for path in paths[:count]]


def _question(path: Path) -> str:
    with path.open("rb") as file:
        line = next(_whole_lines(file), b"{}")
    return str(json.loads(line).get("text", ""))
