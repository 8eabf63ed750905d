"""Technical documentation as people index it: HTML pages cut into sections and passages.

The pages come from Debian's documentation packages (``apt-get download NAME``, ``dpkg-deb -x``), permissive ones only.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

WORDS = range(30, 351)
"""A passage has so many words; longer sections are cut between blocks."""

PACKAGES = {
    "apache2-doc": "Apache-2.0",
    "clang-14-doc": "Apache-2.0 with LLVM exceptions",
    "cmake-doc": "BSD-3-Clause",
    "erlang-doc": "Apache-2.0",
    "golang-1.19-doc": "BSD-3-Clause",
    "heat-doc": "Apache-2.0",
    "keystone-doc": "Apache-2.0",
    "libboost1.74-doc": "BSL-1.0",
    "llvm-14-doc": "Apache-2.0 with LLVM exceptions",
    "neutron-doc": "Apache-2.0",
    "nodejs-doc": "MIT",
    "nova-doc": "Apache-2.0",
    "postgresql-doc-15": "PostgreSQL",
    "python-aiohttp-doc": "Apache-2.0",
    "python-attr-doc": "MIT",
    "python-cryptography-doc": "Apache-2.0 or BSD-3-Clause",
    "python-django-doc": "BSD-3-Clause",
    "python-flask-doc": "BSD-3-Clause",
    "python-jinja2-doc": "BSD-3-Clause",
    "python-pandas-doc": "BSD-3-Clause",
    "python-pytest-doc": "MIT",
    "python-requests-doc": "Apache-2.0",
    "python-scipy-doc": "BSD-3-Clause",
    "python-sklearn-doc": "BSD-3-Clause",
    "python-sqlalchemy-doc": "MIT",
    "python-tornado-doc": "Apache-2.0",
    "python-werkzeug-doc": "BSD-3-Clause",
    "python3.11-doc": "PSF-2.0",
    "rust-doc": "MIT or Apache-2.0",
    "sphinx-doc": "BSD-2-Clause",
    "sqlite3-doc": "public domain",
    "swift-doc": "Apache-2.0",
}
"""Debian packages whose documentation is read, and its licence."""

HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
BLOCKS = (*HEADINGS, "p", "li", "dd", "dt", "pre", "td", "th", "tr", "div", "section", "table", "br", "blockquote")
SKIPPED = ("script", "style", "nav", "header", "footer", "head", "svg", "select", "button", "form")
SKIPPED_CLASSES = {
    *("nav", "navbar", "navheader", "navfooter", "navigation", "breadcrumb", "breadcrumbs", "menu", "mainmenu"),
    *("toc", "toctree-wrapper", "contents", "related", "sidebar", "sphinxsidebar", "sidebar-drawer", "footer"),
    *("wy-nav-side", "wy-nav-top", "wy-breadcrumbs", "mobile-header", "search", "searchbox", "version-switch"),
    *("headerlink", "headerlinks", "viewcode-link", "lineno", "linenos", "indexdiv-quicklinks"),
}
UNCLOSED = ("p", "li", "dt", "dd", "td", "th", "tr", "thead", "tbody", "option", "html", "body", "colgroup")
"""Tags that may lack their end; they do not count when the end of a skipped container is looked for."""

VOID = ("br", "img", "hr", "meta", "link", "input", "col", "wbr", "area", "base", "embed", "source", "track")
NUMBERING = re.compile(
    r"^(?:(?:chapter|appendix|part|section)\s+)?(?:[0-9]+|[A-Z](?=\.))(?:\.[0-9]+)*\.?\s+(?=\S)", re.IGNORECASE
)


OTHER_PAGES = re.compile(
    r"/(_modules|_sources|genindex|search|_static)|/manual/(?!en/)[a-z-]+/|/doc/rust/html/(core|alloc|std|src|proc_macro|test)/"
)
"""Source code, indexes, other languages, and what is generated from signatures."""


@dataclass
class Section:
    """What stands between two headings.

    Attributes:
        page: the page's path.
        titles: the headings it stands under, the page's first one first.
        blocks: paragraphs, list items, code, one string each.
        anchors: what links to it are named.
    """

    page: str
    titles: tuple[str, ...]
    blocks: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)


class PageParser(HTMLParser):
    """Sections of a page, its navigation left out."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.page = page
        self.sections = [Section(page, ())]
        self.path: list[tuple[int, str]] = []
        self.text: list[str] = []
        self.heading: int | None = None
        self.skipped = 0
        self.code = 0
        self.pending: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open a block; a container that is navigation is skipped whole."""
        if tag in VOID:
            if tag == "br" and not self.code:
                self.text.append(" ")
            return
        names = dict(attrs)
        classes = set((names.get("class") or "").split())
        if tag not in UNCLOSED and (self.skipped or tag in SKIPPED or classes & SKIPPED_CLASSES):
            self.skipped += 1
        if self.skipped:
            return
        if tag in BLOCKS:
            self.close_block()
        self.pending.update(name for name in (names.get("id"), names.get("name")) if name)
        if tag in HEADINGS:
            self.heading = int(tag[1])
        self.code += tag == "pre"

    def handle_endtag(self, tag: str) -> None:
        """Close a block."""
        if tag in VOID:
            return
        if self.skipped:
            self.skipped -= tag not in UNCLOSED
            return
        if tag in BLOCKS:
            self.close_block()
        if tag in HEADINGS:
            self.heading = None
        self.code -= tag == "pre" and self.code > 0

    def handle_data(self, data: str) -> None:
        """Text."""
        if not self.skipped:
            self.text.append(data)

    def close_block(self) -> None:
        """What was read becomes a heading, which opens a section, or a block of the section that is open."""
        raw, self.text = "".join(self.text), []
        text = raw.strip("\n") if self.code else " ".join(raw.split())
        text = text.replace("¶", "").rstrip()
        if not text.strip():
            return
        if self.heading is not None:
            title = NUMBERING.sub("", " ".join(text.split())).strip(" #")
            self.path = [(level, name) for level, name in self.path if level < self.heading]
            self.path.append((self.heading, title))
            self.sections.append(Section(self.page, tuple(name for _, name in self.path)))
        else:
            self.sections[-1].blocks.append(text)
        self.sections[-1].anchors |= self.pending
        self.pending = set()


def read_page(html: str, page: str) -> list[Section]:
    """The sections of a page that have text."""
    parser = PageParser(page)
    parser.feed(html)
    parser.close()
    parser.close_block()
    return [section for section in parser.sections if section.blocks]


def read_package(folder: Path, pages: int | None = None) -> Iterator[Section]:
    """The sections of the HTML pages of an unpacked package, of a sample of ``pages`` where it has more."""
    files = [file for file in sorted(folder.rglob("*.html")) if file.is_file() and not file.is_symlink()]
    files = [file for file in files if not OTHER_PAGES.search(str(file.relative_to(folder)))]
    if pages is not None and len(files) > pages:
        files = sorted(random.Random(len(files)).sample(files, pages))
    for file in files:
        yield from read_page(file.read_text(encoding="utf-8", errors="replace"), str(file.relative_to(folder)))


@dataclass(frozen=True)
class Passage:
    """A section, or a part of one; ``text`` is without its headings."""

    page: str
    titles: tuple[str, ...]
    anchors: frozenset[str]
    text: str

    @property
    def headed(self) -> str:
        """The text under its last two headings, as a splitter that keeps headings has it."""
        return "\n".join([" > ".join(self.titles[-2:]), self.text]) if self.titles else self.text


def cut(section: Section) -> Iterator[Passage]:
    """Passages of ``WORDS`` words; a block that is longer alone, and a rest that is shorter, are left out."""
    part: list[str] = []
    size = 0
    for block in [*section.blocks, None]:
        words = len(block.split()) if block is not None else WORDS.stop
        if size + words >= WORDS.stop:
            if size in WORDS:
                yield Passage(section.page, section.titles, frozenset(section.anchors), "\n".join(part))
            part, size = [], 0
        if block is not None and words < WORDS.stop:
            part.append(block)
            size += words


def passages_of(sections: Sequence[Section]) -> list[Passage]:
    """The distinct passages of ``sections``, in order."""
    seen: dict[str, Passage] = {}
    for section in sections:
        for passage in cut(section):
            seen.setdefault(passage.text, passage)
    return list(seen.values())


@dataclass(frozen=True)
class IndexEntry:
    """A line of a book's index: the term under its super-terms, and the pages with anchors that it names."""

    terms: tuple[str, ...]
    links: tuple[str, ...]


