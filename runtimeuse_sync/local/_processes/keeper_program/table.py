"""The system's table of processes: who lives below whom, and signals that reach no other than was meant."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator
from contextlib import suppress

# A process in a table of processes: its number, and when it started, which tells it from a later one of that number.
Identity = tuple[int, int]


def descendants(root: int, spared: set[int]) -> list[Identity]:
    """Who lives below ``root``, parents before their children; ``spared`` are left out, what is below them is not.

    The order matters: a shell that outlives its command for a moment begins the next.
    """
    children: dict[int, list[Identity]] = {}
    for pid, parent, started in _living():
        children.setdefault(parent, []).append((pid, started))
    found = list(children.get(root, ()))
    for process in found:
        found.extend(children.get(process[0], ()))
    return [process for process in found if process[0] not in spared]


def _living() -> Iterator[tuple[int, int, int]]:
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if name.isdecimal():
            with suppress(OSError):
                is_alive, parent, started = status_of(name)
                if is_alive:
                    yield int(name), parent, started


def status_of(pid: object) -> tuple[bool, int, int]:
    """Whether a process lives, its parent, and its start in ticks since the machine's; ``OSError`` if it is gone."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        # pid (name) state parent …; the name may hold anything.
        fields = file.read().rpartition(b")")[2].split()
    # Where only the first thread has ended, the process is called a zombie too.
    is_alive = fields[0] not in (b"Z", b"X") or int(fields[17]) > 1
    return is_alive, int(fields[1]), int(fields[19])


def send(process: Identity, number: int) -> None:
    """Send a signal to ``process``, never to a later one of its number."""
    pid, started = process
    with suppress(OSError):
        descriptor = _pidfd(pid)
        try:
            # The descriptor stays with the process that has the number now: see whether it is the one.
            if status_of(pid)[2] == started:
                _signal(pid, descriptor, number)
        finally:
            if descriptor is not None:
                os.close(descriptor)


def _pidfd(pid: int) -> int | None:
    """A descriptor for the process; None where the system, or the interpreter, has none to give."""
    try:
        return os.pidfd_open(pid)
    except AttributeError:
        return None
    except OSError as error:
        if error.errno == errno.ESRCH:
            raise
        return None


def _signal(pid: int, descriptor: int | None, number: int) -> None:
    if descriptor is None:
        os.kill(pid, number)
    else:
        signal.pidfd_send_signal(descriptor, number)
