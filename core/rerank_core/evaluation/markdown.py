"""An evaluation as Markdown, for a pull request or a wiki."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from rerank_core.evaluation.cells import (
    best_cells,
    change_cells,
    cost_cells,
    cost_notes,
    pair_cells,
    plain,
    quality_cells,
    recall_line,
    seconds,
    size,
    stage_cells,
    threshold_cells,
    verdict_lines,
)
from rerank_core.evaluation.decision import decide
from rerank_core.evaluation.measures import MAIN
from rerank_core.evaluation.report import Evaluation
from rerank_core.evaluation.stages import Report

_SPECIAL = re.compile(r"([\\`*_\[\]<>|#$~&!])")


def to_markdown(found: Evaluation | Report) -> str:
    """The report as Markdown: decision, quality, comparisons, costs."""
    report = Report.of(found)
    parts = [part for each in report.evaluations for part in _one(report, each)]
    if len(report.evaluations) > 1:
        head, *rows = stage_cells(report)
        parts += [f"## {MAIN} behind each first stage", _table(head, rows, best_cells(rows))]
    if report.command:
        parts.append(f"To repeat this:\n\n    {plain(report.command)}")
    return "\n\n".join(parts) + "\n"


def _one(report: Report, found: Evaluation) -> Iterator[str]:
    decision = decide(found)
    yield f"# {_text(found.data)}: {_text(decision.choice)}"
    yield f"{_text(size(found))}: {_text(found.first_stage)}. {_text(found.environment.get('date', ''))}"
    yield from (f"> {_text(note)}" for note in found.left_out)
    yield "\n".join(f"- **{_text(fact.label)}**: {_text(fact.text)}" for fact in decision.facts)
    head, *rows = quality_cells(found)
    yield "## Quality"
    yield _table(head, rows, best_cells(rows))
    yield _text(recall_line(found)) + "."
    if not found.rerankers:
        return
    yield "## Against the first stage"
    yield "\n".join(
        f"- **{_text(name)}**: {verdict}. {_text(reason)}" for name, verdict, reason in verdict_lines(found)
    )
    for title, (head, *rows) in _sections(report, found):
        if rows:
            yield f"## {title}"
            yield _table(head, rows)
    yield from (_text(note) for note in cost_notes(found))


def _sections(report: Report, found: Evaluation) -> Iterator[tuple[str, list[list[str]]]]:
    yield "Against each other", pair_cells(found)
    yield "Cost", cost_cells(found, seconds)
    yield "Where to cut", threshold_cells(found)
    yield f"{MAIN} since the earlier report", change_cells(report, found)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], best: Iterable[tuple[int, int]] = ()) -> str:
    bold = set(best)
    lines = [_row(head), _row(["---", *["---:"] * (len(head) - 1)], escape=False)]
    for row, cells in enumerate(rows):
        shown = [_text(cell) for cell in cells]
        marked = [f"**{cell}**" if (row, column) in bold else cell for column, cell in enumerate(shown)]
        lines.append(_row(marked, escape=False))
    return "\n".join(lines)


def _row(cells: Sequence[str], *, escape: bool = True) -> str:
    return "| " + " | ".join(_text(cell) if escape else cell for cell in cells) + " |"


def _text(value: str) -> str:
    """``value`` as one line without markup of its own."""
    return _SPECIAL.sub(r"\\\1", plain(value))
