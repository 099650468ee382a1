"""How Sphinx builds these pages: ``tox -e docs``."""

from __future__ import annotations

import re
from importlib.metadata import version as version_of
from typing import Any

from docutils import nodes

project = "runtimeuse-sync"
author = "runtimeuse-sync contributors"
version = release = version_of("runtimeuse-sync")

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "alabaster"
html_theme_options = {"description": "A blocking client for the runtimeuse agent runtime", "page_width": "70em"}

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings tell the types
autodoc_default_options = {"members": True, "inherited-members": True}


def relink(app: Any, doctree: nodes.document) -> None:
    """Links between files, as a forge shows them, become links between pages; those to other folders, text."""
    for link in list(doctree.findall(nodes.reference)):
        address = link.get("refuri", "")
        page = re.fullmatch(r"(?:docs/)?(\w+)\.rst(#.*)?", address)
        if page:
            link["refuri"] = f"{page[1].lower()}.html{page[2] or ''}"
        elif re.match(r"(\.\./)?(examples|benchmarks)", address):
            link.replace_self(link.children)


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("doctree-read", relink)
