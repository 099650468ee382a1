"""The site that is made of the pages: it builds without a warning, all that it links is there, and names are links."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Optional
from urllib.parse import unquote, urlsplit

import pytest

import runtimeuse_sync

pytest.importorskip("furo")

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"

# The first test waits for the build.
pytestmark = pytest.mark.timeout(300)


class Page(HTMLParser):
    """What a page can be linked at, and what it links."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, Optional[str]]]) -> None:
        given = {name: value for name, value in attrs if value}
        self.ids.update(given[name] for name in ("id", "name") if name in given)
        self.links.update(given[name] for name in ("href", "src") if name in given)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-d", str(folder / "doctrees")]
    done = subprocess.run([*build, str(ROOT / "docs"), str(folder / "html")], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return folder / "html"


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Page]:
    return {path.name: Page(path) for path in site.glob("*.html")}


def is_there(site: Path, pages: dict[str, Page], page: str, link: str) -> bool:
    """Whether a link of a page leads to a file, and to a place in it where it names one."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return parts.scheme in {"https", "data"}
    name = unquote(parts.path) or page
    if not parts.fragment:
        return (site / name).exists()
    return name in pages and unquote(parts.fragment) in pages[name].ids


def test_every_link_of_the_site_leads_somewhere(site: Path, pages: dict[str, Page]) -> None:
    links = [(name, link) for name, page in pages.items() for link in page.links]
    assert [(name, link) for name, link in links if not is_there(site, pages, name, link)] == []
    assert len(pages) > 15


def test_every_public_name_has_a_place_that_is_linked(pages: dict[str, Page]) -> None:
    described = {anchor.rpartition(".")[2] for page in pages.values() for anchor in page.ids}
    aliases = {"RuntimeUseClient", "RuntimeUseSession"}
    assert [name for name in runtimeuse_sync.__all__ if name not in described | aliases] == []


@pytest.mark.parametrize(
    ("page", "link"),
    [
        ("index.html", "api.html#runtimeuse_sync.Client"),
        ("index.html", "api.html#runtimeuse_sync.Client.query"),
        ("guide.html", "api.html#runtimeuse_sync.QueryOptions"),
        ("guide.html", "api.html#runtimeuse_sync.Run.cancel"),
        ("guide.html", "https://docs.python.org/3/library/threading.html#threading.Event"),
        ("web.html", "#runtimeuse_sync.web.sse"),
        ("web.html", "examples.html#flask-view-py"),
        ("speed.html", "benchmarks.html"),
    ],
)
def test_names_and_files_are_links(pages: dict[str, Page], page: str, link: str) -> None:
    assert link in pages[page].links


def test_every_example_is_shown_from_its_file() -> None:
    sources = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.rst"))
    shown = set(re.findall(r"^\.\. literalinclude:: \.\./examples/(\S+)$", sources, re.MULTILINE))
    assert {path.relative_to(EXAMPLES).as_posix() for path in EXAMPLES.rglob("*.py")} <= shown


# --- for programs that read -------------------------------------------------------------------------


def test_llms_txt_lists_every_page_with_a_summary_and_has_its_text(site: Path) -> None:
    listed = dict(re.findall(r"^- \[.+?\]\((\w+)\.txt\): (.+)$", (site / "llms.txt").read_text("utf-8"), re.MULTILINE))
    assert {*listed, "index"} == {path.stem for path in (ROOT / "docs").glob("*.rst")}
    whole = (site / "llms-full.txt").read_text("utf-8")
    for page in listed:
        assert (site / f"{page}.txt").read_text("utf-8") in whole
    assert "class runtimeuse_sync.Client(" in whole