class IndexParser(HTMLParser):
    """Entries of an index as DocBook writes it: nested definition lists with links."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.entries: list[IndexEntry] = []
        self.path: list[str] = []
        self.term: list[str] | None = None
        self.links: list[str] = []
        self.last = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open a term, its sub-terms, or a link."""
        if tag == "dt":
            self.term, self.links = [], []
        elif tag == "dd":
            self.path.append(self.last)
        elif tag == "a" and self.term is not None:
            names = dict(attrs)
            if names.get("class") == "indexterm" and names.get("href"):
                self.links.append(str(names["href"]))

    def handle_endtag(self, tag: str) -> None:
        """Close a term or its sub-terms."""
        if tag == "dt" and self.term is not None:
            self.last = " ".join("".join(self.term).split()).rstrip(" ,")
            if self.links:
                self.entries.append(IndexEntry((*self.path, self.last), tuple(self.links)))
            self.term = None
        elif tag == "dd":
            self.path.pop()

    def handle_data(self, data: str) -> None:
        """The term is what stands before the first link."""
        if self.term is not None and not self.links:
            self.term.append(data)


def read_index(html: str) -> list[IndexEntry]:
    """The entries of an index that name a page."""
    parser = IndexParser()
    parser.feed(html)
    parser.close()
    return parser.entries
