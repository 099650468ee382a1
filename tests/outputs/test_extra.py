"""What is imported, and when; and what is said where it is not installed."""

from __future__ import annotations

import subprocess
import sys

import pytest


def run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("program", "imported"),
    [
        ("import runtimeuse_sync", ""),
        ("import runtimeuse_sync.outputs", ""),
        ("from runtimeuse_sync.outputs import output_schema as o; o(int)", "msgspec"),
        ("from runtimeuse_sync.outputs import output_schema as o; o({'type': 'integer'})", "jsonschema"),
        (
            "import pydantic as p; from runtimeuse_sync.outputs import output_schema as o; o(p.RootModel[int])",
            "pydantic",
        ),
    ],
)
def test_each_library_is_imported_for_its_own_types_alone(program: str, imported: str) -> None:
    found = run(f"{program}; import sys; print(*{{'msgspec', 'pydantic', 'jsonschema'}} & {{*sys.modules}})")
    assert found == imported


@pytest.mark.parametrize(("module", "output_type"), [("msgspec", "int"), ("jsonschema", "{'type': 'integer'}")])
def test_a_missing_extra_is_named(module: str, output_type: str) -> None:
    program = (
        f"import sys; sys.modules[{module!r}] = None\n"
        "import runtimeuse_sync\n"
        "try:\n"
        f"    runtimeuse_sync.Client('ws://localhost:9').query('Count.', output_type={output_type})\n"
        "except ImportError as error:\n"
        "    print(error.name, error)\n"
    )
    said = run(program)
    assert said.startswith(f"{module} ")
    assert f"needs {module}" in said
    assert said.endswith('pip install "runtimeuse-sync[typed]"')
