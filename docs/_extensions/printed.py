"""What a program prints is set apart from what can be copied and run."""

from __future__ import annotations

from typing import Any

from docutils import nodes


def mark(app: Any, doctree: nodes.document) -> None:
    """Give the block behind a paragraph "It prints:" a class of its own."""
    for paragraph in doctree.findall(nodes.paragraph):
        block = paragraph.next_node(descend=False, siblings=True)
        if paragraph.astext() == "It prints:" and isinstance(block, nodes.literal_block):
            block["classes"].append("printed")


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("doctree-read", mark)
    return {"parallel_read_safe": True}
