"""Who may import whom. The order below is the design: change it on purpose, or not at all.

What stands under ``if TYPE_CHECKING:`` binds no module to another at run time, so the order leaves it out; but two
files that know each other are one file in two pieces, also for the type checker.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = "runtimeuse_sync"
ROOT = Path(__file__).parents[2] / PACKAGE

# A module imports only modules that stand before it: those of the folders before its own, and those before it in its
# own folder. The order of a folder stands under the folder's name.
ORDER = {
    "": (
        "_common",
        "usage",
        "exceptions",
        "messages",
        "options",
        "keywords",
        "observers",
        "_protocol",
        "_connection",
        "transports",
        "_call",
        "run",
        "typed_run",
        "streams",
        "invoking",
        "calls",
        "sandbox_calls",
        "many",
        "session",
        "client",
        "__init__",
        # The core ends here: what follows is written against its public names, or needs an extra.
        "notebook",
        "_files",
        "artifacts",
        "commands",
        "files",
        "otel",
        "outputs",
        "jobs",
        "sandboxes",
        "journal",
        "_titles",
        "web",
        "local",
        "testing",
        "cli",
        "__main__",
    ),
    "_files": ("patterns", "transit", "patience", "sandbox", "live", "packing", "unpacking", "receiving", "scripts"),
    "notebook": ("_html", "_tracebacks", "_view", "_watching", "__init__"),
    "_common": (
        "close_codes",
        "validation",
        "deadline",
        "words",
        "redaction",
        "wakeup",
        "waiter",
        "hosts",
        "tracebacks",
        "with_output",
        "plain",
    ),
    "_protocol": ("frames", "nesting", "structuring", "codec", "exchange"),
    "_connection": (
        "endpoint",
        "failures",
        "proxy",
        "settings",
        "upgrade",
        "addresses",
        "connecting",
        "inbox",
        "keepalive",
        "ending",
        "outbox",
        "reader",
        "watch",
        "traffic",
        "thread",
        "shared",
        "crowd",
        "worker",
        "connection",
    ),
    "_call": (
        "generics",
        "waits",
        "watch",
        "cancellation",
        "limits",
        "ticker",
        "arguments",
        "callbacks",
        "conversions",
        "in_flight",
        "channel",
        "observing",
        "lock",
        "lending",
        "cancelling",
        "lost",
        "request_loop",
        "stderr_tail",
        "readiness",
    ),
    "otel": ("_names", "_attributes", "_spans", "_telemetry", "__init__"),
    "journal": (
        "_exceptions",
        "_json",
        "_secrets",
        "_errors",
        "_locking",
        "_recording",
        "_entries",
        "_runs",
        "_following",
        "_comparison",
        "_faults",
        "_generations",
        "_playing",
        "_replay",
        "__init__",
    ),
    "web": ("_encoding", "_journal", "_asynchronous", "__init__"),
    "artifacts": ("_stored", "_s3", "_obstore", "__init__"),
    "outputs": (
        "_faults",
        "_nodes",
        "_strict",
        "_by_msgspec",
        "_by_pydantic",
        "_by_schema",
        "_output",
        "_asking",
        "__init__",
    ),
    "jobs": (
        "_asks",
        "_budget",
        "_outcome",
        "_how",
        "_order",
        "_waiting",
        "_work",
        "_job",
        "_crew",
        "_runtimes",
        "_mapping",
        "__init__",
    ),
    "local": (
        "handlers",
        "_cancel_event",
        "_command_line",
        "_processes",
        "_transfers",
        "_artifacts",
        "_server",
        "agents",
        "_events",
        "presets",
        "node",
        "_put_server",
        "receiver",
        "runtime",
        "__init__",
    ),
    "local/_processes": ("keeper_program", "keeper", "kept", "groups", "processes", "output", "commands"),
    "local/_processes/keeper_program": ("wire", "table", "program"),
    "local/_transfers": (
        "files",
        "abortable",
        "http",
        "data_urls",
        "inflating",
        "archives",
        "downloads",
        "uploads",
    ),
    "local/_artifacts": ("ignore", "settling", "watching", "artifacts"),
    "local/_server": (
        "admission",
        "framing",
        "outgoing",
        "connection",
        "latch",
        "refusing",
        "listener",
        "outbox",
        "settings",
        "schema",
        "request",
        "session",
    ),
    "testing": (
        "_loop",
        "_mailbox",
        "_link",
        "_comparison",
        "_peer",
        "_record",
        "_server",
        "_runtime",
        "_generations",
        "_cassettes",
        "__init__",
    ),
    "cli": (
        "_screen",
        "_terminal",
        "_screens",
        "_signals",
        "_streams",
        "_endings",
        "_parameters",
        "_schema",
        "_json",
        "_reports",
        "_artifacts",
        "_recording",
        "_timeline",
        "_pictures",
        "_prompts",
        "_answers",
        "_demo_world",
        "_demo_run",
        "batch",
        "cp",
        "demo",
        "execute",
        "invoke",
        "replay",
        "serve",
        "show",
        "wait",
        "_app",
        "__init__",
    ),
}
# A user could have written it.
ABOVE = (
    "_files",
    "artifacts",
    "commands",
    "files",
    "jobs",
    "journal",
    "notebook",
    "otel",
    "outputs",
    "sandboxes",
    "web",
)
# What a module of the core imports inside a function though it stands above: a method that is called there.
LATE = {
    "_common/plain": ("notebook/_html",),
    "calls": ("files",),
    "exceptions": ("notebook/_tracebacks",),
    "messages": ("notebook/_html",),
    "many": ("jobs/__init__",),
    "run": ("notebook/_html",),
    "sandbox_calls": ("commands", "files"),
    "streams": ("outputs/__init__",),
}
CORE = ORDER[""][: ORDER[""].index("__init__") + 1]

# What only the named modules of the core import, from outside the package.
SOLE_USERS = {
    "json": ("_protocol/codec", "_common/validation"),
    "orjson": ("_protocol/codec",),
    "cattrs": ("_protocol/structuring",),
    "websocket": ("_connection/upgrade",),
    "asyncio": (),
    "click": (),
    "jsonschema": (),
    "msgspec": (),
    "opentelemetry": (),
    "pydantic": (),
    "pytest": (),
    "rich": (),
    "watchfiles": (),
    "websockets": (),
}

FILES = sorted(ROOT.rglob("*.py"))


def module_of(file: Path) -> str:
    """The path of ``file`` inside the package, without its ending: ``_protocol/codec``."""
    return file.relative_to(ROOT).with_suffix("").as_posix()


def imports(file: Path, *, of_type_checkers: bool = False) -> Iterator[str]:
    """The absolute dotted names of what ``file`` imports."""
    package = (PACKAGE, *file.relative_to(ROOT).parent.parts)
    for node in _nodes(ast.parse(file.read_text(encoding="utf-8")), of_type_checkers):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            yield from (".".join((*base, *filter(None, [node.module]), alias.name)) for alias in node.names)


def _nodes(node: ast.AST, of_type_checkers: bool) -> Iterator[ast.AST]:
    yield node
    is_for_type_checkers = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
    skips = isinstance(node, ast.If) and is_for_type_checkers and not of_type_checkers
    for child in node.orelse if isinstance(node, ast.If) and skips else ast.iter_child_nodes(node):
        yield from _nodes(child, of_type_checkers)


def target(name: str) -> str:
    """The module that a dotted name of the package leads to, as ``module_of`` writes it."""
    path = ROOT
    for part in name.split(".")[1:]:
        if (path / f"{part}.py").exists():
            return module_of(path / f"{part}.py")
        if not (path / part).is_dir():
            break
        path /= part
    return module_of(path / "__init__.py")


def inside(file: Path, **which: bool) -> set[str]:
    """The modules of the package that ``file`` imports."""
    return {target(name) for name in imports(file, **which) if name.split(".")[0] == PACKAGE}


def rank(module: str) -> tuple[int, ...]:
    """Where a module stands in the order: its folder's place, then its own."""
    *folders, name = module.split("/")
    places = []
    for depth, part in enumerate((*folders, name)):
        folder = "/".join(folders[:depth])
        order = ORDER[folder]
        if part == "__init__" and part not in order:
            return (*places, len(order))
        assert part in order, f"{module} has no place in the order of {folder or 'the package'}: give it one"
        places.append(order.index(part))
    return tuple(places)


