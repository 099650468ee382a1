"""What is measured, by whom, and the goals."""

from __future__ import annotations

from typing import Any, Optional

import attrs


@attrs.frozen
class Contender:
    """Which module it is, whether it may use orjson, and what else it is to do in each workload."""

    module: str
    has_orjson: bool = False
    arguments: dict[str, Any] = attrs.field(factory=dict)


CONTENDERS = {
    "asyncio": Contender("asyncio_client"),
    "ours": Contender("ours"),
    "ours+orjson": Contender("ours", has_orjson=True),
    "ours+event": Contender("ours", arguments={"has_event": True}),
    "ours+threads": Contender("ours", arguments={"by_threads": True}),
    "ours+journal": Contender("ours", arguments={"is_recorded": True}),
    "floor": Contender("floor"),
    "floor+orjson": Contender("floor", has_orjson=True),
}
# Those of all workloads; the others are for crowds, for many prompts, and for the journal.
ALL = tuple(name for name in CONTENDERS if name not in ("ours+event", "ours+threads", "ours+journal"))


@attrs.frozen
class Goal:
    """``contender``'s ``measure`` is at most ``limit``: times that of ``of``, or in itself."""

    contender: str
    limit: float
    of: Optional[str] = None
    measure: str = "seconds"


@attrs.frozen(kw_only=True)
class Workload:
    """One line, or a few, of the table.

    Attributes:
        run (str): the function of the contender's module that does it.
        path (str): what the server is asked for.
        measures (tuple): what to print of it, if it has lines of its own.
        per, unit: how many things the time of one repetition is for, and what one of them is.
        rounds (int): how often to start new processes; each warms up, and then does ``repetitions``.
        server (str): the server's name in ``runner.Server``.
        series, at: the growth curve that it is a point of, and where.
    """

    name: str
    title: str
    run: str = "stream"
    path: str = ""
    arguments: dict[str, Any] = attrs.field(factory=dict)
    contenders: tuple[str, ...] = ALL
    goals: tuple[Goal, ...] = ()
    measures: tuple[str, ...] = ("seconds",)
    per: int = 1
    unit: str = "call"
    warmups: int = 1
    repetitions: int = 5
    rounds: int = 2
    server: str = "plain"
    series: str = ""
    at: int = 0


def _messages(kind: str, count: int, size: int) -> dict[str, Any]:
    return {"path": f"/stream?kind={kind}&n={count}&size={size}", "per": max(1, count), "unit": "message"}


_WITHOUT_FLOOR = ("asyncio", "ours", "ours+orjson")


def _main(*, quick: bool) -> list[Workload]:
    def count(full: int, small: int) -> int:
        return small if quick else full

    return [
        Workload(
            name="chatty",
            title="chatty command",
            **_messages("output", count(100_000, 5_000), 200),
            goals=(
                Goal("ours", 0.45, "asyncio"),
                Goal("ours", 1.25, "floor"),
                Goal("ours+orjson", 0.25, "asyncio"),
            ),
        ),
        Workload(
            name="journal",
            title="chatty command, recorded",
            **_messages("output", count(100_000, 5_000), 200),
            contenders=("ours", "ours+journal"),
            goals=(Goal("ours+journal", 1.25, "ours"), Goal("ours+journal", 1.25, "ours", "cpu")),
        ),
        Workload(
            name="assistant",
            title="assistant text",
            **_messages("assistant", count(20_000, 1_000), 1024),
            goals=(Goal("ours", 0.5, "asyncio"), Goal("ours", 1.25, "floor")),
        ),
        Workload(
            name="large-messages",
            title="30 messages with 1 MiB of text",
            **_messages("output", count(30, 4), (1 << 20) + 1024),
            goals=(Goal("ours", 1.25, "floor"),),
        ),
        Workload(
            name="large-result",
            title="a result of 50 MiB",
            run="result",
            path=f"/result?size={count(50, 2) << 20}",
            goals=(Goal("ours", 1.25, "floor"),),
        ),
        Workload(
            name="artifacts",
            title="artifact round trip",
            run="artifacts",
            path=f"/artifacts?n={count(3_000, 200)}",
            measures=("p50", "p99"),
            goals=(Goal("ours", 0.5, "asyncio", "p50"), Goal("ours", 0.5, "asyncio", "p99")),
        ),
        Workload(
            name="one-shot",
            title="one-shot call",
            run="one_shot",
            path="/stream?kind=output&n=0&size=200",
            arguments={"calls": count(500, 20)},
            per=count(500, 20),
            goals=(Goal("ours", 0.7, "asyncio"),),
        ),
        Workload(
            name="concurrency",
            title="200 calls at once",
            run="concurrent",
            path="/stream?kind=output&n=50&size=200",
            arguments={"calls": count(200, 20)},
            measures=("seconds", "peak_mb"),
            unit="all of them",
            contenders=_WITHOUT_FLOOR,
            goals=(Goal("ours", 1.2, "asyncio"), Goal("ours", 1.5, "asyncio", "peak_mb")),
        ),
        Workload(
            name="import",
            title="import",
            run="import",
            unit="import",
            contenders=_WITHOUT_FLOOR,
            goals=(Goal("ours", 0.5, "asyncio"),),
        ),
        Workload(
            name="cancel-event",
            title="Event to cancel frame",
            run="cancel_event",
            path="/silent",
            arguments={"times": count(100, 5)},
            measures=("p50", "p99"),
            contenders=("ours",),
            warmups=0,
            repetitions=1,
            goals=(Goal("ours", 0.060, measure="p99"),),
        ),
        Workload(
            name="cancel-abort",
            title="abort() to cancel frame",
            run="abort",
            path="/silent",
            arguments={"times": count(100, 5)},
            measures=("p50", "p99"),
            contenders=("asyncio", "ours"),
            warmups=0,
            repetitions=1,
            goals=(Goal("ours", 0.005, measure="p99"),),
        ),
        Workload(
            name="slow-consumer",
            title="slow consumer",
            run="slow",
            **_messages("output", count(1_000_000, 50_000), 200),
            arguments={"pause_every": count(100_000, 10_000), "pause": 0.3},
            measures=("grown_mb", "seconds"),
            contenders=_WITHOUT_FLOOR,
            warmups=0,
            repetitions=1,
            goals=(Goal("ours", 64.0, measure="grown_mb"), Goal("ours+orjson", 64.0, measure="grown_mb")),
        ),
        Workload(
            name="tls",
            title="chatty command, TLS",
            **_messages("output", count(100_000, 5_000), 200),
            server="tls",
            goals=(Goal("ours", 0.5, "asyncio"),),
        ),
    ]


