"""The pages for programs that read: ``llms.txt`` lists them, each is there as text too, and all are in one file.

The form of ``llms.txt`` is that of https://llmstxt.org: a title, a summary, and lists of links with a word on each.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any, Optional

from docutils import nodes
from sphinx.addnodes import toctree
from sphinx.writers.text import TextTranslator


def summary_of(doctree: nodes.document) -> str:
    """The first two sentences of a page, on one line."""
    first = next(iter(doctree.findall(nodes.paragraph)), None)
    sentences = [] if first is None else re.split(r"(?<=[.:]) (?=[A-Z])", " ".join(first.astext().split()))
    return " ".join(sentences[:2]).rstrip(":")


def groups_of(app: Any) -> Iterator[tuple[str, list[str]]]:
    """The captions of the first page's lists, each with its pages."""
    for listed in app.env.get_doctree(app.config.root_doc).findall(toctree):
        yield listed["caption"], [page for _, page in listed["entries"]]


def line_of(app: Any, page: str) -> str:
    """A page in the list."""
    summary = summary_of(app.env.get_doctree(page))
    return f"- [{app.env.titles[page].astext()}]({app.config.html_baseurl}{page}.txt): {summary}"


def text_of(app: Any, page: str) -> str:
    """The whole page, with the programs that it shows and the docstrings."""
    doctree = app.env.get_and_resolve_doctree(page, app.builder)
    translator = TextTranslator(doctree, app.builder)
    doctree.walkabout(translator)
    return translator.body


def write(app: Any, exception: Optional[Exception]) -> None:
    """Called when all pages are written."""
    if exception is not None or app.builder.name != "html":
        return
    folder, root, groups = Path(app.outdir), app.config.root_doc, list(groups_of(app))
    lines = [f"# {app.config.project}", "", f"> {summary_of(app.env.get_doctree(root))}"]
    for caption, pages in groups:
        lines += ["", f"## {caption}", "", *(line_of(app, page) for page in pages)]
    (folder / "llms.txt").write_text("\n".join([*lines, ""]), encoding="utf-8")
    texts = {page: text_of(app, page) for page in [root, *(page for _, pages in groups for page in pages)]}
    for page, text in texts.items():
        (folder / f"{page}.txt").write_text(text, encoding="utf-8")
    (folder / "llms-full.txt").write_text("\n\n".join(texts.values()), encoding="utf-8")


def describe(app: Any, page: str, template: str, context: dict[str, Any], doctree: Optional[nodes.document]) -> None:
    """Give a page its summary as a description, which is what a search engine shows."""
    if doctree is not None:
        context["metatags"] += f'\n<meta name="description" content="{escape(summary_of(doctree))}">'


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("html-page-context", describe)
    app.connect("build-finished", write)
    return {"parallel_read_safe": True}
