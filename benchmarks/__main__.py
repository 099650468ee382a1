"""``python -m benchmarks``: run the workloads, print the table, write JSON and the picture."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from . import report
from .picture import draw
from .runner import Samples, run, server
from .workloads import Workload, workloads

_HERE = Path(__file__).parent


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small, once: to see that it runs, not to measure")
    parser.add_argument("--only", metavar="NAME", action="append", help="workloads whose name begins so; repeatable")
    parser.add_argument("--results", type=Path, default=_HERE / "results", help="where the JSON goes")
    parser.add_argument("--picture", type=Path, help="where the picture goes (SVG); default: nowhere")
    return parser.parse_args()


def _run(chosen: list[Workload], *, quick: bool) -> list[tuple[Workload, Samples]]:
    found = []
    with server() as where:
        for workload in chosen:
            start = time.monotonic()
            samples = run(workload, where, quick=quick)
            found.append((workload, samples))
            print(f"{workload.name}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    return found


def main() -> None:
    arguments = _arguments()
    chosen = [
        workload
        for workload in workloads(quick=arguments.quick)
        if not arguments.only or workload.name.startswith(tuple(arguments.only))
    ]
    started = time.strftime("%Y-%m-%dT%H:%M:%S")
    found = _run(chosen, quick=arguments.quick)
    rows = [row for workload, samples in found for row in report.rows(workload, samples)]
    curves = report.curves([(workload, samples) for workload, samples in found if workload.series])
    verdicts = [verdict for workload, samples in found for verdict in report.verdicts(workload, samples)]
    verdicts += report.growth_verdicts(curves)
    print(report.row_table(rows), report.verdict_table(verdicts), report.curve_table(curves), sep="\n\n")
    name = f"{started.replace(':', '')}{'-quick' if arguments.quick else ''}.json"
    report.write_json(arguments.results / name, found, started=started, quick=arguments.quick)
    if arguments.picture:
        draw(arguments.picture, rows, verdicts, curves)


if __name__ == "__main__":
    main()
