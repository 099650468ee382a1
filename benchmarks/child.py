"""One contender at one workload, in a process of its own: ``python -m benchmarks.child CONTENDER WORKLOAD URL``.

Each line on its standard input asks for one repetition; each is answered by a line of JSON.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import os
import subprocess
import sys
from types import ModuleType
from typing import Any

from .measuring import Sample, Seen
from .workloads import CONTENDERS, find

_TIME_IMPORT = """
import sys, time
if {without_orjson}:
    sys.modules["orjson"] = None
start, cpu = time.perf_counter(), time.process_time()
import {module}
print(time.perf_counter() - start, time.process_time() - cpu)
"""


def load(contender: str) -> ModuleType:
    """The contender's module; ``orjson`` is used where it can be imported, so some must not be able to."""
    found = CONTENDERS[contender]
    if not found.has_orjson:
        sys.modules["orjson"] = None  # type: ignore[assignment]
    return importlib.import_module(f"benchmarks.{found.module}")


def time_import(contender: ModuleType) -> Sample:
    # As pip leaves it behind: with bytecode, which the warm-up writes.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    code = _TIME_IMPORT.format(without_orjson=sys.modules.get("orjson", ...) is None, module=contender.MODULE)
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
    seconds, cpu = map(float, done.stdout.split())
    return {"seconds": seconds, "cpu": cpu}


def repeat(contender: ModuleType, run: str, url: str, arguments: dict[str, Any]) -> Any:
    """A sample, or how it failed: a contender that cannot do what is asked is a result as well."""
    try:
        if run == "import":
            return time_import(contender)
        return getattr(contender, run)(url, **arguments)
    except Exception as error:  # noqa: BLE001
        return {"failed": f"{type(error).__name__}: {error}"[:200]}


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("contender", "workload", "url"):
        parser.add_argument(name)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    # Without any handler, Python prints what is logged.
    logging.getLogger().addHandler(logging.NullHandler())
    contender = load(arguments.contender)
    workload = find(arguments.workload, quick=arguments.quick)
    how = {**workload.arguments, **CONTENDERS[arguments.contender].arguments}
    for turn, _ in enumerate(sys.stdin):
        Seen.warming_up = turn < workload.warmups
        sample = repeat(contender, workload.run, arguments.url + workload.path, how)
        print(json.dumps(sample), flush=True)


if __name__ == "__main__":
    main()
