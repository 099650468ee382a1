"""Does the suite notice if the library misbehaves? ``python -m tests.mutation`` changes it place by place, and asks.

Cosmic Ray knows what can be changed and how. The tests are collected once; each mutant is tested in a fork of the
process that did it, where it takes the place of the function that it is a mutant of. Where that comes too late, for
what has changed is run by the import, the module is imported and its tests are collected anew.
Tests that draw at random are left out, so that nothing is noticed by luck, and all is noticed again tomorrow.
"""

from __future__ import annotations

import difflib
import gc
import json
import os
import resource
import signal
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType
from typing import Any, Optional

import attrs
import pytest
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import MutationVisitor, mutate_code
from cosmic_ray.operators.operator import Operator
from cosmic_ray.plugins import get_operator, operator_names
from hypothesis import is_hypothesis_test
from parso.python.tree import Keyword

# Percent of the mutants, of each module and of all, that have to be noticed.
GOAL = 90

# What is mutated, and who has to notice.
MODULES = {
    "_common.deadline": "tests/common/test_deadline.py",
    "_protocol.exchange": "tests/protocol/test_exchange.py",
    "_protocol.codec": "tests/protocol/test_codec.py",
    "_protocol.frames": "tests/protocol/test_frames.py",
}

PACKAGE = "runtimeuse_sync"
ROOT = Path(__file__).parents[2]

# No configuration, and no fixtures but the test files' own: the guard against leaks would take half of the time.
PYTEST = [
    *("-x", "-q", "-s", "--tb=no", "--assert=plain", "--noconftest", "-c", os.devnull, "--rootdir", str(ROOT)),
    *("-p", "no:cacheprovider", "-W", "ignore"),
]

MEMORY = 2 << 30  # bytes that one mutant may have
PATIENCE = 60  # seconds, for one that waits

# Exit statuses beside pytest's: a mutation that gives no Python, and a fault of this program, which kills nobody.
NO_MUTANT, FAULT = 77, 78
SURVIVED, KILLED, TIMED_OUT = "survived", "killed", "timed out"
OUTCOMES = {
    pytest.ExitCode.OK: SURVIVED,
    pytest.ExitCode.TESTS_FAILED: KILLED,
    pytest.ExitCode.INTERRUPTED: KILLED,  # the tests cannot even be imported
    pytest.ExitCode.INTERNAL_ERROR: KILLED,
    NO_MUTANT: None,
    -signal.SIGPROF: TIMED_OUT,
    -signal.SIGALRM: TIMED_OUT,
}


class DropStatement(Operator):
    """What Cosmic Ray itself has no operator for: a statement of a function that is forgotten."""

    def mutation_positions(self, node: Any) -> Iterator[Any]:
        is_statement = node.type == "simple_stmt" and node.children[0].type != "string"
        if is_statement and node.get_first_leaf().value != "pass" and node.search_ancestor("funcdef"):
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        first = node.get_first_leaf()
        node.children[0] = Keyword("pass", first.start_pos, prefix=first.prefix)
        return node

    @classmethod
    def examples(cls) -> tuple[Any, ...]:
        return ()


OPERATORS = [DropStatement, *(get_operator(name) for name in operator_names() if not get_operator(name).arguments())]


@attrs.frozen
class Target:
    """A module, and the tests that have to notice what happens to it."""

    name: str
    path: Path
    source: str
    tree: Any
    items: list[Any]
    durations: dict[str, float]  # seconds that each test takes
    imported: set[CodeType]  # what has been run before any test
    seconds: float  # that all take on the processor


@attrs.frozen
class Mutant:
    """A mutation of what stands in ``line``, inside the function that ``names`` lead to, or inside none."""

    operator: type[Operator]
    occurrence: int
    line: int
    names: list[str]


def mutants_of(tree: Any) -> Iterator[Mutant]:
    for operator in OPERATORS:
        places = ((node, place) for node in ast_nodes(tree) for place in operator().mutation_positions(node))
        for occurrence, (node, (start, _)) in enumerate(places):
            yield Mutant(operator, occurrence, start[0], _function_around(node))