@pytest.mark.parametrize("file", FILES, ids=module_of)
def test_imports_only_what_stands_before_it(file: Path) -> None:
    here = rank(module_of(file))
    late = LATE.get(module_of(file), ())
    assert {name for name in inside(file) if rank(name) >= here and name not in late} == set()


def test_a_late_import_stands_inside_a_function() -> None:
    for importer, late in LATE.items():
        tree = ast.parse((ROOT / f"{importer}.py").read_text(encoding="utf-8"))
        early = {alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names}
        assert early.isdisjoint(name.split("/")[0] for name in late)


def test_no_two_files_import_each_other() -> None:
    graph = {module_of(file): inside(file, of_type_checkers=True) for file in FILES}
    assert {(a, b) for a in graph for b in graph[a] if a < b and a in graph[b]} == set()


def test_the_order_names_nothing_that_is_gone() -> None:
    for folder, names in ORDER.items():
        for name in names:
            assert (ROOT / folder / f"{name}.py").exists() or (ROOT / folder / name).is_dir(), f"{folder}/{name}"


@pytest.mark.parametrize("file", [f for f in FILES if module_of(f).split("/")[0] in CORE], ids=module_of)
def test_the_core_uses_other_libraries_in_one_place_each(file: Path) -> None:
    here, outside = module_of(file), {name.split(".")[0] for name in imports(file)}
    assert {name for name in outside if here not in SOLE_USERS.get(name, (here,))} == set()


