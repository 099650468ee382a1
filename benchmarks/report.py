"""Samples -> medians, ratios and verdicts -> a table and JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
from importlib.metadata import version
from pathlib import Path
from typing import Any, Optional

import attrs

from .runner import Samples
from .workloads import CROWD_GROWTH, Goal, Workload

Curves = dict[str, dict[str, list[tuple[int, float]]]]  # series -> contender -> points

_NAMES = {
    "seconds": "time",
    "cpu": "CPU time",
    "p50": "p50",
    "p99": "p99",
    "peak_mb": "peak memory",
    "grown_mb": "memory",
    "percent": "CPU while silent",
}
_PACKAGES = ("runtimeuse-client", "websockets", "pydantic", "websocket-client", "attrs", "cattrs", "orjson")


@attrs.frozen
class Row:
    """One contender's measure of one workload: ``value`` in seconds, megabytes or percent, for one ``unit``."""

    workload: str
    title: str
    measure: str
    contender: str
    unit: str
    value: Optional[float]
    cpu: Optional[float]
    spread: Optional[tuple[float, float]]  # the quartiles
    of_asyncio: Optional[float]  # the ratio to the asyncio client
    of_floor: Optional[float]
    cpu_of_asyncio: Optional[float]  # a second opinion, which what else the machine does can change less
    failure: Optional[str]


@attrs.frozen
class Verdict:
    """A goal, and whether it was met."""

    workload: str
    title: str
    goal: Goal
    value: Optional[float]  # the ratio, or the measure itself

    @property
    def is_met(self) -> bool:
        return self.value is not None and self.value <= self.goal.limit


def rows(workload: Workload, samples: Samples) -> list[Row]:
    return [
        _row(workload, samples, measure, contender)
        for measure in workload.measures
        for contender in workload.contenders
    ]


def _row(workload: Workload, samples: Samples, measure: str, contender: str) -> Row:
    per = workload.per if measure == "seconds" else 1
    values = [sample[measure] / per for sample in samples[contender] if measure in sample]
    failure = _failure(samples[contender]) or (None if values else "not reached: never did all wait at once")
    cpu = [sample["cpu"] / per for sample in samples[contender] if "cpu" in sample]
    return Row(
        workload=workload.name,
        title=workload.title,
        measure=measure,
        contender=contender,
        unit=workload.unit,
        value=None if failure else statistics.median(values),
        cpu=statistics.median(cpu) if cpu and measure == "seconds" and not failure else None,
        spread=_quartiles(values) if not failure else None,
        of_asyncio=ratio(samples, measure, contender, "asyncio"),
        of_floor=ratio(samples, measure, contender, "floor"),
        cpu_of_asyncio=ratio(samples, "cpu", contender, "asyncio") if measure == "seconds" else None,
        failure=failure,
    )


def _failure(samples: list[dict[str, float]]) -> Optional[str]:
    return next((str(sample["failed"]) for sample in samples if "failed" in sample), None)


def _quartiles(values: list[float]) -> tuple[float, float]:
    if len(values) < 2:
        return values[0], values[0]
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return first, third


def ratio(samples: Samples, measure: str, contender: str, of: str) -> Optional[float]:
    """The median ratio of repetitions that ran one after the other; None if there are none."""
    pairs = zip(samples.get(contender, ()), samples.get(of, ()))
    ratios = [one[measure] / other[measure] for one, other in pairs if measure in one and measure in other]
    return statistics.median(ratios) if ratios else None


def verdicts(workload: Workload, samples: Samples) -> list[Verdict]:
    return [
        Verdict(workload=workload.name, title=workload.title, goal=goal, value=_reached(goal, samples))
        for goal in workload.goals
    ]


def _reached(goal: Goal, samples: Samples) -> Optional[float]:
    if _failure(samples[goal.contender]):
        return None
    if goal.of is not None:
        return ratio(samples, goal.measure, goal.contender, goal.of)
    values = [sample[goal.measure] for sample in samples[goal.contender] if goal.measure in sample]
    return statistics.median(values) if values else None


def growth_verdicts(found: Curves) -> list[Verdict]:
    """Whether calls among many cost what they do among few."""
    points = found["calls"].get("ours", [])
    if len(points) < 2:
        return []
    (few, cost), *_, (many, cost_then) = points
    goal = Goal("ours", CROWD_GROWTH, of=f"{few:,} calls", measure="cpu")
    return [Verdict(workload="crowd", title=f"a call among {many:,}", goal=goal, value=cost_then / cost)]