def _function_around(node: Any) -> list[str]:
    names: list[str] = []
    while above := node.parent:
        if above.type == "funcdef":
            names = [above.name.value] if node is above.children[-1] else []
        elif above.type == "classdef" and names:
            names = [above.name.value, *names]
        node = above
    return names


# --- one mutant, in a process of its own --------------------------------------------------------------


def start(target: Target, mutant: Mutant) -> int:
    """Test the mutant in a fork; its process id."""
    pid = os.fork()
    if not pid:
        status = FAULT
        try:
            _limit(target.seconds)
            status = _test(target, mutant)
        finally:
            os._exit(status)
    return pid


def _limit(seconds: float) -> None:
    signal.setitimer(signal.ITIMER_PROF, seconds * 3 + 1)  # the processor's: a busy machine kills nobody
    signal.alarm(PATIENCE)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)


def _test(target: Target, mutant: Mutant) -> int:
    # Parsing the source anew, as mutate_code() does, takes longer than the tests.
    source = MutationVisitor(mutant.occurrence, mutant.operator()).walk(target.tree).get_code()
    try:
        code = compile(source, str(target.path), "exec", dont_inherit=True)
    except SyntaxError:
        return NO_MUTANT
    if mutant.names and _graft(target, mutant.names, code):
        return run(target.items)
    return _import_and_run(target, code)


def _graft(target: Target, names: list[str], code: CodeType) -> bool:
    """Give the function the body that it has in ``code``, whoever holds it; whether that can be done in time."""
    function: Any = sys.modules[f"{PACKAGE}.{target.name}"]
    for name in names:
        code = next(const for const in code.co_consts if isinstance(const, CodeType) and const.co_name == name)
        function = vars(function)[name]
    function = getattr(function, "fget", function)
    is_late = function.__code__ in target.imported or len(function.__code__.co_freevars) != len(code.co_freevars)
    if not is_late:
        function.__code__ = code
    return not is_late


def run(items: list[Any]) -> int:
    try:
        for item, following in zip(items, [*items[1:], None]):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if item.session.testsfailed:
                return pytest.ExitCode.TESTS_FAILED
    except BaseException:  # noqa: BLE001 - what ends even pytest has been noticed
        return pytest.ExitCode.INTERNAL_ERROR
    return pytest.ExitCode.OK


class Finder(SourceFileLoader):
    """Gives the mutant to whoever imports the module."""

    def __init__(self, target: Target, code: CodeType) -> None:
        super().__init__(f"{PACKAGE}.{target.name}", str(target.path))
        self.code = code

    def find_spec(self, name: str, path: Any = None, module: Any = None) -> Optional[ModuleSpec]:
        return spec_from_file_location(name, self.path, loader=self) if name == self.name else None

    def get_code(self, fullname: str) -> Any:
        return self.code


def _import_and_run(target: Target, code: CodeType) -> int:
    for name in list(sys.modules):
        if name.split(".")[0] in (PACKAGE, "tests"):
            del sys.modules[name]
    sys.meta_path.insert(0, Finder(target, code))
    return pytest.main([*PYTEST, MODULES[target.name]], plugins=[Selection(target.durations)])


class Selection:
    """The tests that do not draw at random and are not slow; the quickest first, for most mutants need no other."""

    def __init__(self, durations: dict[str, float]) -> None:
        self.durations = durations

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        chosen = [item for item in items if not (item.get_closest_marker("slow") or is_hypothesis_test(item.obj))]
        items[:] = sorted(chosen, key=lambda item: self.durations.get(item.nodeid, 0.0))


# --- all of them --------------------------------------------------------------------------------------


class Stopwatch:
    def __init__(self) -> None:
        self.durations: dict[str, float] = defaultdict(float)

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.durations[report.nodeid] += report.duration


