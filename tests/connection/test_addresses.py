"""Which of a host's addresses a connection goes to, and what is said when it goes to none."""

from __future__ import annotations

import errno
import selectors
import socket
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from runtimeuse_sync._common.deadline import Deadline
from runtimeuse_sync._connection.addresses import HEAD_START, MOST_ADDRESSES, Address, AddressRace

from ..support import port_without_listener

# Seconds that nothing here should take.
LONG = 30.0


def wait(socks: Collection[socket.socket], deadline: Deadline) -> list[socket.socket]:
    with selectors.DefaultSelector() as selector:
        for sock in socks:
            selector.register(sock, selectors.EVENT_WRITE)
        return [sock for key, _ in selector.select(min(deadline.remaining(), LONG)) for sock in [key.fileobj]]  # type: ignore[misc]


def address(port: int) -> Address:
    return (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))


def nowhere(port: int) -> Address:
    """Of a family that no system has."""
    return (999, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0))


@contextmanager
def black_hole() -> Iterator[int]:
    """A port that answers nothing: its backlog is full."""
    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as full,
        socket.create_connection(full.getsockname()),
    ):
        yield full.getsockname()[1]


@pytest.fixture
def ports() -> Iterator[dict[str, int]]:
    """One that is good, one that refuses, and one that does not answer."""
    with ExitStack() as stack:
        good = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=20))
        refuses = stack.enter_context(port_without_listener())
        yield {"good": good.getsockname()[1], "refuses": refuses, "silent": stack.enter_context(black_hole())}


def race(addresses: list[Address], timeout: float) -> AddressRace:
    return AddressRace(addresses, wait, Deadline(timeout))


@pytest.mark.parametrize(
    "names",
    [
        ["good"],
        ["good", "silent"],
        ["refuses", "good"],
        ["silent", "good"],
        ["silent", "silent", "refuses", "silent", "good", "refuses"],
    ],
)
def test_the_first_that_answers_is_taken(ports: dict[str, int], names: list[str]) -> None:
    sock = race([address(ports[name]) for name in names], LONG).run()
    assert sock is not None
    with sock:
        assert sock.getpeername()[1] == ports["good"]
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize("number", [1, 3])
def test_those_that_swallow_packets_leave_time_for_the_others(ports: dict[str, int], number: int) -> None:
    """With the limit as short as the head start, each gets its share."""
    silent = [address(ports["silent"])] * number
    sock = race([*silent, address(ports["good"])], HEAD_START * 4).run()
    assert sock is not None
    sock.close()


def test_one_that_is_slow_is_not_given_up_for_those_that_are_slower() -> None:
    """A round trip that takes longer than each one's share of the time."""
    slow: list[socket.socket] = []
    began = time.monotonic()

    def wait_for_long(socks: Collection[socket.socket], deadline: Deadline) -> list[socket.socket]:
        """Nobody answers for half a second; then the one that was started first does."""
        slow.extend(sock for sock in socks if sock not in slow)
        time.sleep(min(deadline.remaining(), max(0.0, began + 0.5 - time.monotonic())))
        return slow[:1] if time.monotonic() >= began + 0.5 else []

    with socket.create_server(("127.0.0.1", 0), backlog=20) as server:
        addresses = [address(server.getsockname()[1])] * 6
        sock = AddressRace(addresses, wait_for_long, Deadline(LONG)).run()
        assert sock is slow[0]
        assert [other.fileno() for other in slow[1:]] == [-1] * (len(slow) - 1)  # those that lost are closed
        assert len(slow) > 1
        slow[0].close()


def test_what_became_of_each_is_told(ports: dict[str, int]) -> None:
    run = race([address(ports["refuses"]), address(ports["silent"])], 0.2)
    assert run.run() is None
    assert run.tried() == (
        f"127.0.0.1:{ports['refuses']} (connection refused), 127.0.0.1:{ports['silent']} (no answer)"
    )


def test_one_alone_is_just_named(ports: dict[str, int]) -> None:
    run = race([address(ports["refuses"])], LONG)
    with pytest.raises(ConnectionRefusedError):
        run.run()
    assert run.tried() == f"127.0.0.1:{ports['refuses']}"


def test_if_all_fail_the_last_error_is_raised_at_once(ports: dict[str, int]) -> None:
    run = race([nowhere(80), address(ports["refuses"])], LONG)
    began = time.monotonic()
    with pytest.raises(ConnectionRefusedError):
        run.run()
    assert time.monotonic() - began < LONG / 2
    assert run.tried().startswith("[::1]:80 (")


def test_no_more_than_so_many_are_tried() -> None:
    run = race([nowhere(port) for port in range(100)], LONG)
    with pytest.raises(OSError, match="."):
        run.run()
    assert len(run.outcomes) == MOST_ADDRESSES


def test_with_no_limit_the_next_is_tried_after_a_while(ports: dict[str, int]) -> None:
    run = AddressRace([address(ports["silent"]), address(ports["good"])], wait, Deadline(None))
    sock = run.run()
    assert sock is not None
    sock.close()


@pytest.mark.parametrize("kind", [RuntimeError, OSError])
def test_whatever_happens_no_socket_is_left(ports: dict[str, int], kind: type[Exception]) -> None:
    seen: list[socket.socket] = []

    def fail(socks: Collection[socket.socket], deadline: Deadline) -> list[socket.socket]:
        seen.extend(socks)
        raise kind

    with pytest.raises(kind):
        AddressRace([address(ports["silent"])], fail, Deadline(LONG)).run()
    assert [sock.fileno() for sock in seen] == [-1]


def test_descriptors_that_run_out_stop_only_those_that_need_one(
    ports: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, made = socket.socket, 0

    def scarce(*args: Any, **options: Any) -> socket.socket:
        nonlocal made
        made += 1
        if made == 2:
            raise OSError(errno.EMFILE, "Too many open files")
        return real(*args, **options)

    monkeypatch.setattr(socket, "socket", scarce)
    run = race([address(ports["silent"]), address(ports["refuses"]), address(ports["good"])], LONG)
    sock = run.run()
    assert sock is not None
    sock.close()
    assert run.outcomes[f"127.0.0.1:{ports['refuses']}"] == "too many open files"
