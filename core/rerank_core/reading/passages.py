"""What all splitters give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rerank_core.results import Document

BETWEEN = "\n\n"


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a file.

    Args:
        line: where it begins in the file, from 1.
        text: the piece.
        context: what it stands under: headings, the line that introduces a list, the head of a class. The model reads
            it before the text.
        origin: further metadata, such as a page.
    """

    line: int
    text: str = field(repr=False)  # as everywhere, a document's words are not shown
    context: str = field(default="", repr=False)
    origin: Mapping[str, Any] = field(default_factory=dict)

    def document(self, file: str) -> Document:
        """The document of this passage: its context and its text, with ``file``, ``line`` and ``context``."""
        metadata = {"file": file, "line": self.line, **self.origin}
        if not self.context:
            return Document(self.text, metadata)
        return Document(self.context + BETWEEN + self.text, metadata | {"context": self.context})


def context_length(document: Document) -> int:
    """How many characters of a document's text are the context before its passage."""
    context = document.metadata.get("context", "")
    return len(context) + len(BETWEEN) if context else 0
