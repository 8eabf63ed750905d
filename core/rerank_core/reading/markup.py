"""HTML: the text that a reader sees, in blocks, with the headings above them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser

from rerank_core.reading.passages import Passage
from rerank_core.reading.text import Outline

_UNSEEN = frozenset({"head", "script", "style", "template", "noscript", "svg"})
_BLOCKS = frozenset(
    [
        "address",
        "article",
        "aside",
        "blockquote",
        "body",
        "br",
        "dd",
        "details",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figcaption",
        "figure",
        "footer",
        "form",
        "header",
        "hr",
        "html",
        "li",
        "main",
        "nav",
        "ol",
        "p",
        "pre",
        "section",
        "summary",
        "table",
        "tbody",
        "tfoot",
        "thead",
        "tr",
        "ul",
    ]
)
_CELLS = frozenset({"td", "th"})
_HEADING = re.compile(r"h([1-6])")


def passages(text: str) -> Iterator[Passage]:
    """A passage per paragraph, list item, table row or preformatted block."""
    page = _Page()
    page.feed(text)
    page.close()
    page.end_block()
    yield from page.found
    yield from page.outline.enter(0, "", 0)


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[Passage] = []
        self.outline = Outline()
        self._parts: list[str] = []
        self._line = 0
        self._unseen = 0
        self._level = 0
        self._preformatted = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002  (its signature)
        if tag in _UNSEEN:
            self._unseen += 1
        elif heading := _HEADING.fullmatch(tag):
            self.end_block()
            self._level = int(heading[1])
        elif tag in _BLOCKS:
            if tag == "body":
                self._unseen = 0  # a head that nobody closed
            if tag == "br" and (self._level or self._preformatted):
                self._parts.append("\n")
                return
            self.end_block()
            self._preformatted = tag == "pre"
        elif tag in _CELLS and self._parts:
            self._parts.append(" | ")

    def handle_endtag(self, tag: str) -> None:
        if tag in _UNSEEN:
            self._unseen = max(0, self._unseen - 1)
        elif tag in _BLOCKS or _HEADING.fullmatch(tag):
            self.end_block()

    def handle_data(self, data: str) -> None:
        if self._unseen:
            return
        if not self._line and data.strip():
            self._line = self.getpos()[0] + data[: len(data) - len(data.lstrip())].count("\n")
        self._parts.append(data)

    def end_block(self) -> None:
        """What was collected is a passage, or the heading of the next ones."""
        text = "".join(self._parts)
        text = text.strip("\n").rstrip() if self._preformatted else " ".join(text.split())
        if text.strip(" |"):
            if self._level:
                self.found.extend(self.outline.enter(self._level, text, self._line))
            else:
                self.found.append(Passage(self._line, text, self.outline.path))
                self.outline.used()
        self._parts, self._line, self._level, self._preformatted = [], 0, 0, False
