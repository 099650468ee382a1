"""The results as a picture for the documentation: ratios on the left, growth on the right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from .report import Row, Verdict

Curves = dict[str, dict[str, list[tuple[int, float]]]]

_STYLES = {
    "asyncio": ("runtimeuse-client (asyncio)", "#8c8c8c"),
    "ours": ("runtimeuse-sync", "#1f6fb4"),
    "ours+orjson": ("runtimeuse-sync[speed]", "#2ca089"),
    "floor": ("floor: bare socket, json", "#d9a441"),
    "floor+orjson": ("floor: bare socket, orjson", "#eccf9a"),
}


def draw(path: Path, rows: list[Row], verdicts: list[Verdict], curves: Curves) -> None:
    # The same numbers make the same file, and text stays text.
    with mpl.rc_context({"svg.hashsalt": "benchmarks", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(11, 6.6), layout="constrained")
        grid = figure.add_gridspec(2, 2, width_ratios=(1.25, 1))
        bars = figure.add_subplot(grid[:, 0])
        _draw_ratios(bars, rows, verdicts)
        _draw_curve(figure.add_subplot(grid[0, 1]), curves["count"], "messages in a call", 1e6, "µs a message")
        _draw_curve(figure.add_subplot(grid[1, 1]), curves["size"], "bytes in a message", 1e9, "ns a byte")
        figure.legend(*bars.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Date": None})


def _draw_ratios(axes: Any, rows: list[Row], verdicts: list[Verdict]) -> None:
    lines = list(dict.fromkeys((row.title, row.measure) for row in rows if _has_bar(row)))
    height = 0.8 / len(_STYLES)
    for index, (contender, (label, colour)) in enumerate(_STYLES.items()):
        found = {(row.title, row.measure): row.ratio for row in rows if row.contender == contender and _has_bar(row)}
        places = [place + (index - 2) * height for place, line in enumerate(lines) if line in found]
        axes.barh(places, [found[line] for line in lines if line in found], height, color=colour, label=label)
    _draw_goals(axes, lines, verdicts)
    axes.set_yticks(range(len(lines)), [_label(*line) for line in lines])
    axes.invert_yaxis()
    axes.axvline(1.0, color="#8c8c8c", linewidth=0.8)
    axes.set_xlabel("times the asyncio client's (less is better)")
    axes.spines[["top", "right"]].set_visible(False)


def _has_bar(row: Row) -> bool:
    # Silent calls cost the asyncio client next to nothing: its goal is no ratio.
    return row.ratio is not None and row.measure not in ("percent", "grown_mb")


def _label(title: str, measure: str) -> str:
    return title if measure == "seconds" else f"{title}, {measure.replace('peak_mb', 'peak memory')}"


def _draw_goals(axes: Any, lines: list[tuple[str, str]], verdicts: list[Verdict]) -> None:
    goals = [
        (verdict.goal.limit, lines.index((verdict.title, verdict.goal.measure)))
        for verdict in verdicts
        if verdict.goal.of == "asyncio" and verdict.goal.contender == "ours"
    ]
    for limit, place in goals:
        axes.plot([limit, limit], [place - 0.42, place + 0.42], color="black", linewidth=1.6)
    if goals:
        axes.plot([], [], color="black", linewidth=1.6, label="goal of runtimeuse-sync")


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
