"""An evaluation as one self-contained HTML page: no network, light and dark, narrow and wide.

Everything is there without a script; that one only sorts, searches and filters the table of queries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from rerank_core.evaluation.cells import (
    best_cells,
    breakdown_cells,
    change_cells,
    cost_cells,
    cost_notes,
    pair_cells,
    quality_cells,
    recall_line,
    seconds,
    size,
    stage_cells,
    threshold_cells,
    verdict_lines,
)
from rerank_core.evaluation.decision import Decision, decide
from rerank_core.evaluation.markup import listed, table, text_of
from rerank_core.evaluation.measures import MAIN
from rerank_core.evaluation.page_assets import SCRIPT, STYLE
from rerank_core.evaluation.pictures import (
    cut_picture,
    depth_picture,
    latency_picture,
    rank_picture,
    reliability_picture,
)
from rerank_core.evaluation.query_table import query_table
from rerank_core.evaluation.report import Evaluation, SystemReport
from rerank_core.evaluation.stages import Report
from rerank_core.files import accessing

_CLASSES = {"helps": "helps", "hurts": "hurts", "turn it on": "helps", "leave it off": "hurts"}


def write_page(found: Evaluation | Report, file: str | Path) -> None:
    """Write the page.

    Args:
        found: the evaluation, or a report with several.
        file: where to.

    Raises:
        MissingDependencyError: when the extra ``eval`` is not installed.
        InvalidRequestError: when the file cannot be written.
    """
    page = to_html(found)
    with accessing(file, "write"):
        Path(file).write_text(page, encoding="utf-8")


def to_html(found: Evaluation | Report) -> str:
    """The page's text.

    Raises:
        MissingDependencyError: when the extra ``eval`` is not installed.
    """
    report = Report.of(found)
    data = text_of(report.evaluations[0].data)
    title = f"Reranking on {data}"
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    parts = [f"<h1>Does reranking help on {data}?</h1>"]
    parts += _stages(report)
    for number, each in enumerate(report.evaluations):
        parts += _evaluation(report, each, number)
    parts += _repeat(report)
    script = f"<script>{SCRIPT}</script>" if any(each.cases and each.rerankers for each in report.evaluations) else ""
    body = f"<main>{chr(10).join(parts)}</main>{script}"
    return f'<!doctype html><html lang="en"><head>{head}<style>{STYLE}</style></head><body>{body}</body></html>\n'


def _evaluation(report: Report, found: Evaluation, number: int) -> Iterator[str]:
    date = text_of(found.environment.get("date", ""))
    if len(report.evaluations) > 1:
        yield f'<h2 class="stage">Behind {text_of(found.first_stage)}</h2>'
    yield f'<p class="about">{text_of(size(found))}: {text_of(found.first_stage)}. {date}</p>'
    yield from (f'<p class="caution">{text_of(note)}</p>' for note in found.left_out)
    decision = decide(found)
    yield from _decision(found, decision)
    yield from _quality(found)
    if not found.rerankers:
        return
    yield from _verdicts(found)
    yield from _section("Against each other", pair_cells(found))
    yield from _section(f"{MAIN} since the earlier report", change_cells(report, found))
    yield from _pictures(found, decision)
    yield from _section("Cost", cost_cells(found, seconds))
    yield from (f'<p class="soft">{text_of(note)}</p>' for note in cost_notes(found))
    yield from _thresholds(found, decision)
    if found.cases:
        yield "<h2>Where it helps</h2>"
        yield from _of_each(found, decision, lambda system: _groups(found, system))
        yield f"<h2>All {found.queries:,} queries</h2>"
        yield query_table(found, number)


def _decision(found: Evaluation, decision: Decision) -> Iterator[str]:
    if found.rerankers:
        kind = _CLASSES.get(decision.choice, "even")
        facts = listed((fact.label, fact.text) for fact in decision.facts)
        choice = f'<p class="choice {kind}">{decision.choice}</p>'
        label = text_of(f"decision behind {found.first_stage}")
        yield f'<section class="card" aria-label="{label}">{choice}{facts}</section>'


def _stages(report: Report) -> Iterator[str]:
    if len(report.evaluations) > 1:
        head, *rows = stage_cells(report)
        yield f"<h2>{MAIN} behind each first stage</h2>"
        yield table(head, rows, label=f"{MAIN} behind each first stage", best=best_cells(rows))


def _quality(found: Evaluation) -> Iterator[str]:
    head, *rows = quality_cells(found)
    yield "<h2>Quality</h2>"
    yield table(head, rows, label="Quality", best=best_cells(rows))
    yield f'<p class="soft">{text_of(recall_line(found))}.</p>'


def _verdicts(found: Evaluation) -> Iterator[str]:
    yield "<h2>Against the first stage</h2><dl>"
    for name, verdict, reason in verdict_lines(found):
        kind = _CLASSES.get(verdict, "even")
        yield f'<dt>{text_of(name)}</dt><dd><b class="{kind}">{verdict}</b>: {text_of(reason)}</dd>'
    yield "</dl>"


def _section(title: str, cells: list[list[str]]) -> Iterator[str]:
    """A table with its heading, where it has rows."""
    head, *rows = cells
    if rows:
        yield f"<h2>{text_of(title)}</h2>"
        yield table(head, rows, label=title)


def _pictures(found: Evaluation, decision: Decision) -> Iterator[str]:
    pictures = [picture for picture in (depth_picture(found), latency_picture(found)) if picture]
    if pictures:
        yield "<h2>How much reranking is enough</h2>"
        yield from pictures
    if found.cases:
        moved = list(_of_each(found, decision, lambda system: rank_picture(found, system)))
        if moved:
            yield "<h2>Before and after</h2>"
            yield from moved


def _thresholds(found: Evaluation, decision: Decision) -> Iterator[str]:
    cells, curves = threshold_cells(found), list(_of_each(found, decision, cut_picture))
    reliability = reliability_picture(found)
    if len(cells) > 1 or curves or reliability:
        yield "<h2>Where to cut</h2>"
        yield (
            '<p class="soft">The score_threshold with the best F1; what it buys among the candidates of queries it was '
            "not chosen on, where what nobody judged counts as not relevant.</p>"
        )
        if len(cells) > 1:
            yield table(cells[0], cells[1:], label="Where to cut")
        yield from curves
        yield reliability


def _of_each(found: Evaluation, decision: Decision, shown: Callable[[SystemReport], str]) -> Iterator[str]:
    """What there is to show of each system: of the chosen one, or the first one, openly; the others are folded."""
    chosen = decision.system or found.rerankers[0].name
    for system in sorted(found.rerankers, key=lambda each: each.name != chosen):
        content = shown(system)
        if content and system.name == chosen:
            yield f"<h3>{text_of(system.name)}</h3>{content}"
        elif content:
            yield f"<details><summary>{text_of(system.name)}</summary>{content}</details>"


def _groups(found: Evaluation, system: SystemReport) -> str:
    head, *rows = breakdown_cells(found, system)
    return table(head, rows, label=f"Groups of queries with {system.name}") if rows else ""


def _repeat(report: Report) -> Iterator[str]:
    if report.command:
        yield f"<h2>To repeat this</h2><p><code>{text_of(report.command)}</code></p>"
    for found in report.evaluations:
        origin = {"data": found.checksum, **found.settings, **found.environment}
        origin |= {f"identity of {system.name}": system.identity for system in found.rerankers}
        values = listed((name, str(value)) for name, value in origin.items())
        yield f"<details><summary>Settings and versions: {text_of(found.first_stage)}</summary>{values}</details>"
