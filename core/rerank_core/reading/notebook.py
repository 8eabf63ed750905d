"""Jupyter notebooks: the text of Markdown cells, and each code cell whole."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from rerank_core.reading import text as markdown
from rerank_core.reading.passages import Passage


def passages(text: str) -> Iterator[Passage]:
    """A passage per block of Markdown and per code cell; ``line`` is the file's, ``cell`` the cell's number from 1.

    Code stands under the headings of the Markdown above it. Outputs are left out.

    Raises:
        ValueError: when the text is not a notebook.
    """
    notebook = json.loads(text)
    cells = notebook.get("cells") if isinstance(notebook, Mapping) else None
    if not isinstance(cells, list):
        raise ValueError("it has no list of cells")  # noqa: TRY004  (it is the file's content that is wrong)
    places, context = _Places(text), ""
    for number, cell in enumerate(cells, 1):
        source = _source(cell)
        line = places.next(source)
        if cell.get("cell_type") == "markdown":
            # Under the headings of the cells before, until its own come.
            for passage in markdown.passages(source):
                context = passage.context.partition("\n")[0] or context
                yield replace(
                    passage,
                    line=line + passage.line - 1,
                    context=passage.context or context,
                    origin={"cell": number},
                )
        elif cell.get("cell_type") == "code" and source.strip():
            yield Passage(line, source, context, {"cell": number})


def _source(cell: Any) -> str:
    source = cell.get("source", "") if isinstance(cell, Mapping) else None
    if isinstance(source, list) and all(isinstance(each, str) for each in source):
        return "".join(source)
    if isinstance(source, str):
        return source
    raise ValueError("a cell has no source")


class _Places:
    """Where cells stand in the file, which has each of their lines as a string of JSON, one below the other."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._end = 0

    def next(self, source: str) -> int:
        """The line of the next cell."""
        first = source.split("\n", 1)[0]
        for spelled in (json.dumps(first, ensure_ascii=False), json.dumps(first)):
            place = self._text.find(spelled[:-1], self._end)
            if first and place >= 0:
                self._end = place + len(spelled)
                break
        return self._text.count("\n", 0, self._end) + 1
