"""An evaluation as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich import box
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

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
    verdict_lines,
)
from rerank_core.evaluation.decision import decide
from rerank_core.evaluation.measures import MAIN
from rerank_core.evaluation.report import Evaluation
from rerank_core.evaluation.stages import Report

_STYLE = {"helps": "green", "hurts": "red", "no difference found": "yellow", "too few queries to tell": "yellow"}
_LOSSES = 3
_LINE = 2_000
_NAME = 12  # the least that is left for a name


def print_evaluation(found: Evaluation | Report, *, console: Console | None = None) -> None:
    """Print everything.

    Args:
        found: the evaluation, or a report with several.
        console: where to; None for standard output.
    """
    console = Console() if console is None else console
    report = Report.of(found)
    for each in report.evaluations:
        _print_one(report, each, console)
    if len(report.evaluations) > 1:
        console.print(_by_stage(report))


def _print_one(report: Report, found: Evaluation, console: Console) -> None:
    console.print(Text.assemble((plain(found.data), "bold"), f": {size(found)} ({plain(found.first_stage)})"))
    for note in found.left_out:
        console.print(Text(plain(note), style="yellow"))
    if found.rerankers:
        console.print(_decision(found))
    _print_figures(_quality(found), console)
    if found.rerankers:
        console.print(_difference(found))
        if len(found.rerankers) > 1:
            console.print(_pairs(found))
        _print_figures(_depth(found), console)
        _print_figures(_cost(found), console)
    head, *changes = change_cells(report, found)
    if changes:
        _print_figures(_filled(head, changes, title=f"{MAIN} since the earlier report"), console)
    for line in _advice(found):
        console.print(line)


def _decision(found: Evaluation) -> Panel:
    decision = decide(found)
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold", overflow="fold", max_width=20)
    facts.add_column(overflow="fold")
    for fact in decision.facts:
        facts.add_row(Text(plain(fact.label)), Text(plain(fact.text)))
    return Panel(facts, title=Text(plain(decision.choice), style="bold"), title_align="left")


def _by_stage(report: Report) -> Table:
    head, *rows = stage_cells(report)
    table = _filled(head, rows, title=f"{MAIN} behind each first stage", best=best_cells(rows))
    for column in table.columns[1:]:  # their heads are descriptions
        column.no_wrap, column.overflow, column.min_width = False, "fold", _NAME
    return table


def _print_figures(table: Table, console: Console) -> None:
    """Print a table of figures whole: in a narrow terminal its lines go on below, where they would lose digits."""
    room = console.options.update(max_width=_LINE)
    longest = max((Text(str(cell)).cell_len for cell in table.columns[0].cells), default=0)
    needed = console.measure(table, options=room).maximum - max(longest - _NAME, 0)
    width = console.width
    console.width = max(width, needed)
    try:
        console.print(table)
    finally:
        console.width = width


def _quality(found: Evaluation) -> Table:
    head, *rows = quality_cells(found)
    table = _filled(head, rows, title="Quality", best=best_cells(rows))
    table.caption = recall_line(found)
    return table


def _difference(found: Evaluation) -> Table:
    table = Table("", "does it help?", title="Against the first stage")
    for name, verdict, reason in verdict_lines(found):
        table.add_row(Text(name), Text.assemble((verdict, f"bold {_STYLE[verdict]}"), f"\n{reason}"))
    return table


def _pairs(found: Evaluation) -> Table:
    table = Table("", "which is better?", title="Against each other")
    _, *rows = pair_cells(found)
    for names, difference, interval, p_value, verdict in rows:
        reason = f"{MAIN} {difference}, 95 % interval {interval}, p {p_value} (Holm's correction)"
        table.add_row(Text(plain(names)), Text.assemble((plain(verdict), "bold"), f"\n{reason}"))
    return table


def _depth(found: Evaluation) -> Table:
    depths = sorted({depth for system in found.rerankers for depth in system.by_depth or {}})
    rows = []
    for system in found.rerankers:
        values = system.by_depth or {}
        rows.append([system.name, *(f"{values[depth]:.3f}" if depth in values else "" for depth in depths)])
    return _filled(["", *map(str, depths)], rows, title=f"{MAIN} by how many candidates are reranked")


def _cost(found: Evaluation) -> Table:
    head, *rows = cost_cells(found, seconds)
    table = _filled(head, rows, title="Cost")
    table.caption = "\n".join(cost_notes(found)) or None
    return table


def _filled(
    head: Sequence[str], rows: Iterable[Sequence[str]], *, title: str, best: Iterable[tuple[int, int]] = ()
) -> Table:
    """A table in which names are folded where there is no room, and figures are whole, also in 80 columns."""
    table, bold = Table(title=title, box=box.SIMPLE_HEAD), set(best)
    table.add_column(head[0], overflow="fold", min_width=_NAME)
    for name in head[1:]:
        table.add_column(name, no_wrap=True, justify="right")
    for row, cells in enumerate(rows):
        table.add_row(
            *(Text(plain(cell), style="bold" if (row, column) in bold else "") for column, cell in enumerate(cells))
        )
    return table


def _advice(found: Evaluation) -> Iterator[Text]:
    for system in found.rerankers:
        for loss in system.losses[:_LOSSES]:
            yield Text.assemble(
                (f"\nworse with {plain(system.name)}: ", "bold"),
                f"{plain(loss.query)}  ({loss.before:.2f} → {loss.after:.2f})\n",
                ("  wanted:  ", "green"),
                f"{plain(loss.wanted)}\n",
                ("  got:     ", "red"),
                plain(loss.preferred),
            )
    caution = next((s.comparison.caution for s in found.rerankers if s.comparison and s.comparison.caution), "")
    if caution:
        yield Text(f"\n{caution}", style="bold yellow")