# Of calls at once -> what they are to take.
_CROWDS: dict[int, tuple[Goal, ...]] = {
    100: (Goal("ours", 0.1, measure="percent"), Goal("ours+event", 1.0, measure="percent")),
    500: (),
    2_000: (
        Goal("ours", 1.1, "asyncio"),
        Goal("ours", 1.3, "asyncio", "cpu"),
        Goal("ours", 0.8, "asyncio", "peak_mb"),
        Goal("ours", 2.0, measure="percent"),
        Goal("ours+event", 5.0, measure="percent"),
    ),
}
# The CPU of a call among 2,000, times that of one among 100.
CROWD_GROWTH = 1.5


def _crowds(*, quick: bool) -> list[Workload]:
    """Calls at once that hear nothing for ten seconds. Those of 2,000 are repeated as often as none may fail."""
    share = 20 if quick else 1
    return [
        Workload(
            name=f"crowd-{calls}",
            title=f"{calls:,} silent calls",
            run="crowd",
            path="/crowd",
            arguments={"calls": calls // share, "hold": 2 if quick else 10, "window": 1 if quick else 4},
            contenders=("asyncio", "ours", "ours+event"),
            measures=("seconds", "cpu", "percent", "peak_mb"),
            unit="all of them",
            goals=goals,
            warmups=0,
            rounds=2,
            repetitions=5 if calls == 2_000 else 2,
            server="crowd",
            series="calls",
            at=calls // share,
        )
        for calls, goals in _CROWDS.items()
    ]


def _many(*, quick: bool) -> list[Workload]:
    """Many prompts, so many at once, each answered after some milliseconds: ``map``, and what there is beside it."""
    prompts, at_once = (100, 8) if quick else (1_000, 64)
    return [
        Workload(
            name="many",
            title=f"{prompts:,} prompts, {at_once} at once",
            run="many",
            path="/crowd?hold=0.02",
            arguments={"prompts": prompts, "at_once": at_once},
            contenders=("asyncio", "ours+threads", "ours"),
            measures=("seconds", "cpu"),
            unit="all of them",
            goals=(Goal("ours", 1.1, "asyncio"), Goal("ours", 1.1, "ours+threads")),
            server="crowd",
        ),
        Workload(
            name="many-memory",
            title=f"{prompts * 10:,} prompts, {at_once} at once",
            run="many_in_memory",
            path="/crowd?hold=0",
            arguments={"prompts": prompts * 10, "at_once": at_once},
            contenders=("ours",),
            measures=("grown_mb",),
            unit="all of them",
            goals=(Goal("ours", 4.0, measure="grown_mb"),),
            warmups=0,
            repetitions=1,
            server="crowd",
        ),
    ]


def _growth(*, quick: bool) -> list[Workload]:
    """The points of both curves. The first is a call without messages, which is taken off the others."""
    counts = (1_000, 3_000) if quick else (1_000, 10_000, 100_000, 1_000_000)
    sizes = (100, 10_000, 1 << 20) if quick else (100, 1_000, 10_000, 100_000, 1 << 20, 10 << 20)
    volume = (1 if quick else 40) << 20
    points = [("count", n, _messages("output", n, 200), n) for n in (0, *counts)]
    points += [("size", size, _messages("output", min(100_000, max(1, volume // size)), size), 0) for size in sizes]
    return [
        Workload(
            name=f"growth-{series}-{at}",
            title=f"growth: {at} messages" if series == "count" else f"growth: messages of {at} bytes",
            series=series,
            at=at,
            measures=(),
            rounds=1,
            warmups=0 if n >= 1_000_000 else 1,
            repetitions=1 if quick or n >= 1_000_000 else 5 if n >= 100_000 or series == "size" else 21,
            **messages,
        )
        for series, at, messages, n in points
    ]


def workloads(*, quick: bool) -> list[Workload]:
    """All of them; ``quick`` makes them small, to see whether they run at all."""
    found = [*_main(quick=quick), *_crowds(quick=quick), *_many(quick=quick), *_growth(quick=quick)]
    return [attrs.evolve(w, rounds=1, repetitions=1) for w in found] if quick else found


def find(name: str, *, quick: bool) -> Workload:
    return next(workload for workload in workloads(quick=quick) if workload.name == name)
