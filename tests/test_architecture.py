"""Who may import whom. The order below is the design: change it on purpose, or not at all.

What stands under ``if TYPE_CHECKING:`` is for the type checker's eyes and binds no module to another.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = "runtimeuse_sync"
ROOT = Path(__file__).parents[1] / PACKAGE

# A module imports only modules that stand before it. A sub-package has one place, and is free inside.
ORDER = (
    "_checks",
    "exceptions",
    "messages",
    "options",
    "_redaction",
    "_deadline",
    "_cancellation",
    "_frames",
    "_structuring",
    "_codec",
    "_waker",
    "_endpoint",
    "_proxy",
    "_handshake",
    "_inbox",
    "_keepalive",
    "_worker",
    "_connection",
    "transports",
    "_exchange",
    "_driver",
    "run",
    "_calls",
    "session",
    "client",
    "__init__",
    # The core ends here: what follows needs an extra.
    "local",
    "testing",
    "cli",
    "__main__",
)
CORE = ORDER[: ORDER.index("__init__") + 1]

# What only the named modules of the core import, from outside the package.
SOLE_USERS = {
    "json": ("_codec",),
    "orjson": ("_codec",),
    "cattrs": ("_structuring",),
    "websocket": ("_handshake",),
    "asyncio": (),
    "click": (),
    "pathspec": (),
    "pytest": (),
    "rich": (),
    "watchfiles": (),
    "websockets": (),
}

FILES = sorted(ROOT.rglob("*.py"))


def place(file: Path) -> str:
    """The entry of ORDER that stands for ``file``."""
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(file: Path) -> Iterator[str]:
    """The absolute dotted names of what ``file`` imports."""
    package = (PACKAGE, *file.relative_to(ROOT).parent.parts)
    for node in _run_time_nodes(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            yield from (".".join((*base, *filter(None, [node.module]), alias.name)) for alias in node.names)


def _run_time_nodes(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    type_checking = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
    for child in node.orelse if isinstance(node, ast.If) and type_checking else ast.iter_child_nodes(node):
        yield from _run_time_nodes(child)


def target(name: str) -> str:
    """The entry of ORDER that a dotted name inside the package leads to: a module, or the package's own face."""
    parts = name.split(".")
    submodule = len(parts) > 1 and ((ROOT / f"{parts[1]}.py").exists() or (ROOT / parts[1]).is_dir())
    return parts[1] if submodule else "__init__"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_imports_only_what_stands_before_it(file: Path) -> None:
    here = place(file)
    assert here in ORDER, f"{here} has no place in the order of modules: give it one"
    inside = {target(name) for name in imports(file) if name.split(".")[0] == PACKAGE}
    assert inside <= {here, *ORDER[: ORDER.index(here)]}


@pytest.mark.parametrize("file", [f for f in FILES if place(f) in CORE], ids=place)
def test_the_core_uses_other_libraries_in_one_place_each(file: Path) -> None:
    outside = {name.split(".")[0] for name in imports(file)}
    assert {name for name in outside if place(file) not in SOLE_USERS.get(name, (place(file),))} == set()


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


def test_relative_imports_of_a_sub_package_are_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "some.py").write_text("from .. import client\nfrom .other import x", encoding="utf-8")
    assert list(imports(tmp_path / "local" / "some.py")) == ["runtimeuse_sync.client", "runtimeuse_sync.local.other.x"]


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("runtimeuse_sync.messages", "messages"),
        ("runtimeuse_sync.exceptions.ProtocolError", "exceptions"),
        ("runtimeuse_sync.InvocationMessage", "__init__"),
        ("runtimeuse_sync", "__init__"),
    ],
)
def test_a_name_leads_to_its_module_or_to_the_package(name: str, entry: str) -> None:
    assert target(name) == entry
