"""The results as a picture for the documentation: ratios on the left, growth on the right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from .report import Curves, Row, Verdict

_STYLES = {
    "asyncio": ("runtimeuse-client (asyncio)", "#8c8c8c"),
    "ours": ("runtimeuse-sync", "#1f6fb4"),
    "ours+orjson": ("runtimeuse-sync[speed]", "#2ca089"),
    "floor": ("floor: bare socket, json", "#d9a441"),
    "floor+orjson": ("floor: bare socket, orjson", "#eccf9a"),
}
_MEASURES = {"peak_mb": "memory", "cpu": "CPU"}
_HEIGHT = 0.8 / len(_STYLES)


def draw(path: Path, rows: list[Row], verdicts: list[Verdict], curves: Curves) -> None:
    # The same numbers make the same file, and text stays text.
    with mpl.rc_context({"svg.hashsalt": "benchmarks", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(11, 9.5), layout="constrained")
        left, right = figure.subfigures(1, 2, width_ratios=(1.25, 1), squeeze=False)[0]
        top, bottom = left.subplots(2, 1, height_ratios=(2.6, 1))
        _draw_ratios(top, rows, verdicts, "asyncio")
        _draw_ratios(bottom, rows, verdicts, "floor")
        upper, middle, lower = right.subplots(3, 1)
        _draw_curve(upper, curves["count"], "messages in a call", 1e6, "µs a message")
        _draw_curve(middle, curves["size"], "bytes in a message", 1e9, "ns a byte")
        _draw_curve(lower, curves["calls"], "silent calls at once", 1e3, "ms of CPU a call")
        lower.set_yscale("linear")  # they are too near to each other for another
        lower.set_ylim(bottom=0)
        figure.legend(*top.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _draw_ratios(axes: Any, rows: list[Row], verdicts: list[Verdict], of: str) -> None:
    """A group of bars for each goal that is a ratio to ``of``."""
    goals = {
        (verdict.title, verdict.goal.measure): verdict.goal.limit
        for verdict in verdicts
        if verdict.goal.of == of and verdict.goal.contender == "ours"
    }
    for place, (title, measure) in enumerate(goals):
        group = {row.contender: row for row in rows if (row.title, row.measure) == (title, measure)}
        _draw_group(axes, place, group, of)
    for place, limit in enumerate(goals.values()):
        axes.plot([limit] * 2, [place - 0.42, place + 0.42], color="black", linewidth=1.6, label=_once(place, "goal"))
    axes.set_yticks(range(len(goals)), [_name(*line) for line in goals])
    axes.invert_yaxis()
    axes.axvline(1.0, color="#8c8c8c", linewidth=0.8)
    axes.set_xlabel(f"times {_STYLES[of][0]}: less is better")
    axes.spines[["top", "right"]].set_visible(False)


def _draw_group(axes: Any, place: int, group: dict[str, Row], of: str) -> None:
    for index, (contender, (label, colour)) in enumerate(_STYLES.items()):
        at = place + (index - 2) * _HEIGHT
        row = group.get(contender)
        ratio = None if row is None else row.of_asyncio if of == "asyncio" else row.of_floor
        axes.barh(at, ratio or 0.0, _HEIGHT, color=colour, label=_once(place, label))
        if row is not None and row.failure:
            axes.text(0.02, at, "fails", va="center", fontsize=7, color=colour)


def _once(place: int, label: str) -> str:
    # One entry a contender in the legend; what begins with "_" has none.
    return label if place == 0 else f"_{label}"


def _name(title: str, measure: str) -> str:
    return title if measure == "seconds" else f"{title}, {_MEASURES.get(measure, measure)}"


def _draw_curve(axes: Any, points: dict[str, list[tuple[int, float]]], across: str, factor: float, up: str) -> None:
    for contender, (_, colour) in _STYLES.items():
        if contender in points:
            places, costs = zip(*points[contender])
            axes.plot(places, [cost * factor for cost in costs], color=colour, marker="o", markersize=3)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(mpl.ticker.FormatStrFormatter("%g"))
    axes.yaxis.set_minor_formatter(mpl.ticker.NullFormatter())
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.grid(visible=True, which="major", linewidth=0.4)
    axes.spines[["top", "right"]].set_visible(False)