@pytest.mark.parametrize("file", [f for f in FILES if module_of(f).split("/")[0] in ABOVE], ids=module_of)
def test_what_stands_above_the_core_uses_public_names_alone(file: Path) -> None:
    assert {name for name in inside(file) if name.split("/")[0] not in ABOVE} <= {"__init__"}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from . import messages as m", ["runtimeuse_sync.messages"]),
        ("from .exceptions import ProtocolError", ["runtimeuse_sync.exceptions.ProtocolError"]),
        ("def later():\n    import runtimeuse_sync.client", ["runtimeuse_sync.client"]),
        ("if TYPE_CHECKING:\n    from . import client\nelse:\n    import json", ["json"]),
        ("if typing.TYPE_CHECKING:\n    from . import client", []),
        ("try:\n    import orjson\nexcept ImportError:\n    pass", ["orjson"]),
    ],
)
def test_imports_are_found_wherever_they_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, found: list[str]
) -> None:
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    (tmp_path / "some.py").write_text(source, encoding="utf-8")
    assert list(imports(tmp_path / "some.py")) == found


def test_a_type_checkers_imports_are_found_when_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    (tmp_path / "some.py").write_text("if TYPE_CHECKING:\n    from . import client", encoding="utf-8")
    assert list(imports(tmp_path / "some.py", of_type_checkers=True)) == ["runtimeuse_sync.client"]


def test_relative_imports_of_a_sub_package_are_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "some.py").write_text("from .. import client\nfrom .other import x", encoding="utf-8")
    assert list(imports(tmp_path / "local" / "some.py")) == ["runtimeuse_sync.client", "runtimeuse_sync.local.other.x"]


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("runtimeuse_sync.messages", "messages"),
        ("runtimeuse_sync.exceptions.ProtocolError", "exceptions"),
        ("runtimeuse_sync.InvocationMessage", "__init__"),
        ("runtimeuse_sync", "__init__"),
        ("runtimeuse_sync._protocol.codec.encode", "_protocol/codec"),
        ("runtimeuse_sync.local", "local/__init__"),
    ],
)
def test_a_name_leads_to_its_module(name: str, module: str) -> None:
    assert target(name) == module
