"""The system's process table: the descendants of a process, and signals that cannot reach a later process instead."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

# A process in a table of processes: its number, and when it started, as a later one may have the same number.
Identity = tuple[int, int]


# Whether the system lists the children of each thread; some kernels are built without. To go over all processes of
# the machine instead costs in proportion to their number.
_HAS_LISTS = os.path.exists("/proc/thread-self/children")


def descendants(root: int, spared: set[int]) -> list[Identity]:
    """The descendants of ``root``, parents before their children, without ``spared``, but with their descendants.

    The order matters: a shell that outlives its command for a moment begins the next. Who starts another process and
    ends at the same time may go unseen, and the other with it: who wants to know that there is nobody looks twice.
    """
    children = _listed if _HAS_LISTS else _all_by_parent()
    found = list(children(root))
    for process in found:
        found.extend(children(process[0]))
    return [process for process in found if process[0] not in spared]


def _listed(parent: int) -> list[Identity]:
    numbers: list[bytes] = []
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{parent}/task"):
            with suppress(OSError), open(f"/proc/{parent}/task/{thread}/children", "rb") as file:
                numbers += file.read().split()
    return [(pid, started) for pid, _, started in _living(map(int, numbers))]


def _all_by_parent() -> Callable[[int], Iterable[Identity]]:
    names = os.listdir("/proc") if os.path.isdir("/proc") else ()
    children: dict[int, list[Identity]] = {}
    for pid, parent, started in _living(int(name) for name in names if name.isdecimal()):
        children.setdefault(parent, []).append((pid, started))
    return lambda parent: children.get(parent, ())


def _living(numbers: Iterable[int]) -> Iterator[tuple[int, int, int]]:
    for pid in numbers:
        with suppress(OSError):
            is_alive, parent, started = status_of(pid)
            if is_alive:
                yield pid, parent, started


def status_of(pid: int) -> tuple[bool, int, int]:
    """Whether a process is alive, its parent, and its start in ticks since boot; ``OSError`` if it is gone."""
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
