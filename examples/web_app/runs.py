"""What is kept of a run, in a folder that every process sees.

``question``       what was asked
``journal.jsonl``  what has happened, written as it happens
``stop``           there as soon as somebody wants the run to stop
``tickets/``       the right to upload one file, once
``files/``         the files that the agent has left
"""

from __future__ import annotations

import hashlib
import secrets
import shutil
from pathlib import Path
from typing import IO


class RunFolder:
    """The folder of one run. Its name is the run's id."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.id = path.name
        self.journal = path / "journal.jsonl"

    @classmethod
    def create(cls, root: Path, question: str) -> RunFolder:
        """A new one."""
        run = cls(root / secrets.token_hex(8))
        (run.path / "tickets").mkdir(parents=True)
        (run.path / "files").mkdir()
        (run.path / "question").write_text(question, encoding="utf-8")
        return run

    @property
    def question(self) -> str:
        """What was asked."""
        return (self.path / "question").read_text(encoding="utf-8")

    def stop(self) -> None:
        """Ask for its end, from any process."""
        (self.path / "stop").touch()

    def is_stopped(self) -> bool:
        """Whether somebody has."""
        return (self.path / "stop").exists()

    def new_ticket(self, path: str) -> str:
        """Permit the upload of the file at ``path`` in the sandbox, once. Nobody guesses a ticket."""
        ticket = secrets.token_urlsafe(16)
        (self.path / "tickets" / ticket).write_text(self.file(path).name, encoding="ascii")
        return ticket

    def receive(self, ticket: str, body: IO[bytes]) -> None:
        """Keep the file of that ticket, once all of it is there.

        Raises:
            FileNotFoundError: if there is no such ticket, or no longer.
        """
        used = (self.path / "tickets" / ticket).rename(self.path / f"{ticket}.used")
        part = self.path / f"{ticket}.part"
        with part.open("wb") as file:
            shutil.copyfileobj(body, file)
        part.rename(self.path / "files" / used.read_text(encoding="ascii"))
        used.unlink()

    def file(self, path: str) -> Path:
        """Where the file is kept that the sandbox has at ``path``: no name of an agent's is a path here."""
        return self.path / "files" / hashlib.sha256(path.encode("utf-8", "surrogatepass")).hexdigest()


def latest(root: Path, count: int) -> list[RunFolder]:
    """The newest runs."""
    paths = sorted(root.glob("*/question"), key=lambda path: path.stat().st_mtime, reverse=True)
    return [RunFolder(path.parent) for path in paths[:count]]
