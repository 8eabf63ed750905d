"""PDF and Word files, by pypdf and python-docx."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator

from rerank_core.optional import optional
from rerank_core.reading.passages import Passage
from rerank_core.reading.text import Outline

_FULL_LINE = 0.75
"""A line that ends a sentence and is shorter than this share of the longest one ends a paragraph."""
_SENTENCE_END = re.compile(r"[.!?:][\"')\]\u201d\u2019]*$")
_HYPHENATED = re.compile(r"(\w)-\n(?=[a-z])")
_HEADING_STYLE = re.compile(r"[Hh]eading (\d)|Title")


def pdf_passages(data: bytes) -> Iterator[Passage]:
    """The paragraphs of a PDF file; ``line`` and ``page`` are the page, from 1. Scanned pages have no text.

    Raises:
        MissingDependencyError: when the extra ``files`` is not installed.
        Exception: whatever pypdf raises for a file that it cannot read.
    """
    with optional("reading PDF files", extra="files"):
        import pypdf
    logging.getLogger("pypdf").setLevel(logging.ERROR)  # it remarks on every odd byte
    for page, content in enumerate(pypdf.PdfReader(io.BytesIO(data)).pages, 1):
        for paragraph in page_paragraphs(content.extract_text()):
            yield Passage(page, paragraph, origin={"page": page})


def page_paragraphs(text: str) -> Iterator[str]:
    """The paragraphs of a page whose lines are known, and nothing else: words cut at a line's end are made whole."""
    lines = [line.strip() for line in text.split("\n")]
    longest = max(map(len, lines), default=0)
    held: list[str] = []
    for line in [*lines, ""]:
        if line:
            held.append(line)
        if held and (not line or (_SENTENCE_END.search(line) and len(line) < _FULL_LINE * longest)):
            yield _HYPHENATED.sub(r"\1", "\n".join(held)).replace("\n", " ")
            held = []


def docx_passages(data: bytes) -> Iterator[Passage]:
    """The paragraphs, list items and table rows of a Word file; ``line`` is the paragraph's number, from 1.

    Raises:
        MissingDependencyError: when the extra ``files`` is not installed.
        Exception: whatever python-docx raises for a file that it cannot read.
    """
    with optional("reading Word files", extra="files"):
        import docx
        from docx.table import Table
    outline = Outline()
    number = 0
    for part in docx.Document(io.BytesIO(data)).iter_inner_content():
        if isinstance(part, Table):
            texts = [" | ".join(dict.fromkeys(cell.text.strip() for cell in row.cells)) for row in part.rows]
            level = 0
        else:
            texts = [part.text.strip()]
            style = _HEADING_STYLE.fullmatch((part.style.name if part.style else None) or "")
            level = int(style[1] or 1) if style else 0
        for text in texts:
            number += 1
            if level and text:
                yield from outline.enter(level, text, number)
            elif text.strip(" |"):
                yield Passage(number, text, outline.path)
                outline.used()
    yield from outline.enter(0, "", 0)
