"""What is for a forge: links to files become links to pages, or text; a page's contents go, as the theme lists them."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Any, Optional

from docutils import nodes


def page_of(path: PurePosixPath, anchor: str, pages: set[str]) -> Optional[str]:
    """Where a file of the repository is shown: a page has the name of its file, a program has a title on one page."""
    if path.name == "README.rst":
        name = path.parent.name or "index"
    elif path.parts[0] == "examples":
        name, section = "examples", nodes.make_id("/".join(path.parts[1:]))
        anchor = f"#{section}" if section else ""
    else:
        name = path.stem.lower() if path.suffix == ".rst" else ""
    return f"{name}.html{anchor}" if name in pages else None


def relink(app: Any, doctree: nodes.document) -> None:
    """Called with each page as it is read, with what it includes."""
    for link in list(doctree.findall(nodes.reference)):
        found = re.fullmatch(r"(?:\.\./|docs/)*([\w./-]+)(#.*)?", link.get("refuri", ""))
        if found is None:
            continue
        page = page_of(PurePosixPath(found[1]), found[2] or "", app.env.found_docs)
        if page:
            link["refuri"] = page
        else:
            link.replace_self(link.children)


def drop_contents(app: Any, doctree: nodes.document) -> None:
    """Called with each page as it is read."""
    for topic in list(doctree.findall(nodes.topic)):
        if "contents" in topic["classes"]:
            topic.parent.remove(topic)
    for title in doctree.findall(nodes.title):
        title.attributes.pop("refid", None)  # the way back to the list


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("doctree-read", relink)
    app.connect("doctree-read", drop_contents)
    return {"parallel_read_safe": True}
