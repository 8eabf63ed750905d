"""Pieces of HTML that the page is made of."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from rerank_core.evaluation.cells import plain


def text_of(value: str) -> str:
    """``value`` as one line of text in a page."""
    return html.escape(plain(value))


def table(
    head: Sequence[str], rows: Iterable[Sequence[str]], *, label: str, best: Iterable[tuple[int, int]] = ()
) -> str:
    """A table whose rows begin with their names; in a narrow window every cell stands below its head.

    Args:
        head: of the columns.
        rows: of texts.
        label: what the table shows, for who cannot see where it stands.
        best: row and column of what is bold.
    """
    bold = set(best)
    names = [text_of(name) for name in head]
    cells = "".join(f'<th scope="col" role="columnheader">{name}</th>' for name in names)
    lines = []
    for row, (first, *others) in enumerate(rows):
        shown = [f'<th scope="row" role="rowheader">{text_of(first)}</th>']
        for column, cell in enumerate(others, 1):
            mark = ' class="best"' if (row, column) in bold else ""
            shown.append(f'<td role="cell" data-label="{names[column]}"{mark}>{text_of(cell)}</td>')
        lines.append(f'<tr role="row">{"".join(shown)}</tr>')
    return (
        f'<div class="scroll" tabindex="0" role="group" aria-label="{text_of(label)}"><table role="table">'
        f'<thead role="rowgroup"><tr role="row">{cells}</tr></thead>'
        f'<tbody role="rowgroup">{"".join(lines)}</tbody></table></div>'
    )


def listed(items: Iterable[tuple[str, str]]) -> str:
    """Names with their texts."""
    return "<dl>" + "".join(f"<dt>{text_of(name)}</dt><dd>{text_of(text)}</dd>" for name, text in items) + "</dl>"
