"""Replace each dependency of the installed package, extras included, by the oldest version that its bound allows."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import requires

from packaging.requirements import Requirement

# The tools of the suite are not what users run.
TOOLS = "test"


def lowest_versions() -> list[str]:
    wanted = [Requirement(text) for text in requires("runtimeuse-sync") or ()]
    return [
        f"{requirement.name}=={specifier.version}"
        for requirement in wanted
        if f'extra == "{TOOLS}"' not in str(requirement.marker)
        for specifier in requirement.specifier
        if specifier.operator == ">="
    ]


if __name__ == "__main__":
    subprocess.check_call([sys.executable, "-m", "pip", "install", *lowest_versions()])
    subprocess.check_call([sys.executable, "-m", "pip", "check"])
