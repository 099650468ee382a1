"""Names in the text, such as ````QueryOptions```` or ````client.query(…)````, lead to where they are described.

The pages, README.rst among them, stay plain reStructuredText, which every forge and package index shows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from inspect import signature
from typing import Any

from docutils import nodes
from python_inventory import LINKED
from sphinx.addnodes import desc_signature, pending_xref
from sphinx.transforms.post_transforms import SphinxPostTransform

import runtimeuse_sync

# A name, and whether it is written as something that is called or given.
NAME = re.compile(r"((?:\w+\.)*\w+)([(=].*)?")
ALREADY_LINKED = (nodes.reference, nodes.title, pending_xref, desc_signature)

# Members of these are linked by their bare names, those of the first one first.
FAMILIAR = ("Client", "QueryOptions", "ExecuteCommandsOptions", "Run")
# What these are called with is described at the class.
TAKE_SETTINGS = FAMILIAR[:3]
# These words mean other things as well: they are linked only where they are called.
ORDINARY = {"headers", "invocation", "logger", "message", "model", "options", "proxy", "request", "result", "run"}
ORDINARY |= {"defaults", "session", "stream", "timeout", "transport", "usage"}
# On these pages bare words are modules or commands.
OTHER_WORDS = {"architecture", "changelog", "cli", "contributing", "benchmarks"}


def spellings(full: str) -> Iterator[str]:
    """How a documented name may be written: ``Client.query`` and ``client.query``, ``sse`` and ``web.sse``."""
    parts = full.split(".")
    yield from (".".join(parts[start:]) for start in range(len(parts) - 1) if not parts[start][0].islower())
    yield full
    if parts[-2][0].isupper():
        yield f"{parts[-2].lower()}.{parts[-1]}"
    else:
        yield parts[-1]
        yield ".".join(parts[1:])


def index_of(documented: list[str]) -> dict[str, str]:
    """What is described, by each of its spellings."""
    index: dict[str, str] = {name: name for name in LINKED}
    public = [name for name in documented if "._" not in name and name.count(".")]
    for full in sorted(public, key=lambda name: (name.count("."), name)):
        for spelling in spellings(full):
            index.setdefault(spelling, full)
    for owner in TAKE_SETTINGS:
        for parameter in signature(getattr(runtimeuse_sync, owner)).parameters:
            index.setdefault(f"{owner}.{parameter}", index[owner])
    for name in runtimeuse_sync.__all__:
        own_name = getattr(getattr(runtimeuse_sync, name), "__name__", name)
        index.setdefault(name, index.get(own_name, ""))
    return index


class LinkNames(SphinxPostTransform):
    """Puts a reference around each literal that is a name; the next transform resolves it."""

    default_priority = 5

    def run(self, **kwargs: Any) -> None:
        """Called for each page, when all have been read."""
        self.leave_words()
        index = index_of(list(self.env.domains.python_domain.objects))
        for literal in list(self.document.findall(nodes.literal)):
            target = self.target_of(literal.astext(), index)
            if target and not is_within(literal, ALREADY_LINKED):
                options = {"refdomain": "py", "reftype": "obj", "reftarget": target, "refexplicit": True}
                literal.replace_self(pending_xref("", literal.deepcopy(), refdoc=self.env.docname, **options))

    def leave_words(self) -> None:
        """A type told in a plain word (``path``, ``mapping``) is no name, although some attribute may have it."""
        for reference in list(self.document.findall(pending_xref)):
            target = reference.get("reftarget", "")
            if reference.get("refdomain") == "py" and re.fullmatch("[a-z]+", target) and target not in LINKED:
                reference.replace_self(reference.children)

    def target_of(self, text: str, index: dict[str, str]) -> str | None:
        """The documented name that is meant, if any."""
        written = NAME.fullmatch(text)
        if written is None:
            return None
        name, use = written.groups()
        is_plain = not use and (name in ORDINARY or self.env.docname in OTHER_WORDS)
        if name in index and not (is_plain and name.islower() and name not in LINKED):
            return index[name]
        members = [] if is_plain or "." in name else [index.get(f"{owner}.{name}") for owner in FAMILIAR]
        return next(filter(None, members), None)


def is_within(node: nodes.Node, kinds: tuple[type[nodes.Node], ...]) -> bool:
    """Whether something around it is one of these."""
    while node.parent is not None:
        node = node.parent
        if isinstance(node, kinds):
            return True
    return False


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_post_transform(LinkNames)
    return {"parallel_read_safe": True}
