"""``python -m tests.journal [CASES [SEED]]``: a real journal in wrong hands, a million times; says how often."""

from __future__ import annotations

import contextlib
import logging
import random
import sys
import tempfile
import time
from pathlib import Path

from runtimeuse_sync import AgentRuntimeError, Client
from runtimeuse_sync.journal import record
from runtimeuse_sync.testing import Reply, ScriptedRuntime, generation

from ..support import invocation
from .support import said
from .test_entries import use, written

# What is put in the place of something else, and between.
PIECES = [
    b"",
    b"\n",
    b"\r\n",
    b"\x00",
    b"\xff\xfe",
    b'"',
    b"\\",
    b"{",
    b"}",
    b"[" * 3000,
    b"9" * 5000,
    b"1e999",
    b"-0.0",
    b"NaN",
    b"null",
    b"true",
    b"[]",
    b"{}",
    b'{"v":1,"call":"',
    b'"v":2',
    b"\xed\xa0\x80",
    b"\\ud800",
    "ü\u2028".encode(),
]


def real(path: Path) -> bytes:
    """Three calls that were recorded: a result, an error, a session with its end."""
    replies = [
        Reply(messages=[said("one")], metadata={"num_turns": 2}),
        Reply(error="no"),
        Reply(late_artifacts=["/a"]),
    ]
    with ScriptedRuntime(generation("0.15", *replies)) as runtime, record(Client(runtime.url), path) as client:
        client.invoke(invocation())
        with contextlib.suppress(AgentRuntimeError):
            client.invoke(invocation())
        with client.session() as session:
            request = invocation(artifacts_dirs=["/"])
            session.invoke(request, on_artifact_upload_request=lambda _: ("http://x/", "a/b"))
    return path.read_bytes()


def spoiled(journal: bytes, chance: random.Random) -> bytes:
    """``journal`` after one to four of: a cut, lines lost, doubled and moved, bytes changed, values replaced."""
    for _ in range(chance.randint(1, 4)):
        lines = journal.splitlines(keepends=True) or [b""]
        here, there = chance.randrange(len(lines)), chance.randrange(len(lines))
        at = chance.randrange(len(journal) + 1)
        how = chance.randrange(7)
        if how == 0:
            journal = journal[:at]
        elif how == 1:
            journal = b"".join(lines[:here] + lines[here + 1 :])
        elif how == 2:
            journal = b"".join([*lines[:here], lines[there], *lines[here:]])
        elif how == 3:
            journal = journal[:at] + bytes([chance.randrange(256)]) + journal[at + 1 :]
        elif how == 4:
            journal = journal[:at] + chance.choice(PIECES) + journal[at + chance.randrange(30) :]
        elif how == 5:
            parts = lines[here].split(b":")
            parts[chance.randrange(len(parts))] = chance.choice(PIECES)
            journal = b"".join([*lines[:here], b":".join(parts), *lines[here + 1 :]])
        else:
            parts = lines[here].split(b",")
            chance.shuffle(parts)
            journal = b"".join([*lines[:here], b",".join(parts), *lines[here + 1 :]])
    return journal


def main(cases: int, seed: int) -> None:
    logging.disable()  # lines that were cut off are told there
    chance, began = random.Random(seed), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "j")
        journal = real(path)
        for number in range(1, cases + 1):
            case = spoiled(journal, chance)
            try:
                use(written(path, case))
            except BaseException:
                print(f"case {number} of seed {seed}: {case!r}")
                raise
            if number % 1000 == 0:
                print(f"{number} cases, {number / (time.monotonic() - began):.0f} a second", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000, int(sys.argv[2]) if len(sys.argv) > 2 else 0)