def curves(found: list[tuple[Workload, Samples]]) -> Curves:
    """Seconds a message, or a byte, without what a call costs by itself; seconds of CPU a call."""
    points: Curves = {"count": {}, "size": {}, "calls": {}}
    calls: dict[str, float] = {}
    for workload, samples in found:
        measure = "cpu" if workload.series == "calls" else "seconds"
        for contender in workload.contenders:
            values = [sample[measure] for sample in samples[contender] if measure in sample]
            if not values:
                continue
            taken = statistics.median(values)
            if workload.series == "count" and workload.at == 0:
                calls[contender] = taken
                continue
            things = workload.per * (1 if workload.series == "count" else workload.at)
            by_itself = 0.0 if workload.series == "calls" else calls.get(contender, 0.0)
            points[workload.series].setdefault(contender, []).append((workload.at, (taken - by_itself) / things))
    return points


# --- for people -----------------------------------------------------------------------------------------


def _amount(measure: str, value: Optional[float]) -> str:
    if value is None:
        return ""
    if measure.endswith("_mb"):
        return f"{value:.0f} MB"
    if measure == "percent":
        return f"{value:.2f} %"
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if value * factor >= 1 or unit == "µs":
            return f"{value * factor:.3g} {unit}"
    raise AssertionError


def _lines(table: list[list[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in table]


def row_table(found: list[Row]) -> str:
    head = [
        "workload",
        "measure",
        "contender",
        "median",
        "quartiles",
        "CPU",
        "of asyncio",
        "of floor",
        "CPU of asyncio",
    ]
    return "\n".join(_lines([head, *map(_row_cells, found)]))


def _row_cells(row: Row) -> list[str]:
    unit = f" / {row.unit}" if row.measure == "seconds" else ""
    return [
        row.title,
        _NAMES.get(row.measure, row.measure),
        row.contender,
        (row.failure or _amount(row.measure, row.value) + unit)[:60],
        "" if row.spread is None else " - ".join(_amount(row.measure, value) for value in row.spread),
        _amount("seconds", row.cpu),
        *("" if ratio is None else f"{ratio:.2f}" for ratio in (row.of_asyncio, row.of_floor, row.cpu_of_asyncio)),
    ]


def verdict_table(found: list[Verdict]) -> str:
    table = [["workload", "goal", "reached", ""]]
    for verdict in found:
        goal = verdict.goal
        if goal.of is None:
            limit, value = _amount(goal.measure, goal.limit), _amount(goal.measure, verdict.value)
        else:
            limit, value = f"{goal.limit:g} of {goal.of}", "" if verdict.value is None else f"{verdict.value:.2f}"
        text = f"{goal.contender}: {_NAMES.get(goal.measure, goal.measure)} at most {limit}"
        table.append([verdict.title, text, value, "met" if verdict.is_met else "MISSED"])
    return "\n".join(_lines(table))


_CURVE_UNITS = (
    ("count", "µs a message, of", 1e6),
    ("size", "ns a byte, messages of", 1e9),
    ("calls", "ms of CPU a silent call, among", 1e3),
)


def curve_table(found: Curves) -> str:
    parts = []
    for series, unit, factor in _CURVE_UNITS:
        if found[series]:
            places = [at for at, _ in max(found[series].values(), key=len)]
            table = [[unit, *(f"{at:,}" for at in places)]]
            for contender, points in found[series].items():
                costs = dict(points)
                table.append([contender, *(f"{costs[at] * factor:.3g}" if at in costs else "-" for at in places)])
            parts.append("\n".join(_lines(table)))
    return "\n\n".join(parts)


# --- for machines ---------------------------------------------------------------------------------------


def machine() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "packages": {name: version(name) for name in _PACKAGES},
    }


def write_json(path: Path, found: list[tuple[Workload, Samples]], **more: Any) -> None:
    grown = curves([(workload, samples) for workload, samples in found if workload.series])
    judged = [verdict for workload, samples in found for verdict in verdicts(workload, samples)]
    data = {
        "machine": machine(),
        **more,
        "rows": [attrs.asdict(row) for workload, samples in found for row in rows(workload, samples)],
        "verdicts": [
            {**attrs.asdict(verdict), "met": verdict.is_met} for verdict in (*judged, *growth_verdicts(grown))
        ],
        "curves": grown,
        "samples": {workload.name: samples for workload, samples in found},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1))