def as_it_is(name: str, items: list[Any], imported: set[CodeType]) -> Target:
    """The module, whose tests have to pass before any mutant is blamed for a failure."""
    path = ROOT / PACKAGE / f"{name.replace('.', '/')}.py"
    source = path.read_text(encoding="utf-8")
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        status = FAULT
        try:
            status = _time(items, writer)
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        durations = pipe.read()
    _, status, used = os.wait4(pid, 0)
    if status:
        pytest.exit(f"{MODULES[name]} fails without any mutant", 1)
    measured = json.loads(durations)
    items.sort(key=lambda item: measured[item.nodeid])
    return Target(name, path, source, get_ast(source), items, measured, imported, used.ru_utime + used.ru_stime)


def _time(items: list[Any], pipe: int) -> int:
    _limit(PATIENCE)
    stopwatch = Stopwatch()
    items[0].config.pluginmanager.register(stopwatch)
    status = run(items)
    with os.fdopen(pipe, "wb") as writer:
        writer.write(json.dumps(stopwatch.durations).encode())
    return status


def outcome_of(status: int) -> Optional[str]:
    code = os.waitstatus_to_exitcode(status)
    return KILLED if code < 0 and code not in OUTCOMES else OUTCOMES[code]


def outcomes(target: Target) -> Iterator[tuple[Mutant, Optional[str]]]:
    """Every mutant of the module and what became of it, as many at a time as there are processors."""
    waiting = list(mutants_of(target.tree))
    running: dict[int, Mutant] = {}
    while waiting or running:
        while waiting and len(running) < (os.cpu_count() or 1):
            mutant = waiting.pop()
            running[start(target, mutant)] = mutant
        pid, status = os.wait()
        yield running.pop(pid), outcome_of(status)


def describe(target: Target, mutant: Mutant) -> str:
    mutated = str(mutate_code(target.source, mutant.operator(), mutant.occurrence))
    lines = difflib.ndiff(target.source.splitlines(), mutated.splitlines())
    changed = [f"    {line[0]} {line[2:].strip()}" for line in lines if line[0] in "-+"]
    return "\n".join([f"{target.name}.py:{mutant.line} {mutant.operator.__name__}", *changed])


def report(name: str, found: Counter[str]) -> bool:
    """Print the figures; whether they are good enough."""
    survived, total = found[SURVIVED], sum(found.values())
    score = 100 * (total - survived) / total
    figures = f"{total:>7} {total - survived:>7} {found[TIMED_OUT]:>9} {survived:>8}"
    print(f"{name:<18} {figures} {score:>7.1f} %", flush=True)
    return score >= GOAL


class Experiment(Selection):
    """Instead of running the tests once, runs them once for each mutant."""

    def __init__(self) -> None:
        super().__init__({})
        self.total: Counter[str] = Counter()
        self.survivors: list[str] = []
        self.imported: set[CodeType] = set()
        self.passed = False

    @pytest.hookimpl(wrapper=True)
    def pytest_collection(self) -> Iterator[None]:
        sys.setprofile(lambda frame, *_: self.imported.add(frame.f_code))
        try:
            return (yield)
        finally:
            sys.setprofile(None)

    def pytest_runtestloop(self, session: Any) -> bool:
        if session.testsfailed:
            raise session.Interrupted("the tests cannot be collected")
        gc.freeze()
        print("\nmodule     mutants  killed (by time) survived    score")
        scores = [self._try_all(name, session.items) for name in MODULES]
        self.passed = all([*scores, report("all", self.total)])
        print("", "Survivors:", *self.survivors, sep="\n")
        return True

    def _try_all(self, name: str, items: list[Any]) -> bool:
        own = [item for item in items if item.nodeid.startswith(MODULES[name])]
        target = as_it_is(name, own, self.imported)
        found = [(mutant, outcome) for mutant, outcome in outcomes(target) if outcome is not None]
        counted = Counter(outcome for _, outcome in found)
        self.total += counted
        self.survivors += sorted(describe(target, mutant) for mutant, outcome in found if outcome == SURVIVED)
        return report(name, counted)


def main() -> int:
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    experiment = Experiment()
    pytest.main([*PYTEST, *MODULES.values()], plugins=[experiment])
    if not experiment.passed:
        print(f"\nFailed: {GOAL} % of the mutants of each module, and of all, have to be noticed.")
    return not experiment.passed


if __name__ == "__main__":
    sys.exit(main())
