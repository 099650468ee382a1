"""Programs of files are Python, and end where they end; what a program prints is set apart from what can be run."""

from __future__ import annotations

from typing import Any

from docutils import nodes


def shown_as_python(app: Any, doctree: nodes.document) -> None:
    """Called with each page as it is read: a part of a file has the empty lines behind it, which say nothing."""
    for block in doctree.findall(nodes.literal_block):
        if block.get("source", "").endswith(".py"):
            text = block.astext().rstrip() + "\n"
            block.rawsource, block["language"] = text, "python"
            block[:] = [nodes.Text(text)]


def set_apart(app: Any, doctree: nodes.document) -> None:
    """Called with each page as it is read: the block behind a paragraph "It prints:" gets a class of its own."""
    for paragraph in doctree.findall(nodes.paragraph):
        block = paragraph.next_node(descend=False, siblings=True)
        if paragraph.astext() == "It prints:" and isinstance(block, nodes.literal_block):
            block["classes"].append("printed")


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("doctree-read", shown_as_python)
    app.connect("doctree-read", set_apart)
    return {"parallel_read_safe": True}
