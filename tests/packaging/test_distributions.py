"""What is uploaded: the sdist and the wheel, and the wheel installed alone."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from .support import ROOT, new_environment, run

PACKAGE = ROOT / "runtimeuse_sync"

# Building and installing ask the package index.
pytestmark = pytest.mark.timeout(300)

CORE_DEPENDENCIES = {"attrs", "cattrs", "exceptiongroup", "typing-extensions", "websocket-client"}
EXTRA_MODULES = {"boto3", "click", "jsonschema", "msgspec", "orjson", "rich", "watchfiles", "websockets"}


@pytest.fixture(scope="module")
def clean_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that holds the wheel and the core's dependencies alone."""
    python = new_environment(tmp_path_factory.mktemp("clean"))
    run(python, "-m", "pip", "install", wheel)
    return python


def test_the_index_would_take_them(built: Path) -> None:
    run(sys.executable, "-m", "twine", "check", "--strict", *built.iterdir())


def test_the_wheel_holds_the_package_and_the_pytest_plugin_alone(wheel: Path) -> None:
    shipped = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    sources = {path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert shipped == {path.relative_to(ROOT).as_posix() for path in sources} | {"_runtimeuse_sync_pytest.py"}
    assert "runtimeuse_sync/py.typed" in shipped


def test_the_sdist_can_be_tested(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names >= {"CHANGELOG.rst", "LICENSE", "conftest.py", "tox.ini", "tests/packaging/test_distributions.py"}


def test_the_core_needs_no_more_than_it_says(clean_python: Path) -> None:
    listed = json.loads(run(clean_python, "-m", "pip", "list", "--format", "json"))
    names = {entry["name"].lower().replace("_", "-") for entry in listed} - {"pip", "setuptools"}
    assert names - {"exceptiongroup"} == (CORE_DEPENDENCIES | {"runtimeuse-sync"}) - {"exceptiongroup"}
    run(clean_python, "-m", "pip", "check")


def test_the_core_imports_without_the_extras(clean_python: Path) -> None:
    listing = "import runtimeuse_sync, sys; print(runtimeuse_sync.__file__, *sys.modules)"
    file, *modules = run(clean_python, "-I", "-c", listing).split()
    assert Path(file).is_relative_to(clean_python.parents[1])
    assert not EXTRA_MODULES & set(modules)


def test_every_public_name_is_there(clean_python: Path) -> None:
    run(clean_python, "-I", "-W", "error", "-c", "from runtimeuse_sync import *; Client")


@pytest.mark.parametrize(("module", "extra"), [("local", "local"), ("testing", "local"), ("otel", "otel")])
def test_a_missing_extra_is_named_with_the_command_that_installs_it(
    clean_python: Path, module: str, extra: str
) -> None:
    caught = f"""
try:
    import runtimeuse_sync.{module}
except ImportError as error:
    print(error)
"""
    assert f'pip install "runtimeuse-sync[{extra}]"' in run(clean_python, "-I", "-c", caught)


def test_the_command_says_what_it_misses(clean_python: Path) -> None:
    command = clean_python.with_name("runtimeuse-sync" + clean_python.suffix)
    done = subprocess.run([str(command), "demo"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (125, "")
    assert 'pip install "runtimeuse-sync[cli]"' in done.stderr


def test_the_pytest_plugin_is_harmless_without_its_extra(clean_python: Path, tmp_path: Path) -> None:
    run(clean_python, "-m", "pip", "install", "--target", tmp_path / "pytest", "pytest")
    (tmp_path / "test_it.py").write_text("def test_it():\n    pass\n", encoding="utf-8")
    pytest_here = (clean_python, "-m", "pytest", "-W", "error", "--rootdir", tmp_path, "-p", "no:cacheprovider")
    listed = run(*pytest_here, "--fixtures", "-v", tmp_path / "test_it.py", PYTHONPATH=tmp_path / "pytest")
    assert "scripted_runtime" in listed
    assert "1 passed" in run(*pytest_here, tmp_path / "test_it.py", PYTHONPATH=tmp_path / "pytest")
