"""What README.rst and the pages of docs show is run, and prints what they say.

The ``python`` blocks of a page share a namespace, in which ``url`` is a runtime's. Blocks that begin with a file's
name are the files of a project, which pytest tests. ``py`` blocks are other people's code: they are not run.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Callable

import pytest

from ..moto_server import bucket

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.rst", *sorted((ROOT / "docs").glob("*.rst"))]

# A block's lines are indented or empty; so are those of what it prints, if that is told.
BLOCK = r"((?:\n|    .*\n)+)"
PROGRAM = re.compile(rf"\.\. code-block:: python\n{BLOCK}(?:It prints::\n{BLOCK})?")
FILE_NAME = re.compile(r"# (\S+\.py)\n")


def programs(page: Path) -> list[tuple[str, str]]:
    """The programs of a page, each with what it prints, as far as that is told."""
    found = PROGRAM.findall(page.read_text(encoding="utf-8"))
    return [(textwrap.dedent(program).strip() + "\n", textwrap.dedent(output).strip()) for program, output in found]


def files(page: Path) -> dict[str, str]:
    """Those programs of a page that are files, by name."""
    return {found[1]: program for program, _ in programs(page) if (found := FILE_NAME.match(program))}


def of_pages(what: Callable[[Path], object]) -> pytest.MarkDecorator:
    """One test for each page that has something of the kind."""
    return pytest.mark.parametrize("page", [pytest.param(page, id=page.name) for page in PAGES if what(page)])


@pytest.fixture
def services(page: Path) -> Iterator[None]:
    """What a page's programs need beside a runtime."""
    needs_bucket = "import S3Artifacts" in page.read_text(encoding="utf-8")
    with bucket() if needs_bucket else nullcontext():
        yield


@of_pages(programs)
def test_programs_do_what_is_said(
    page: Path,
    services: None,
    url: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__", "url": url}
    for program, output in programs(page):
        if "opentelemetry.sdk" in program:
            pytest.importorskip("opentelemetry.sdk")
        if not FILE_NAME.match(program):
            exec(compile(program, page.name, "exec", dont_inherit=True), namespace)
            said = capsys.readouterr().out.strip()
            assert not output or said == output


# Another pytest, of which most of the time is the start.
@pytest.mark.timeout(180)
@of_pages(files)
def test_files_pass_as_a_project(page: Path, pytester: pytest.Pytester) -> None:
    project = files(page)
    if any("import flask" in program for program in project.values()):
        pytest.importorskip("flask")
    for name, program in project.items():
        (pytester.path / name).write_text(program, encoding="utf-8")
    outcomes = pytester.runpytest_subprocess("-W", "error", "-p", "no:cacheprovider").parseoutcomes()
    assert outcomes.keys() == {"passed"}
    assert outcomes["passed"] >= sum(program.count("def test_") for program in project.values())


def test_there_are_programs() -> None:
    assert {"README.rst", "guide.rst", "local.rst", "migrating.rst", "testing.rst"} <= {
        page.name for page in PAGES if programs(page)
    }


# --- links ------------------------------------------------------------------------------------------

LINKS = [
    (page, target, anchor)
    for page in [*PAGES, ROOT / "CHANGELOG.rst"]
    for target, anchor in re.findall(r"<([\w./]*)(?:#([\w-]+))?>`_", page.read_text(encoding="utf-8"))
]


def anchors(page: Path) -> set[str]:
    """What the titles of a page are linked by."""
    titles = re.findall(r"^(\S.*)\n[=~-]{3,}$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"\W+", "-", title.lower()).strip("-") for title in titles}


@pytest.mark.parametrize(("page", "target", "anchor"), LINKS, ids=[f"{p.name}-{t}-{a}" for p, t, a in LINKS])
def test_a_link_leads_somewhere(page: Path, target: str, anchor: str) -> None:
    linked = (page.parent / target) if target else page
    assert linked.exists()
    assert not anchor or anchor in anchors(linked)


# --- promises ---------------------------------------------------------------------------------------

NAMED_TESTS = re.findall(r"(tests/[\w/]+\.py)::(\w+)", (ROOT / "docs" / "promises.rst").read_text(encoding="utf-8"))


@cache
def names_of_tests(path: Path) -> set[str]:
    """Functions, and what hypothesis makes of a state machine: ``TestIt = Machine.TestCase``."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign) and ast.unparse(node.value).endswith(".TestCase"):
            names.update(map(ast.unparse, node.targets))
    return names


@pytest.mark.parametrize(("path", "name"), NAMED_TESTS, ids=[name for _, name in NAMED_TESTS])
def test_a_promise_names_the_test_that_holds_it(path: str, name: str) -> None:
    assert name in names_of_tests(ROOT / path)


def test_there_are_promises() -> None:
    assert len(NAMED_TESTS) > 20
