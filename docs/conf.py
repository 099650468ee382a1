"""How Sphinx builds these pages: ``tox -e docs``."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).with_name("_extensions")))

project = "runtimeuse-sync"
author = "runtimeuse-sync contributors"
version = release = version_of("runtimeuse-sync")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.intersphinx",
    "sphinx_copybutton",
    # Our own, in _extensions.
    "forge_links",
    "linked_names",
    "llms",
    "programs",
    "python_inventory",
]

html_theme = "furo"
html_title = f"{project} {version}"
html_baseurl = os.environ.get("READTHEDOCS_CANONICAL_URL", "")
html_static_path = ["_static"]
html_css_files = ["pages.css"]
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"
highlight_language = "none"  # what is Python says so
copybutton_selector = "div:not(.printed) > div.highlight > pre"
copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings tell the types
autodoc_default_options = {"members": True, "inherited-members": True}
